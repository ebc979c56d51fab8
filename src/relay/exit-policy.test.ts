import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { parseHostPattern } from "../address/host-pattern.ts";
import { parseHostPort, type Target } from "../address/target.ts";
import type { Outbound } from "../tunnel/request.ts";
import { ExitPolicy, policyByRequest } from "./exit-policy.ts";
import { guardOutbound } from "./guarded-outbound.ts";

function to(hostPort: string): Target {
  const target = parseHostPort(hostPort);
  assert.ok(target, hostPort);
  return { network: "tcp", ...target };
}

interface Texts {
  readonly allow?: readonly string[];
  readonly deny?: readonly string[];
  readonly only?: readonly string[];
}

function policy({ allow, deny, only }: Texts = {}): ExitPolicy {
  return new ExitPolicy({
    allow: allow?.map(parseHostPattern),
    deny: deny?.map(parseHostPattern),
    only: only?.map(parseHostPattern),
  });
}

/** The verdict on a target, which resolves to `address` when it is a name. */
function verdict(exit: ExitPolicy, hostPort: string, address?: string): string {
  const target = to(hostPort);
  const denied = exit.checkName(target) ?? exit.checkAddress(address ?? target.host, target);
  if (denied !== undefined) assert.equal(denied.code, "ERR_POLICY_DENIED");
  return denied?.message ?? "dialled";
}

const SPECIAL: readonly (readonly [string, string])[] = [
  ["127.0.0.1", "loopback"],
  ["127.255.255.254", "loopback"],
  ["::1", "loopback"],
  ["::ffff:127.0.0.1", "loopback"],
  ["::ffff:7f00:1", "loopback"],
  ["::127.0.0.1", "loopback"],
  ["64:ff9b::127.0.0.1", "loopback"],
  ["64:ff9b:1::7f00:1", "loopback"],
  ["2002:7f00:1::", "loopback"],
  ["0.0.0.0", "unspecified"],
  ["0.1.2.3", "unspecified"],
  ["::", "unspecified"],
  ["::ffff:0.0.0.0", "unspecified"],
  ["169.254.0.1", "link-local"],
  ["fe80::1", "link-local"],
  ["febf::1", "link-local"],
  ["169.254.169.254", "cloud metadata"],
  ["::ffff:169.254.169.254", "cloud metadata"],
  ["64:ff9b::a9fe:a9fe", "cloud metadata"],
  ["fd00:ec2::254", "cloud metadata"],
  ["100.100.100.200", "cloud metadata"],
  ["224.0.0.1", "multicast"],
  ["239.255.255.255", "multicast"],
  ["ff02::1", "multicast"],
  ["255.255.255.255", "broadcast"],
];

