import assert from "node:assert/strict";
import { Duplex, PassThrough } from "node:stream";
import { describe, test } from "node:test";
import { SlabPool } from "../bytes/slab-pool.ts";
import { ManualClock } from "../clock/manual-clock.ts";
import { NetworkError, type TunnelError } from "../errors.ts";
import { DuplexConnection } from "./duplex-connection.ts";
import { Inbox } from "./inbox.ts";
import type { Runtime } from "./runtime.ts";

describe("duplex connection", () => {
  test("gathers the writes of one turn", async () => {
    const { connection, sink } = open();
    connection.write([bytes("a"), bytes("b")]);
    connection.write([new Uint8Array(0), bytes("c")]);
    assert.deepEqual(sink.writes, []);
    assert.equal(connection.pendingBytes, 3);
    await turn();
    assert.deepEqual(sink.writes, ["abc"]);
    sink.complete();
    assert.equal(connection.pendingBytes, 0);
  });

  test("does not wait for the turn's end with a lot to write", () => {
    const { connection, sink } = open();
    connection.write([new Uint8Array(64 * 1024)]);
    assert.equal(sink.writes.length, 1);
  });

  test("goes on saying no until it drained, also to small writes", () => {
    const { connection, sink, seen } = open();
    assert.equal(connection.write([new Uint8Array(100 * 1024)]), true);
    assert.equal(connection.write([new Uint8Array(100 * 1024)]), true);
    assert.equal(connection.write([new Uint8Array(100 * 1024)]), false);
    sink.complete();
    assert.deepEqual(seen, [], "200 KiB pending are above the low mark");
    assert.equal(connection.write([bytes("x")]), false, "or its writer waits for ever");
    while (sink.complete());
    assert.deepEqual(seen, ["drain"]);
    assert.equal(connection.write([bytes("y")]), true);
  });

  test("half-closes behind everything written and drops what comes later", async () => {
    const { connection, sink } = open();
    connection.write([bytes("last")]);
    connection.finish();
    connection.finish();
    assert.equal(connection.write([bytes("late")]), true);
    await turn();
    while (sink.complete());
    await turn();
    assert.deepEqual(sink.writes, ["last"]);
    assert.equal(sink.isEnded, true);
    assert.equal(sink.destroyed, false);
  });

  test("gives the memory of written chunks back, and only of those", async () => {
    const { connection, sink, runtime } = open();
    const slab = runtime.slabs.take();
    assert.ok(slab !== undefined);
    const lent = runtime.slabs.lend(slab, 10);
    connection.write([lent.subarray(0, 4)]);
    await turn();
    while (sink.complete());
    assert.notEqual(runtime.slabs.take(), slab, "six bytes are still out");
    connection.write([lent.subarray(4)]);
    await turn();
    assert.notEqual(runtime.slabs.take(), slab, "the write is not complete");
    while (sink.complete());
    assert.equal(runtime.slabs.take(), slab);
  });

  test("stops the stream while the owner pauses", async () => {
    const { connection, sink, seen } = open();
    connection.resume();
    sink.push("a");
    await turn();
    connection.pause();
    for (let count = 0; count < 100; count++) sink.push(Buffer.alloc(1024));
    await turn();
    assert.ok(sink.readableLength >= 98 * 1024, `${sink.readableLength} bytes stay behind`);
    assert.deepEqual(seen, ["a"]);
    connection.resume();
    sink.push(null);
    await turn();
    assert.equal(seen.length, 102);
    assert.equal(seen.at(-1), "end");
  });

  test("names the peer and the reason when the stream fails", async () => {
    const { connection, sink, seen, errors } = open();
    connection.resume();
    sink.destroy(Object.assign(new Error("boom"), { code: "ECONNRESET" }));
    await turn();
    assert.deepEqual(seen, ["close"]);
    assert.equal(errors[0]?.code, "ERR_CONNECTION_RESET");
    assert.match(errors[0]?.message ?? "", /test peer:1: ECONNRESET/);
    assert.equal(connection.write([bytes("x")]), true);
    connection.finish();
    connection.close();
    assert.deepEqual(seen, ["close"]);
  });

  test("closes in order when the peer ends too", async () => {
    const { connection, sink, seen, errors, clock } = open();
    connection.resume();
    connection.write([bytes("bye")]);
    connection.close();
    connection.close();
    sink.push("ignored");
    await turn();
    while (sink.complete());
    sink.push(null);
    await turn();
    assert.deepEqual(sink.writes, ["bye"]);
    assert.deepEqual(seen, ["close"]);
    assert.deepEqual(errors, [undefined]);
    assert.equal(clock.pending, 0);
  });

  test("ends a closed connection whose peer never ends", async () => {
    const { connection, sink, seen, clock } = open();
    connection.close();
    await turn();
    clock.advance(4_999);
    assert.equal(sink.destroyed, false);
    clock.advance(1);
    await turn();
    assert.equal(sink.destroyed, true);
    assert.deepEqual(seen, ["close"]);
    assert.equal(clock.pending, 0);
  });

  test("lets a slow peer take what was written before a close", async () => {
    const { connection, sink, clock } = open();
    for (let count = 0; count < 3; count++) connection.write([new Uint8Array(64 * 1024)]);
    // One write is with the stream, the others leave together behind it.
    connection.close();
    for (let left = 2; left > 0; left--) {
      clock.advance(50_000);
      assert.equal(sink.destroyed, false);
      sink.complete();
    }
    clock.advance(5_000);
    assert.equal(sink.destroyed, true);
    assert.equal(sink.resets, 0);
  });

  test("cuts a close hard when the peer takes nothing", async () => {
    const { connection, sink, seen, clock } = open();
    connection.write([new Uint8Array(64 * 1024)]);
    connection.close();
    clock.advance(60_000);
    await turn();
    assert.equal(sink.resets, 1, "a cut answer must look cut");
    assert.deepEqual(seen, ["close"]);
    assert.equal(clock.pending, 0);
  });

  test("resets at once, with the cause, dropping what waits", async () => {
    const { connection, sink, seen, errors } = open();
    connection.write([bytes("unsent")]);
    connection.reset(GONE);
    connection.reset(new NetworkError("ERR_CLOSED", "again"));
    await turn();
    assert.equal(sink.resets, 1);
    assert.deepEqual(sink.writes, []);
    assert.deepEqual(seen, ["close"]);
    assert.deepEqual(errors, [GONE]);
    assert.equal(connection.pendingBytes, 0);
  });

  test("resets even after a close", async () => {
    const { connection, sink, errors, clock } = open();
    connection.close();
    connection.reset(GONE);
    await turn();
    assert.equal(sink.resets, 1);
    assert.deepEqual(errors, [GONE]);
    assert.equal(clock.pending, 0);
  });

  test("can be closed when its stream is gone and its reader is behind", async () => {
    const { stream, inbox, connection, seen } = openSource();
    inbox.deliver(bytes("unread"));
    inbox.end();
    stream.destroy();
    await turn();
    assert.deepEqual(seen, []);
    connection.close();
    assert.deepEqual(seen, ["close"]);
    connection.resume();
    assert.deepEqual(seen, ["close"]);
  });

  test("closes when its stream fails and goes on, as TLS does after an alert", async () => {
    const { connection, sink, seen, errors } = open();
    connection.resume();
    sink.emit("error", Object.assign(new Error("alert"), { code: "ERR_SSL_ALERT" }));
    sink.push(null);
    await turn();
    assert.equal(sink.destroyed, true);
    assert.deepEqual(seen, ["close"]);
    assert.match(errors[0]?.message ?? "", /ERR_SSL_ALERT/);
  });

  test("lets its maker explain a failure", async () => {
    const { stream, connection, errors } = openSource();
    stream.destroy(new Error("boom"));
    await turn();
    assert.equal(errors[0], GONE);
    connection.close();
  });

  test("reports a stream that was gone before it came", async () => {
    const stream = new PassThrough();
    stream.destroy();
    await turn();
    const { seen } = open(stream);
    await turn();
    assert.deepEqual(seen, ["close"]);
  });
});

