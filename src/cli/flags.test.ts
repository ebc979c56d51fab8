import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseConfig } from "../config/parse-config.ts";
import { toClients, toHub, toInbounds, toPatterns, toRoutes } from "./flags.ts";
import { UsageError } from "./usage-error.ts";

describe("flags", () => {
  test("-L joins every kind of door to a target", () => {
    const table: Record<string, unknown> = {
      "2200:bogus:22": { forward: "2200", to: "bogus:22" },
      "0.0.0.0:2200:bogus:22": { forward: "0.0.0.0:2200", to: "bogus:22" },
      "[::1]:2200:[fd00::1]:22": { forward: "[::1]:2200", to: "[fd00::1]:22" },
      "/tmp/x.sock:bogus:22": { forward: "/tmp/x.sock", to: "bogus:22" },
      "-:bogus:22": { forward: "-", to: "bogus:22" },
      ":2200:bogus:22": { forward: ":2200", to: "bogus:22" },
      "5300:1.1.1.1:53/udp": { forward: "5300", to: "1.1.1.1:53/udp" },
      "[::1]:5300:[fd00::1]:53/udp": { forward: "[::1]:5300", to: "[fd00::1]:53/udp" },
    };
    for (const [text, expected] of Object.entries(table)) {
      assert.deepEqual(toInbounds({ forward: [text] }), [expected], text);
      parseConfig({ inbounds: toInbounds({ forward: [text] }) });
    }
  });

  test("--pac goes to every proxy, and wants one", () => {
    const doors = { dynamic: ["1080"], http: ["3128"], forward: ["2200:bogus:22"], pac: true };
    assert.deepEqual(toInbounds(doors), [
      { socks: "1080", pac: true },
      { http: "3128", pac: true },
      { forward: "2200", to: "bogus:22" },
    ]);
    parseConfig({ inbounds: toInbounds(doors) });
    assert.throws(() => toInbounds({ forward: ["2200:bogus:22"], pac: true }), /--pac wants a -D/);
  });

  test("-L says what is wrong with anything else", () => {
    const table: Record<string, RegExp> = {
      "2200": /-L 2200: write LISTEN:HOST:PORT/,
      "bogus:22": /write LISTEN:HOST:PORT/,
      "x:bogus:22": /"x" is no port, host:port or \/path/,
      "2200:/var/run/docker.sock": /a path cannot be reached through a tunnel/,
      "-:bogus:53/udp": /-L -:bogus:53\/udp: datagrams come in through a port/,
      "/tmp/x.sock:bogus:53/udp": /datagrams come in through a port: write \[bind:\]PORT/,
      "5300:bogus:0/udp": /port 0 cannot be reached/,
      "5300:bogus:53/sctp": /write LISTEN:HOST:PORT/,
      "2200:bogus:0": /port 0 cannot be reached/,
      "2200:bogus:99999": /port "99999" is not/,
    };
    for (const [text, expected] of Object.entries(table)) {
      assert.throws(() => toInbounds({ forward: [text] }), UsageError, text);
      assert.throws(() => toInbounds({ forward: [text] }), expected, text);
    }
  });

  test("-D and -H share the users", () => {
    const flags = { dynamic: ["1080"], http: ["3128"], user: ["bob:env:BOB", "al:p:w"] };
    const users = { bob: "env:BOB", al: "p:w" };
    assert.deepEqual(toInbounds(flags), [
      { socks: "1080", users },
      { http: "3128", users },
    ]);
    assert.throws(() => toInbounds({ dynamic: ["x"] }), /-D x: "x" is no port/);
    assert.throws(() => toInbounds({ user: ["bob:x"] }), /--user wants a -D or -H/);
    assert.throws(() => toInbounds({ dynamic: ["1"], user: ["a:x", "a:y"] }), /"a" is given twice/);
  });

  test("secrets are not repeated in what is wrong with them", () => {
    for (const act of [
      () => toInbounds({ dynamic: ["1"], user: ["hunter2"] }),
      () => toClients(["hunter2"]),
      () => toClients(["=hunter2"]),
    ]) {
      assert.throws(
        act,
        (thrown) => thrown instanceof UsageError && !/hunter2/.test(thrown.message),
      );
    }
  });

  test("--client names clients", () => {
    assert.deepEqual(toClients(["alice=env:A", "bob=1=2"]), { alice: "env:A", bob: "1=2" });
    assert.throws(() => toClients(["a=1", "a=2"]), /--client: "a" is given twice/);
    assert.throws(() => toClients(["a=env:"]), /--client a: "env:" names nothing/);
  });

  test("--provider and its companions stand for keys of serve", () => {
    assert.deepEqual(toHub({}), {});
    const flags = {
      provider: ["lab=env:LAB", "two=x=y"],
      connector: ["carol@two=env:CAROL", "dave=d"],
      apiKey: "env:KEY",
    };
    assert.deepEqual(toHub(flags), {
      providers: { lab: "env:LAB", two: "x=y" },
      connectors: {
        carol: { token: "env:CAROL", provider: "two" },
        dave: { token: "d", provider: "lab" },
      },
      api: "env:KEY",
    });
    assert.deepEqual(toHub({ provider: ["lab=t"], autonomy: true }), {
      providers: { lab: { token: "t", autonomy: true } },
    });
    assert.throws(() => toHub({ autonomy: true }), /--autonomy wants a --provider/);
    assert.throws(() => toHub({ connector: ["a=t"] }), /--connector a: write NAME@PROVIDER=TOKEN/);
    assert.throws(
      () => toHub({ provider: ["hunter2"] }),
      /--provider: write NAME=TOKEN; TOKEN may/,
    );
    assert.throws(() => toHub({ apiKey: "env:" }), /--api-key: "env:" names nothing/);
  });

  test("--route turns patterns into routes", () => {
    assert.deepEqual(
      toRoutes(["*.corp.example=office", "10.0.0.0/8:22=home", "*:8000-8999=block", "*=direct"]),
      [
        { domain: "*.corp.example", via: "office" },
        { cidr: "10.0.0.0/8", port: 22, via: "home" },
        { port: "8000-8999", via: "block" },
        { via: "direct" },
      ],
    );
    assert.throws(() => toRoutes(["office"]), /--route office: write PATTERN=VIA/);
    assert.throws(() => toRoutes(["a b=x"]), /--route a b=x: host pattern "a b"/);
  });

  test("--allow and --deny are checked", () => {
    assert.deepEqual(toPatterns("--allow", ["127.0.0.1:80"]), ["127.0.0.1:80"]);
    assert.throws(() => toPatterns("--deny", ["1.2.3.4/99"]), /--deny 1.2.3.4\/99: host pattern/);
  });
});
