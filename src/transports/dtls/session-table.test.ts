import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { VECTOR_CLIENT } from "../../../test/support/dtls-ends.ts";
import { manualRuntime } from "../../../test/support/test-client.ts";
import { DtlsClientSession } from "./client-session.ts";
import { DtlsConnection } from "./dtls-connection.ts";
import { nameOf, type SessionEntry, SessionTable, sourceOf } from "./session-table.ts";

function entryFrom(host: string, port: number): SessionEntry {
  const connection = new DtlsConnection({
    session: new DtlsClientSession(VECTOR_CLIENT, 0),
    info: { transport: "dtls", local: "here", peer: "there" },
    runtime: manualRuntime(),
    send: () => {},
    onEstablished: () => {},
    onOver: () => {},
  });
  const name = nameOf({ host, port });
  return { connection, name, source: sourceOf(host), helloStart: new Uint8Array(0) };
}

function counts(table: SessionTable): number[] {
  return [table.size, table.halfOpen, table.established];
}

describe("dtls session table", () => {
  test("counts as entries come, are established and go", () => {
    const table = new SessionTable();
    const [one, two] = [entryFrom("192.0.2.1", 1), entryFrom("192.0.2.1", 2)];
    table.add(one);
    table.add(two);
    assert.deepEqual(counts(table), [2, 2, 0]);
    assert.equal(table.halfOpenFrom("192.0.2.1"), 2);
    assert.equal(table.establish(one, "key"), undefined);
    assert.deepEqual(counts(table), [2, 1, 1]);
    assert.deepEqual([table.halfOpenFrom("192.0.2.1"), table.establishedOf("key")], [1, 1]);
    for (const entry of [one, two, one]) table.remove(entry);
    assert.deepEqual(counts(table), [0, 0, 0]);
    assert.deepEqual([table.halfOpenFrom("192.0.2.1"), table.establishedOf("key")], [0, 0]);
  });

  test("keeps a successor beside an established session, and puts it in its place", () => {
    const table = new SessionTable();
    const [old, next] = [entryFrom("192.0.2.1", 1), entryFrom("192.0.2.1", 1)];
    table.add(old);
    table.establish(old, "key");
    table.add(next);
    assert.deepEqual([table.current(old.name), table.successor(old.name)], [old, next]);
    assert.equal(table.establish(next, "key"), old);
    assert.deepEqual([table.current(old.name), table.successor(old.name)], [next, undefined]);
    assert.deepEqual(counts(table), [1, 0, 1]);
    assert.equal(table.establishedOf("key"), 1);
  });

  test("gives a successor the place of one that ended meanwhile", () => {
    const table = new SessionTable();
    const [old, next] = [entryFrom("192.0.2.1", 1), entryFrom("192.0.2.1", 1)];
    table.add(old);
    table.establish(old, "key");
    table.add(next);
    table.remove(old);
    assert.deepEqual([table.current(old.name), table.successor(old.name)], [next, undefined]);
    assert.deepEqual([...table.entries()], [next]);
    assert.deepEqual(counts(table), [1, 1, 0]);
  });

  test("takes a /64 of IPv6 for one source", () => {
    assert.equal(sourceOf("2001:db8::1:2"), sourceOf("2001:db8::3%eth0"));
    assert.notEqual(sourceOf("2001:db8:0:1::1"), sourceOf("2001:db8::1"));
    assert.equal(sourceOf("192.0.2.1"), "192.0.2.1");
  });
});