const GONE = new NetworkError("ERR_TUNNEL_LOST", "gone");

/** A stream whose writes complete when the test says so. */
class Sink extends Duplex {
  readonly writes: string[] = [];
  isEnded = false;
  resets = 0;
  #completions: ((error?: Error | null) => void)[] = [];

  /** Completes the oldest write; false when none waits. */
  complete(): boolean {
    const done = this.#completions.shift();
    done?.();
    return done !== undefined;
  }

  override _read(): void {}

  override _write(chunk: Buffer, _: BufferEncoding, done: (error?: Error | null) => void): void {
    this.writes.push(chunk.toString());
    this.#completions.push(done);
  }

  override _writev(
    chunks: { chunk: Buffer; encoding: BufferEncoding }[],
    done: (error?: Error | null) => void,
  ): void {
    this.writes.push(Buffer.concat(chunks.map(({ chunk }) => chunk)).toString());
    this.#completions.push(done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.isEnded = true;
    done();
  }
}

function open(stream: Duplex = new Sink()): {
  connection: DuplexConnection;
  sink: Sink;
  clock: ManualClock;
  runtime: Runtime;
  seen: string[];
  errors: (TunnelError | undefined)[];
} {
  const clock = new ManualClock();
  const runtime = { clock, random: () => 0.5, slabs: new SlabPool(1024) };
  const sink = stream instanceof Sink ? stream : new Sink();
  const connection = new DuplexConnection(stream, {
    runtime,
    info: { transport: "test", local: "local:1", peer: "peer:1" },
    destroy: () => {
      sink.resets++;
      stream.destroy();
    },
  });
  const seen: string[] = [];
  const errors: (TunnelError | undefined)[] = [];
  connection.attach({
    onData: (chunk) => void seen.push(Buffer.from(chunk).toString()),
    onEnd: () => void seen.push("end"),
    onDrain: () => void seen.push("drain"),
    onClose: (error) => {
      seen.push("close");
      errors.push(error);
    },
  });
  return { connection, sink, clock, runtime, seen, errors };
}

/** A connection whose bytes do not come as `data` events, and whose every failure is explained. */
function openSource(): {
  stream: PassThrough;
  inbox: Inbox;
  connection: DuplexConnection;
  seen: string[];
  errors: (TunnelError | undefined)[];
} {
  const stream = new PassThrough();
  const seen: string[] = [];
  const errors: (TunnelError | undefined)[] = [];
  let inbox = new Inbox();
  const connection = new DuplexConnection(stream, {
    runtime: { clock: new ManualClock(), random: () => 0.5, slabs: new SlabPool(1024) },
    info: { transport: "test", local: "local:1", peer: "peer:1" },
    explain: () => GONE,
    source: (given) => {
      inbox = given;
      return () => {};
    },
  });
  connection.attach({
    onData: (chunk) => void seen.push(Buffer.from(chunk).toString()),
    onEnd: () => void seen.push("end"),
    onDrain: () => void seen.push("drain"),
    onClose: (error) => {
      seen.push("close");
      errors.push(error);
    },
  });
  return { stream, inbox, connection, seen, errors };
}

function bytes(text: string): Uint8Array {
  return Buffer.from(text);
}

/** Lets streams and the write batch act. */
async function turn(): Promise<void> {
  for (let count = 0; count < 3; count++) await new Promise((resolve) => setImmediate(resolve));
}
