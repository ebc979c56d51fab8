import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import type net from "node:net";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { type Origin, patternHash, patternStream, tcpOrigin } from "../support/origin.ts";
import type { Datagrams, GodoxyLane } from "./godoxy-lane.ts";
import { answer, READY, readExactly, request, REQUEST_BYTES } from "./pong-target.ts";

/** One request and its answer. */
export async function chat(app: net.Socket): Promise<void> {
  app.on("error", () => {});
  try {
    app.write(request("chat"));
    assert.equal((await readExactly(app, REQUEST_BYTES)).toString(), request("chat").toString());
  } finally {
    app.destroy();
  }
}

/** Takes bytes and compares their digest; waits for no end, which the original does not relay. */
export async function download(app: net.Socket, size: number, pauseMs = 0): Promise<void> {
  app.on("error", () => {});
  const hash = createHash("sha256");
  let bytes = 0;
  app.write(request(`down ${size}`));
  for await (const chunk of app) {
    const part = chunk as Buffer;
    hash.update(part);
    bytes += part.byteLength;
    if (bytes >= size) break;
    if (pauseMs > 0) await sleep(pauseMs);
  }
  app.destroy();
  assert.equal(bytes, size);
  assert.equal(hash.digest("hex"), await patternHash(size));
}

/** Sends bytes to a target, which says what it took. */
export async function upload(app: net.Socket, size: number): Promise<void> {
  app.on("error", () => {});
  app.write(request(`up ${size}`));
  assert.equal((await readExactly(app, REQUEST_BYTES)).toString(), READY);
  const [said] = await Promise.all([
    readExactly(app, REQUEST_BYTES),
    pipeline(patternStream(size), app, { end: false }),
  ]);
  app.destroy();
  assert.equal(said.toString(), answer(`${size} ${await patternHash(size)}`));
}

/** Speaks first, then echoes. */
export async function startBanner(): Promise<Origin> {
  return await tcpOrigin((socket) => {
    socket.write(answer("welcome"));
    socket.pipe(socket);
  });
}

/** What comes within a while, and whether the end was among it. */
export async function listenFor(
  app: net.Socket,
  ms: number,
): Promise<{ readonly text: string; readonly hasEnded: boolean }> {
  const chunks: Buffer[] = [];
  let hasEnded = false;
  const onData = (chunk: Buffer): void => void chunks.push(chunk);
  const over = new Promise<void>((resolve) => {
    const end = (): void => {
      hasEnded = true;
      resolve();
    };
    app.once("end", end).once("error", end);
  });
  app.on("data", onData);
  await Promise.race([over, sleep(ms)]);
  app.off("data", onData);
  return { text: Buffer.concat(chunks).toString(), hasEnded };
}

/** Sends a datagram once, and takes it back. */
export async function echo(datagrams: Datagrams, size: number): Promise<void> {
  const data = randomBytes(size);
  const before = datagrams.received.length;
  datagrams.send(data);
  await until(() => datagrams.received.length > before, `an echo of ${size} bytes`, ECHO_MS);
  assert.equal(datagrams.received.length, before + 1);
  assert.deepEqual(datagrams.received[before], data);
}

/** Sends a datagram as often as it takes until it is back; how often that was. */
export async function echoAtLast(datagrams: Datagrams, withinMs: number): Promise<number> {
  const data = randomBytes(64);
  const isBack = (): boolean => datagrams.received.some((received) => received.equals(data));
  const deadline = performance.now() + withinMs;
  let count = 0;
  while (!isBack()) {
    assert.ok(performance.now() < deadline, `no echo within ${withinMs} ms`);
    datagrams.send(data);
    count += 1;
    for (let tick = 0; tick < 20 && !isBack(); tick++) await sleep(10);
  }
  return count;
}

/** Asks until a request is answered. */
export async function comeBack(lane: GodoxyLane, port: number): Promise<void> {
  const deadline = performance.now() + READY_MS;
  for (;;) {
    try {
      const app = await lane.open({ host: "127.0.0.1", port });
      app.setTimeout(2_000, () => app.destroy());
      await chat(app);
      return;
    } catch (cause) {
      if (performance.now() > deadline) throw new Error("no answer any more", { cause });
      await sleep(100);
    }
  }
}

/** Waits for a condition. */
export async function until(isSo: () => boolean, what: string, withinMs: number): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!isSo()) {
    assert.ok(performance.now() < deadline, `${what}: not within ${withinMs} ms`);
    await sleep(5);
  }
}

const ECHO_MS = 5_000;
const READY_MS = 30_000;