describe("exit policy by default", () => {
  test("dials public and private addresses", () => {
    for (const address of [
      "1.1.1.1",
      "10.0.0.1",
      "172.16.0.1",
      "192.168.1.1",
      "100.64.0.1",
      "2606:4700::1111",
      "fd12::1",
      "64:ff9b::8.8.8.8",
      "2002:808:808::1",
    ]) {
      assert.equal(verdict(policy(), "name.example:80", address), "dialled", address);
    }
  });

  test("denies every special address, literal or resolved, and says what would allow it", () => {
    for (const [address, kind] of SPECIAL) {
      const literal = address.includes(":") ? `[${address}]:80` : `${address}:80`;
      assert.match(verdict(policy(), literal), new RegExp(` is ${kind}, which this exit denies; `));
      const named = verdict(policy(), "name.example:80", address);
      assert.match(named, new RegExp(`^target name.example:80 is ${kind} \\(`));
      assert.match(named, /; --allow name\.example:80 would permit it$/);
    }
  });

  test("names the entry in the words of the refusal", () => {
    assert.equal(
      verdict(policy(), "127.0.0.1:80"),
      "target 127.0.0.1:80 is loopback, which this exit denies; --allow 127.0.0.1:80 would permit it",
    );
    assert.equal(
      verdict(policy(), "localhost:80", "::1"),
      "target localhost:80 is loopback (::1), which this exit denies; --allow localhost:80 would permit it",
    );
    assert.match(verdict(policy(), "0x7f.1:80", "127.0.0.1"), /--allow 127\.0\.0\.1:80 would/);
  });

  test("permits exactly what the refusal advises", () => {
    const host = fc.constantFrom(
      "name.example",
      "NAME.Example.",
      "127.1",
      "bücher.example",
      undefined,
    );
    fc.assert(
      fc.property(fc.constantFrom(...SPECIAL), host, ([address], name) => {
        const bracketed = address.includes(":") ? `[${address}]` : address;
        const target = `${name ?? bracketed}:80`;
        const entry = /--allow (\S+) would/.exec(verdict(policy(), target, address))?.[1] ?? "";
        assert.equal(verdict(policy({ allow: [entry] }), target, address), "dialled", entry);
      }),
    );
  });

  test("denies the names of metadata services before they are resolved", () => {
    for (const host of ["metadata.google.internal", "METADATA.google.internal.", "metadata"]) {
      const denied = policy().checkName(to(`${host}:80`));
      assert.match(denied?.message ?? "", /is cloud metadata, .* --allow .*:80 would permit it$/);
    }
  });

  test("sees through zones and refuses what is no address", () => {
    assert.match(verdict(policy(), "name.example:80", "fe80::1%eth0"), /link-local/);
    assert.match(verdict(policy(), "name.example:80", "nonsense"), /which is no address/);
  });
});

describe("exit policy rules", () => {
  test("open what an allow entry names, on its ports", () => {
    const exit = policy({ allow: ["127.0.0.1:8080", "localhost:9090", "*.internal:443"] });
    assert.equal(verdict(exit, "127.0.0.1:8080"), "dialled");
    assert.equal(verdict(exit, "[::ffff:127.0.0.1]:8080"), "dialled");
    assert.equal(verdict(exit, "any.example:8080", "127.0.0.1"), "dialled");
    assert.equal(verdict(exit, "localhost:9090", "::1"), "dialled");
    assert.equal(verdict(exit, "a.internal:443", "127.0.0.9"), "dialled");
    assert.match(verdict(exit, "127.0.0.1:8081"), /loopback/);
    assert.match(verdict(exit, "127.0.0.2:8080"), /loopback/);
    assert.match(verdict(exit, "[::1]:9090"), /loopback/);
    assert.match(verdict(exit, "other.example:9090", "127.0.0.1"), /loopback/);
    // An allow entry speaks of what is dialled, not of what a gateway might make of it.
    assert.match(verdict(exit, "[64:ff9b::7f00:1]:8080"), /loopback/);
    assert.equal(verdict(exit, "192.168.0.1:1"), "dialled");
  });

  test("open metadata services to exact entries only", () => {
    const wide = policy({ allow: ["*.internal", "169.254.0.0/16", "*", "fd00::/8"] });
    assert.match(verdict(wide, "metadata.google.internal:80", "169.254.169.254"), /metadata/);
    assert.match(verdict(wide, "a.internal:80", "169.254.169.254"), /metadata/);
    assert.match(verdict(wide, "169.254.169.254:80"), /metadata/);
    assert.match(verdict(wide, "[fd00:ec2::254]:80"), /metadata/);
    assert.equal(verdict(wide, "169.254.1.1:80"), "dialled");
    const exact = policy({ allow: ["metadata.google.internal:80", "100.100.100.200"] });
    assert.equal(verdict(exact, "metadata.google.internal:80", "169.254.169.254"), "dialled");
    assert.equal(verdict(exact, "100.100.100.200:80"), "dialled");
  });

  test("deny whatever else allows", () => {
    const exit = policy({
      allow: ["*"],
      deny: ["10.0.0.0/8", "*.secret.example", "*:25"],
      only: ["*"],
    });
    for (const [target, address] of [
      ["10.1.2.3:80"],
      ["[::ffff:10.1.2.3]:80"],
      ["[64:ff9b::10.1.2.3]:80"],
      ["[2002:a01:203::]:80"],
      ["name.example:80", "10.1.2.3"],
      ["a.SECRET.example.:80", "1.1.1.1"],
      ["1.1.1.1:25"],
      ["name.example:25", "1.1.1.1"],
    ] as const) {
      assert.match(verdict(exit, target, address), / is denied by --deny /, target);
    }
    assert.equal(verdict(exit, "127.0.0.1:80"), "dialled");
  });

  test("restrict a client to its list, which opens nothing", () => {
    const exit = policy({ allow: ["127.0.0.1:5432"] });
    const alice = exit.restrictedTo(
      ["10.0.0.0/8:22", "*.internal:443", "127.0.0.1"].map(parseHostPattern),
    );
    assert.equal(verdict(alice, "10.1.1.1:22"), "dialled");
    assert.equal(verdict(alice, "ssh.example:22", "10.1.1.1"), "dialled");
    assert.equal(verdict(alice, "a.internal:443", "1.1.1.1"), "dialled");
    assert.equal(verdict(alice, "127.0.0.1:5432"), "dialled");
    assert.match(verdict(alice, "127.0.0.1:80"), /is loopback/);
    assert.match(verdict(alice, "a.internal:443", "127.0.0.1"), /is loopback/);
    for (const [target, address] of [
      ["10.1.1.1:23"],
      ["1.1.1.1:22"],
      ["ssh.example:22", "1.1.1.1"],
      ["internal:443", "1.1.1.1"],
    ] as const) {
      assert.match(verdict(alice, target, address), /is not on the list/, target);
    }
  });

  test("asks no name server when no answer could be on the list", () => {
    const alice = policy({ only: ["10.0.0.0/8:22", "*.internal:443"] });
    assert.ok(alice.checkName(to("name.example:443")));
    assert.equal(alice.checkName(to("name.example:22")), undefined);
    assert.equal(alice.checkName(to("a.internal:443")), undefined);
  });
});

