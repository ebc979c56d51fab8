import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Logins } from "./logins.ts";

describe("logins", () => {
  test("let the right password in, and nothing else", () => {
    const { logins } = make({ alice: "secret", bob: "" });
    assert.equal(logins.check("p", "alice", "secret"), undefined);
    assert.equal(logins.check("p", "bob", ""), undefined);
    for (const [name, password] of [
      ["alice", "Secret"],
      ["alice", "secret "],
      ["alice", ""],
      ["Alice", "secret"],
      ["nobody", "secret"],
      ["nobody", "\0".repeat(32)],
      ["", ""],
    ] as const) {
      assert.equal(logins.check("p", name, password)?.code, "ERR_AUTH", `${name}:${password}`);
    }
  });

  test("record every failure of a peer", () => {
    const { logins, failures } = make({ alice: "secret" });
    logins.check("192.0.2.1:5000", "alice", "wrong");
    logins.check("192.0.2.1:5001", "eve", "secret");
    logins.check("192.0.2.2:5000", "alice", "secret");
    assert.deepEqual(failures, ["192.0.2.1:5000", "192.0.2.1:5001"]);
  });

  test("do not even look at what a blocked peer sends", () => {
    const { logins, failures } = make({ alice: "secret" }, 1_500);
    const denial = logins.check("p", "alice", "secret");
    assert.equal(denial?.code, "ERR_LIMIT");
    assert.match(denial?.hint ?? "", /wait 2 s/);
    assert.deepEqual(failures, []);
  });
});

function make(
  users: Readonly<Record<string, string>>,
  blockedMs = 0,
): { logins: Logins; failures: string[] } {
  const failures: string[] = [];
  const guard = {
    blockedForMs: () => blockedMs,
    recordFailure: (peer: string) => void failures.push(peer),
  };
  return { logins: new Logins({ users: new Map(Object.entries(users)), guard }), failures };
}
