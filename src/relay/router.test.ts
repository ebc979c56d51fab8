import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { parseHostPattern } from "../address/host-pattern.ts";
import { formatTarget, type Target } from "../address/target.ts";
import { ConfigError } from "../errors.ts";
import type { Metadata, Outbound } from "../tunnel/request.ts";
import { type Route, Router } from "./router.ts";

function outbound(name: string): Outbound {
  return { name, dial: () => Promise.reject(new Error("not dialled here")) };
}

const outbounds = new Map(["direct", "home", "office"].map((name) => [name, outbound(name)]));
const client: Metadata = { inbound: "socks 127.0.0.1:1080", source: "127.0.0.1:5" };

function to(host: string, port = 443, network: Target["network"] = "tcp"): Target {
  return { network, host, port };
}

function chosen(routes: readonly Route[], target: Target, metadata: Metadata = client): string {
  return new Router({ routes, outbounds, fallback: "direct" }).choose(target, metadata).name;
}

describe("router", () => {
  test("sends by domain, block, port, network, inbound and user", () => {
    const targets = (...texts: string[]): Route => ({
      targets: texts.map(parseHostPattern),
      via: "home",
    });
    assert.equal(chosen([targets("*.corp.example")], to("a.Corp.example.")), "home");
    assert.equal(chosen([targets("*.corp.example")], to("corp.example")), "direct");
    assert.equal(chosen([targets(".corp.example")], to("corp.example")), "home");
    assert.equal(chosen([targets("10.0.0.0/8:443")], to("::ffff:10.0.0.1")), "home");
    assert.equal(chosen([targets("10.0.0.0/8", "x.example")], to("x.example")), "home");
    const ports = [{ first: 80, last: 90 }];
    assert.equal(chosen([{ ports, via: "home" }], to("x", 90)), "home");
    assert.equal(chosen([{ ports, via: "home" }], to("x", 91)), "direct");
    assert.equal(chosen([{ network: "udp", via: "home" }], to("x", 53, "udp")), "home");
    assert.equal(chosen([{ network: "udp", via: "home" }], to("x", 53)), "direct");
    assert.equal(chosen([{ inbounds: [client.inbound], via: "home" }], to("x")), "home");
    assert.equal(chosen([{ inbounds: ["other"], via: "home" }], to("x")), "direct");
    const users: Route = { users: ["alice"], via: "home" };
    assert.equal(chosen([users], to("x"), { ...client, user: "alice" }), "home");
    assert.equal(chosen([users], to("x"), { ...client, user: "bob" }), "direct");
    assert.equal(chosen([users], to("x")), "direct");
  });

  test("matches blocks against literals only, names are not resolved", () => {
    const routes = [{ targets: [parseHostPattern("127.0.0.0/8")], via: "home" }];
    assert.equal(chosen(routes, to("localhost")), "direct");
    assert.equal(chosen(routes, to("127.1")), "direct");
    assert.equal(chosen(routes, to("127.0.0.1")), "home");
  });

  test("lets the request's own via beat the routes", () => {
    assert.equal(chosen([{ via: "home" }], to("x"), { ...client, via: "office" }), "office");
  });

  test("names every way out that datagrams of an asker may take", () => {
    const ways = (routes: readonly Route[], metadata: Metadata = client): string[] =>
      new Router({ routes, outbounds, fallback: "direct" })
        .candidates("udp", metadata)
        .map(({ name }) => name);
    const targets = [parseHostPattern("*.corp.example")];
    assert.deepEqual(ways([]), ["direct"]);
    assert.deepEqual(ways([{ targets, via: "home" }]), ["home", "direct"]);
    assert.deepEqual(ways([{ targets, via: "home" }, { via: "home" }]), ["home"]);
    assert.deepEqual(ways([{ network: "tcp", via: "home" }]), ["direct"]);
    assert.deepEqual(ways([{ users: ["bob"], via: "home" }]), ["direct"]);
    assert.deepEqual(ways([{ inbounds: [client.inbound], via: "home" }]), ["home"]);
    assert.deepEqual(ways([{ via: "home" }], { ...client, via: "office" }), ["office"]);
    assert.throws(() => ways([], { ...client, via: "gone" }), /outbound "gone" is not there/);
  });

  test("refuses to be made with an outbound that is not there", () => {
    for (const [routes, fallback] of [
      [[{ via: "hom" }], "direct"],
      [[], "hom"],
    ] as const) {
      assert.throws(
        () => new Router({ routes, outbounds, fallback }),
        (thrown) =>
          thrown instanceof ConfigError &&
          thrown.message === 'route via "hom": there is no such outbound' &&
          thrown.hint === "use one of: direct, home, office",
      );
    }
  });

  test("says so when an outbound has gone meanwhile", () => {
    const changing = new Map(outbounds);
    const router = new Router({
      routes: [{ via: "home" }],
      outbounds: changing,
      fallback: "direct",
    });
    changing.delete("home");
    assert.throws(() => router.choose(to("x"), client), {
      code: "ERR_TUNNEL_DOWN",
      message: 'outbound "home" is not there',
    });
    assert.throws(() => router.choose(to("x"), { ...client, via: "lost" }), /"lost" is not there/);
  });

  test("takes the first route that matches, like a naive model", () => {
    // Small pools, so that matches and near misses are both common.
    const hosts = ["a.corp", "corp", "b.a.corp", "10.0.0.1", "10.1.0.1", "::1"];
    const patterns: Readonly<Record<string, readonly string[]>> = {
      "*.corp": ["a.corp", "b.a.corp"],
      ".corp": ["a.corp", "corp", "b.a.corp"],
      "a.corp": ["a.corp"],
      "10.0.0.0/16": ["10.0.0.1"],
      "::1": ["::1"],
      "*": hosts,
    };
    const some = <Value>(...values: Value[]): fc.Arbitrary<Value[] | undefined> =>
      fc.option(fc.subarray(values, { minLength: 1 }), { nil: undefined });
    const rule = fc.record({
      targets: some(...Object.keys(patterns)),
      ports: some(22, 80),
      network: fc.constantFrom("tcp" as const, "udp" as const, undefined),
      inbounds: some("socks", "http"),
      users: some("alice", "bob"),
      via: fc.constantFrom("home", "office"),
    });
    const asked = fc.record({
      host: fc.constantFrom(...hosts),
      port: fc.constantFrom(22, 80, 443),
      network: fc.constantFrom("tcp" as const, "udp" as const),
      inbound: fc.constantFrom("socks", "http", "forward"),
      user: fc.constantFrom("alice", "bob", undefined),
    });
    fc.assert(
      fc.property(fc.array(rule, { maxLength: 5 }), asked, (rules, request) => {
        const { host, port, network, inbound, user } = request;
        let expected = "direct";
        for (const each of rules) {
          if (each.targets && !each.targets.some((text) => patterns[text]?.includes(host)))
            continue;
          if (each.ports && !each.ports.includes(port)) continue;
          if (each.network && each.network !== network) continue;
          if (each.inbounds && !each.inbounds.includes(inbound)) continue;
          if (each.users && (user === undefined || !each.users.includes(user))) continue;
          expected = each.via;
          break;
        }
        const routes = rules.map(
          (each): Route => ({
            ...each,
            targets: each.targets?.map(parseHostPattern),
            ports: each.ports?.map((number) => ({ first: number, last: number })),
          }),
        );
        const target = to(host, port, network);
        const metadata = { inbound, source: "test", user };
        assert.equal(chosen(routes, target, metadata), expected, formatTarget(target));
      }),
      { numRuns: 500 },
    );
  });
});
