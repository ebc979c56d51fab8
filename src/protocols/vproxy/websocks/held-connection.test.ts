import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Recorder } from "../../../../test/support/recorder.ts";
import { manualRuntime } from "../../../../test/support/test-client.ts";
import { turns } from "../../../../test/support/turns.ts";
import type { ManualClock } from "../../../clock/manual-clock.ts";
import { NetworkError } from "../../../errors.ts";
import type { Connection } from "../../../tunnel/connection.ts";
import { connectionPair } from "../../../tunnel/connection-pair.ts";
import { HeldConnection } from "./held-connection.ts";

const BANNER = "220 ready\r\n";

describe("a connection that holds what the target says first", { timeout: 10_000 }, () => {
  test("lets it go when the time is over", async () => {
    const { client, server, clock } = make();
    assert.equal(server.connection.write([Buffer.from(BANNER)]), false, "the writer waits");
    clock.advance(249);
    await turns();
    assert.equal(client.text, "");
    assert.equal(server.connection.pendingBytes, BANNER.length);
    clock.advance(1);
    await client.received(BANNER.length);
    assert.deepEqual(server.events, ["drain"]);
    assert.equal(server.connection.pendingBytes, 0);
    assert.ok(server.connection.write([Buffer.from("more")]));
    await client.received(BANNER.length + 4);
    assert.equal(clock.pending, 0);
  });

  test("lets it go when the client speaks, and before the target hears it", async () => {
    const { client, server } = make();
    server.connection.write([Buffer.from(BANNER)]);
    client.connection.write([Buffer.from("EHLO")]);
    await client.received(BANNER.length);
    assert.equal(server.text, "EHLO");
  });

  test("lets it go when the client ends", async () => {
    const { client, server } = make();
    server.connection.write([Buffer.from(BANNER)]);
    client.connection.finish();
    await client.received(BANNER.length);
    assert.deepEqual(server.events, ["drain", "end"]);
  });

  test("holds nothing when the client spoke before", async () => {
    const { client, server, clock } = make();
    client.connection.write([Buffer.from("GET")]);
    await server.received(3);
    assert.ok(server.connection.write([Buffer.from("answer")]));
    await client.received(6);
    assert.equal(clock.pending, 0);
  });

  test("keeps a half-close behind what it holds", async () => {
    const { client, server, clock } = make();
    server.connection.write([Buffer.from(BANNER)]);
    server.connection.finish();
    server.connection.write([Buffer.from("dropped")]);
    await turns();
    assert.deepEqual(client.events, []);
    clock.advance(250);
    await client.ended();
    assert.equal(client.text, BANNER);
    client.connection.write([Buffer.from("bye")]);
    await server.received(3);
  });

  test("flushes before it closes, and reports only that then", async () => {
    const { client, server, clock } = make();
    server.connection.write([Buffer.from(BANNER)]);
    server.connection.close();
    server.connection.close();
    await turns();
    assert.deepEqual(client.events, []);
    clock.advance(250);
    await client.ended();
    assert.equal(client.text, BANNER);
    client.connection.finish();
    await server.closed();
    assert.deepEqual(server.events, ["close"]);
    assert.equal(server.text, "");
  });

  test("is closed by a client that speaks while it closes", async () => {
    const { client, server } = make();
    server.connection.write([Buffer.from(BANNER)]);
    server.connection.close();
    client.connection.write([Buffer.from("too late")]);
    await client.ended();
    assert.equal(client.text, BANNER);
    assert.equal(server.text, "");
  });

  test("closes at once when it holds nothing", async () => {
    const { client, server, clock } = make();
    server.connection.close();
    await client.ended();
    assert.equal(clock.pending, 0);
  });

  test("drops what it holds on a reset from either side", async () => {
    const error = new NetworkError("ERR_CONNECTION_RESET", "gone");
    for (const side of ["client", "server"] as const) {
      const both = make();
      both.server.connection.write([Buffer.from(BANNER)]);
      both[side].connection.reset(error);
      await both.client.closed();
      await both.server.closed();
      assert.equal(both.client.text, "");
      assert.equal(both.server.closeError, error);
      assert.equal(both.clock.pending, 0);
      assert.equal(both.server.connection.pendingBytes, 0);
    }
  });

  test("waits longer while the reply has not left, but not for ever", async () => {
    const { client, server, clock } = make();
    client.connection.pause();
    server.connection.write([Buffer.from(BANNER)]);
    await turns();
    // The reply of a reader that reads nothing stays in the pair.
    assert.ok(server.connection.pendingBytes > BANNER.length);
    clock.advance(1_000);
    client.connection.resume();
    await turns();
    assert.equal(client.text, "", "the reply alone");
    clock.advance(250);
    await client.received(BANNER.length);

    const stuck = make();
    stuck.client.connection.pause();
    stuck.server.connection.write([Buffer.from(BANNER)]);
    await turns();
    stuck.clock.advance(10_000);
    assert.equal(stuck.clock.pending, 0);
  });

  test("gives what the client said early to who attaches", async () => {
    const { client, server } = make(Buffer.from("early"));
    await server.received(5);
    assert.ok(server.connection.write([Buffer.from("at once")]));
    await client.received(7);
  });
});

/** A held connection with the reply in front, read from both sides. */
function make(early?: Uint8Array): { client: Recorder; server: Recorder; clock: ManualClock } {
  const runtime = manualRuntime();
  const [near, far]: [Connection, Connection] = connectionPair(runtime);
  const hasReply = early === undefined;
  if (hasReply) far.write([Buffer.from("reply")]);
  else far.unshift(early);
  const server = new Recorder(new HeldConnection(far, { clock: runtime.clock, holdMs: 250 }));
  const client = new ReplyRecorder(near, hasReply);
  near.resume();
  server.connection.resume();
  return { client, server, clock: runtime.clock };
}

/** Forgets the reply when it comes alone, as it must. */
class ReplyRecorder extends Recorder {
  #isAwaited: boolean;

  constructor(connection: Connection, isAwaited: boolean) {
    super(connection);
    this.#isAwaited = isAwaited;
  }

  override onData(chunk: Uint8Array): void {
    if (this.#isAwaited && Buffer.from(chunk).toString() === "reply") this.#isAwaited = false;
    else super.onData(chunk);
  }
}