describe("policies before somebody else's resolver", () => {
  test("judge literals as addresses and names by name alone", () => {
    const exit = policy({ deny: ["*.evil.example"] });
    assert.ok(exit.checkUnresolved(to("127.0.0.1:80")));
    assert.ok(exit.checkUnresolved(to("a.evil.example:80")));
    assert.equal(exit.checkUnresolved(to("name.example:80")), undefined);
    const alice = exit.restrictedTo([parseHostPattern("10.0.0.0/8")]);
    assert.ok(alice.checkUnresolved(to("name.example:80")), "might be anything over there");
    assert.equal(alice.checkUnresolved(to("10.0.0.1:80")), undefined);
  });

  test("guard an outbound, one client apart from another", async () => {
    const dialled: string[] = [];
    const inner: Outbound = {
      name: "home",
      dial: (target) => {
        dialled.push(target.host);
        return Promise.reject(new Error("far enough"));
      },
    };
    const base = policy();
    const alice = base.restrictedTo([parseHostPattern("10.0.0.0/8")]);
    const guarded = guardOutbound(
      inner,
      policyByRequest(({ user }) => (user === "alice" ? alice : base)),
    );
    const dial = async (user: string, host: string): Promise<string> => {
      const metadata = { inbound: "test", source: "test", user };
      const { signal } = new AbortController();
      try {
        await guarded.dial(to(host), { signal, metadata });
        return "dialled";
      } catch (thrown) {
        return String(thrown);
      }
    };
    assert.match(await dial("alice", "1.1.1.1:1"), /not on the list/);
    assert.match(await dial("bob", "127.0.0.1:1"), /loopback/);
    assert.match(await dial("alice", "10.0.0.1:1"), /far enough/);
    assert.match(await dial("bob", "1.1.1.1:1"), /far enough/);
    assert.deepEqual(dialled, ["10.0.0.1", "1.1.1.1"]);
    assert.equal(guarded.name, "home");
  });
});
