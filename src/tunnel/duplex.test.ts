import assert from "node:assert/strict";
import { once } from "node:events";
import { Readable, Writable } from "node:stream";
import { buffer, text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { describe, test } from "node:test";
import { patternBytes } from "../../test/support/chunks.ts";
import { assertBytes } from "../../test/support/hex.ts";
import { manualRuntime, TestClient, turns } from "../../test/support/test-client.ts";
import { NetworkError, type TunnelError } from "../errors.ts";
import { dialTcp } from "../transports/tcp/dial.ts";
import { listenTcp } from "../transports/tcp/listen.ts";
import type { Connection } from "./connection.ts";
import { connectionPair } from "./connection-pair.ts";
import { type ConnectionDuplex, toDuplex } from "./duplex.ts";
import { systemRuntime } from "./runtime.ts";

describe("duplex over a connection", () => {
  test("carries bytes and half-closes both ways", async () => {
    const { a, b } = duplexes();
    a.end("question");
    assert.equal(await text(b), "question");
    assert.equal(b.writable, true, "the other direction lives on");
    b.end("answer");
    assert.equal(await text(a), "answer");
    await closed(a, b);
    assert.equal(a.errored ?? b.errored, null);
  });

  test("moves megabytes through pipeline", async () => {
    const { a, b } = duplexes();
    const bytes = patternBytes(3_000_000);
    const chunks = Array.from({ length: 30 }, (_, at) =>
      bytes.subarray(at * 100_000, (at + 1) * 100_000),
    );
    const [, received] = await Promise.all([pipeline(Readable.from(chunks), a), buffer(b)]);
    assertBytes(received, bytes);
  });

  test("gives what one stream wrote to the connection as one gathered write", async () => {
    const { plain, duplex } = half();
    duplex.cork();
    duplex.write("head ");
    duplex.write("body");
    duplex.uncork();
    await turns();
    assert.equal(Buffer.concat(plain.chunks).toString(), "head body");
  });

  test("lets its writer use the buffer again", async () => {
    const { a, b } = duplexes();
    const reused = Buffer.from("first");
    await new Promise((resolve) => a.write(reused, resolve));
    reused.fill("x");
    a.end();
    assert.equal(await text(b), "first");
  });

  test("stops its writer while the other end does not read, and goes on after", async () => {
    const { plain, duplex } = half();
    plain.connection.pause();
    let isDone = false;
    const source = Readable.from(
      Array.from({ length: 100 }, () => Buffer.alloc(16 * 1024)),
      { objectMode: false, highWaterMark: 0 },
    );
    const done = pipeline(source, duplex).then(() => (isDone = true));
    await turns(50);
    assert.equal(isDone, false);
    assert.ok(plain.connection.pendingBytes === 0);
    plain.connection.resume();
    await done;
    await turns();
    assert.equal(Buffer.concat(plain.chunks).byteLength, 100 * 16 * 1024);
    assert.deepEqual(plain.events, ["end"]);
  });

  test("stops the other end while nobody reads", async () => {
    const { plain, duplex } = half();
    while (plain.connection.write([Buffer.alloc(16 * 1024)]));
    await turns();
    assert.deepEqual(plain.events, []);
    assert.ok(plain.connection.pendingBytes > 200_000, "only the stream's own buffer was taken");
    const sink = new Writable({ write: (_chunk, _encoding, callback) => callback() });
    duplex.pipe(sink);
    await turns(60);
    assert.deepEqual(plain.events, ["drain"]);
  });

  test("fails with the cause of a hard end", async () => {
    const { plain, duplex } = half();
    duplex.resume();
    plain.connection.reset(new NetworkError("ERR_TUNNEL_LOST", "the link is gone"));
    const [error] = await once(duplex, "error");
    assert.equal((error as TunnelError).code, "ERR_TUNNEL_LOST");
    assert.equal(duplex.destroyed, true);
  });

  test("fails a waiting write when the connection dies", async () => {
    const { plain, duplex } = half();
    plain.connection.pause();
    duplex.on("error", () => {});
    duplex.write(Buffer.alloc(300 * 1024));
    const failed = new Promise((resolve) => duplex.write("more", resolve));
    plain.connection.reset(new NetworkError("ERR_TUNNEL_LOST", "gone"));
    assert.equal(((await failed) as TunnelError).code, "ERR_TUNNEL_LOST");
  });

  test("resets the connection with the error it is destroyed with", async () => {
    const { plain, duplex } = half();
    duplex.on("error", () => {});
    duplex.write("cut");
    duplex.destroy(new Error("parser failed"));
    await turns();
    assert.deepEqual(plain.events, ["close ERR_ABORTED"]);
  });

  test("resets when destroyed before its end, so that a part never looks whole", async () => {
    const { plain, duplex } = half();
    duplex.write("part");
    duplex.destroy();
    await turns();
    assert.deepEqual(plain.events, ["close ERR_ABORTED"]);
  });

  test("closes in order when destroyed after its end was written", async () => {
    const { plain, duplex } = half();
    duplex.end("whole");
    await once(duplex, "finish");
    duplex.destroy();
    await turns();
    assert.equal(Buffer.concat(plain.chunks).toString(), "whole");
    assert.deepEqual(plain.events, ["end"]);
    plain.connection.finish();
    await turns();
    assert.deepEqual(plain.events, ["end", "close"]);
  });

  test("flushes and then closes when destroyed soon", async () => {
    const { plain, duplex } = half();
    plain.connection.pause();
    duplex.write(Buffer.alloc(300 * 1024));
    duplex.write("tail");
    duplex.destroySoon();
    duplex.destroySoon();
    plain.connection.resume();
    await turns();
    assert.equal(plain.bytes.byteLength, 300 * 1024 + 4);
    assert.deepEqual(plain.events, ["end"]);
    assert.equal(duplex.destroyed, true);
  });

  test("delivers everything before it ends when the other end closes in order", async () => {
    const { plain, duplex } = half();
    plain.connection.write([Buffer.from("all of it")]);
    plain.connection.close();
    await turns();
    assert.equal(await text(duplex), "all of it");
    duplex.end();
    await closed(duplex);
  });
});

describe("detaching a duplex", () => {
  test("gives the connection back with every unread byte in order", async () => {
    const { plain, duplex } = half();
    plain.connection.write([Buffer.from("read unread")]);
    await once(duplex, "readable");
    assert.equal(String(duplex.read(5)), "read ");
    plain.connection.write([Buffer.from(" more")]);
    await turns();
    const events = recordEvents(duplex);
    const connection = duplex.detach();
    const next = new TestClient(connection);
    await turns();
    assert.equal(next.text, "unread more");
    assert.equal(duplex.detach(), connection, "again gives the same");
    connection.write([Buffer.from("back")]);
    await turns();
    assert.equal(Buffer.concat(plain.chunks).toString(), "back");
    assert.deepEqual(events, []);
  });

  test("passes on what was written and not yet taken", async () => {
    const { plain, duplex } = half();
    plain.connection.pause();
    duplex.write(Buffer.alloc(300 * 1024, "a"));
    duplex.write("b");
    duplex.cork();
    duplex.write("c");
    duplex.end("d");
    duplex.detach();
    plain.connection.resume();
    await turns();
    const all = Buffer.concat(plain.chunks);
    assert.equal(all.byteLength, 300 * 1024 + 3);
    assert.equal(all.subarray(-3).toString(), "bcd");
    assert.deepEqual(plain.events, ["end"]);
  });

  test("leaves the stream inert", async () => {
    const { plain, duplex } = half();
    const events = recordEvents(duplex);
    duplex.on("data", () => {});
    const connection = duplex.detach();
    duplex.write("into the void");
    duplex.end();
    duplex.destroy(new Error("nobody hears"));
    plain.connection.write([Buffer.from("x")]);
    plain.connection.reset(new NetworkError("ERR_TUNNEL_LOST", "gone"));
    await turns();
    const next = new TestClient(connection);
    assert.deepEqual(next.events, ["close ERR_TUNNEL_LOST"]);
    assert.deepEqual(plain.text, "");
    assert.deepEqual(events, []);
  });

  test("tells the next owner of an end the stream already heard", async () => {
    const { plain, duplex } = half();
    plain.connection.write([Buffer.from("tail")]);
    plain.connection.finish();
    await turns();
    const connection = duplex.detach();
    const next = new TestClient(connection);
    assert.equal(next.text, "tail");
    assert.deepEqual(next.events, ["end"]);
  });
});

test("carries a TCP connection, its half-close and its reset", async () => {
  const runtime = systemRuntime();
  const accepted = Promise.withResolvers<Connection>();
  await using listener = await listenTcp({ runtime, at: { host: "127.0.0.1", port: 0 } }, (c) =>
    accepted.resolve(c),
  );
  const port = Number(listener.address.split(":")[1]);
  const near = toDuplex(await dialTcp({ runtime, to: { host: "127.0.0.1", port } }));
  const far = toDuplex(await accepted.promise);
  const bytes = patternBytes(2_000_000);
  near.end(bytes);
  assertBytes(await buffer(far), bytes);
  far.write("first half of an answer");
  await once(near, "data");
  far.destroy();
  const [error] = await once(near, "error");
  assert.equal((error as TunnelError).code, "ERR_CONNECTION_RESET");
});

function memoryPair(): [Connection, Connection] {
  return connectionPair(manualRuntime());
}

function duplexes(): { a: ConnectionDuplex; b: ConnectionDuplex } {
  const [a, b] = memoryPair();
  return { a: toDuplex(a), b: toDuplex(b) };
}

/** A stream on one end, the bare connection on the other. */
function half(): { plain: TestClient; duplex: ConnectionDuplex } {
  const [a, b] = memoryPair();
  return { plain: new TestClient(a), duplex: toDuplex(b) };
}

function recordEvents(duplex: ConnectionDuplex): string[] {
  const events: string[] = [];
  for (const name of ["end", "error", "close", "finish", "drain", "readable"]) {
    duplex.on(name, () => events.push(name));
  }
  return events;
}

async function closed(...streams: readonly ConnectionDuplex[]): Promise<void> {
  for (const stream of streams) if (!stream.closed) await once(stream, "close");
}
