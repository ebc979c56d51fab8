import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ConfigError } from "../errors.ts";
import { parseConfig, readConfig } from "./parse-config.ts";

const ID = "5b1dd6c0-0000-4000-8000-000000000001";

describe("the configuration schema", () => {
  test("has a default for everything", () => {
    assert.deepEqual(parseConfig({}), {
      serve: [],
      connect: {},
      provide: {},
      groups: {},
      inbounds: [],
      outbounds: {},
      routes: [],
      allow: [],
      deny: [],
      log: { format: "auto", level: "info" },
      grace: 10_000,
    });
  });

  test("takes sections that hold only comments for absent", () => {
    assert.deepEqual(parseConfig({ inbounds: null, connect: null }), parseConfig({}));
    assert.deepEqual(readConfig(null).problems, []);
  });

  test("turns text into precise values", () => {
    const config = parseConfig({
      serve: [{ url: "pong+tcp://:443", clients: { alice: ID } }],
      connect: { home: "pong+ws://env:ID@host" },
      inbounds: [
        { socks: 1080, users: { bob: "env:BOB" }, via: "home" },
        { http: "[::1]:3128" },
        { forward: "-", to: "[::1]:22" },
      ],
      outbounds: { office: "socks5://proxy" },
      routes: [{ domain: "*.corp.example", port: [443, "8000-8999"], via: "office" }],
      grace: 5,
    });
    assert.deepEqual(config.inbounds, [
      {
        kind: "socks",
        listen: { host: "127.0.0.1", port: 1080 },
        users: { bob: { kind: "env", name: "BOB" } },
        via: "home",
      },
      { kind: "http", listen: { host: "::1", port: 3128 }, users: {} },
      { kind: "forward", listen: "stdio", to: { network: "tcp", host: "::1", port: 22 } },
    ]);
    assert.equal(config.connect["home"]?.url.port, 80);
    assert.deepEqual(config.connect["home"]?.retry, { min: 250, max: 30_000 });
    assert.equal(config.serve[0]?.url.host, "0.0.0.0");
    assert.equal(config.grace, 5000);
    assert.deepEqual(config.routes[0]?.port, [
      { first: 443, last: 443 },
      { first: 8000, last: 8999 },
    ]);
  });

  test("gives out frozen values", () => {
    const config = parseConfig({ connect: { home: `pong+tcp://${ID}@host` } });
    assert.ok(Object.isFrozen(config));
    assert.ok(Object.isFrozen(config.connect));
    assert.ok(Object.isFrozen(config.connect["home"]?.url.options));
  });

  test("throws every problem at once", () => {
    assert.throws(
      () => parseConfig({ grace: "soon", log: { level: "loud" }, inbound: [] }),
      (thrown) => {
        assert.ok(thrown instanceof ConfigError);
        assert.deepEqual(thrown.message.split("\n").toSorted(), [
          'grace: "soon" is no duration: write 250ms, 15s, 1m or 2h',
          'inbound: unknown key "inbound" (did you mean "inbounds"?)',
          'log.level: "loud" is not one of debug, info, warn, error',
        ]);
        return true;
      },
    );
  });

  test("does not repeat secrets that stand in the wrong place", () => {
    const { problems } = readConfig({
      serve: [{ url: "pong+tcp://:1", clients: { alice: "hunter2" } }],
      connect: { home: { url: "pong+tcp://hunter2@host" } },
      inbounds: [
        { socks: 1, users: "hunter2" },
        { socks: 2, users: { bob: ["hunter2"] } },
      ],
    });
    assert.equal(problems.length, 4);
    assert.doesNotMatch(JSON.stringify(problems), /hunter2/);
  });

  test("keeps proxies and routes away from tunnels with a fixed target", () => {
    const connect = { one: "kcptun+kcp://h", two: "vproxy+tcp://a:b@h" };
    const wrong = (input: object): string[] =>
      readConfig({ connect, ...input }).problems.map(
        ({ path, message }) => `${path.join(".")}: ${message}`,
      );
    const leads = '"one" leads to the one target its server names';
    assert.deepEqual(wrong({ inbounds: [{ socks: 1 }] }), [
      `inbounds.0.socks: ${leads}, so it takes forwards and no proxy`,
    ]);
    assert.deepEqual(wrong({ inbounds: [{ http: 1, via: "two" }] }), []);
    assert.deepEqual(wrong({ routes: [{ via: "one" }] }), [
      `routes.0.via: ${leads}: use a forward with via instead of a route`,
    ]);
    const groups = { both: { tunnels: ["two", "one"] } };
    assert.deepEqual(wrong({ groups, inbounds: [{ http: 1, via: "both" }] }).length, 1);
    const forwards = [
      { forward: 1, to: "a:1" },
      { forward: 2, to: "a:1", via: "one" },
      { forward: 3, to: "b:2", via: "two" },
    ];
    assert.deepEqual(wrong({ inbounds: forwards }), []);
    assert.deepEqual(wrong({ inbounds: [...forwards, { forward: 4, to: "b:2" }] }), [
      `inbounds.3.to: ${leads}, and inbounds[0] says that is a:1`,
    ]);
  });

  test("knows every port a served tunnel opens", () => {
    const clients = { alice: "pw" };
    const wrong = (...urls: readonly string[]): string[] =>
      readConfig({ serve: urls.map((url) => ({ url, clients })) }).problems.map(
        ({ message }) => message,
      );
    assert.deepEqual(wrong("vproxy+tcp://:1", "vproxy+kcp://:1"), [
      "0.0.0.0:1 is taken by serve[0].url",
    ]);
    assert.deepEqual(wrong("vproxy+tcp://:1", "vproxy+kcp://:1?health=off"), []);
    const both = ["vproxy+kcp://:1?health=off", "vproxy+kcp+tls://:1?health=off&cert=c&key=k"];
    assert.deepEqual(wrong(...both), ["0.0.0.0:1 is taken by serve[0].url"]);
    assert.deepEqual(wrong("vproxy+tls://:1?redirect=80&cert=c&key=k", "vproxy+tcp://:80"), [
      "0.0.0.0:80 is taken by serve[0].url",
    ]);
  });
});
