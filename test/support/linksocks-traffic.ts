import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import dgram from "node:dgram";
import { once } from "node:events";
import type net from "node:net";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { answer, READY, readExactly, request, REQUEST_BYTES } from "../interop/pong-target.ts";
import { type Origin, patternHash, patternStream } from "./origin.ts";
import { type SocksTarget, socksAssociate, socksConnect } from "./socks-app.ts";

/** One request and its answer over a connection that stays open until the application leaves. */
export async function chat(socksPort: number, target: SocksTarget): Promise<void> {
  const app = await socksConnect(socksPort, target);
  app.on("error", () => {});
  try {
    app.write(request("chat"));
    assert.equal((await readExactly(app, REQUEST_BYTES)).toString(), request("chat").toString());
  } finally {
    app.destroy();
  }
}

/** Takes `size` bytes from a target and compares their digest; reads slowly when told to. */
export async function download(
  socksPort: number,
  target: SocksTarget,
  { size, pauseMs = 0 }: { readonly size: number; readonly pauseMs?: number },
): Promise<void> {
  const app = await socksConnect(socksPort, target);
  const hash = createHash("sha256");
  let bytes = 0;
  app.write(request(`down ${size}`));
  try {
    for await (const chunk of app) {
      const part = chunk as Buffer;
      hash.update(part);
      bytes += part.byteLength;
      if (bytes >= size) break; // the end may come much later through the reference
      if (pauseMs > 0) await sleep(pauseMs);
    }
  } finally {
    app.on("error", () => {}).destroy();
  }
  assert.equal(bytes, size);
  assert.equal(hash.digest("hex"), await patternHash(size));
}

/** Sends `size` bytes to a target, which says what it took. */
export async function upload(
  socksPort: number,
  target: SocksTarget,
  { size, wish = "up" }: { readonly size: number; readonly wish?: "up" | "sip" },
): Promise<void> {
  const app = await socksConnect(socksPort, target);
  app.on("error", () => {});
  try {
    app.write(request(`${wish} ${size}`));
    assert.equal((await readExactly(app, REQUEST_BYTES)).toString(), READY);
    const [said] = await Promise.all([
      readExactly(app, REQUEST_BYTES),
      pipeline(patternStream(size), app, { end: false }),
    ]);
    assert.equal(said.toString(), answer(`${size} ${await patternHash(size)}`));
  } finally {
    app.destroy();
  }
}

/** Echoes datagrams, from the address that they came to. */
export async function startUdpEcho(host: string = "127.0.0.1"): Promise<Origin> {
  const socket = dgram.createSocket(host.includes(":") ? "udp6" : "udp4");
  socket.on("message", (data, { port, address }) => socket.send(data, port, address));
  socket.bind(0, host);
  await once(socket, "listening");
  return {
    port: socket.address().port,
    [Symbol.asyncDispose]: async () => {
      socket.close();
      await once(socket, "close");
    },
  };
}

/**
 * One association, several targets: every datagram comes back, from the address it was sent to.
 * `names` says what a name in the list resolves to, which is where answers to it come from.
 */
export async function echoDatagrams(
  socksPort: number,
  targets: readonly SocksTarget[],
  { rounds, names = {} }: { readonly rounds: number; readonly names?: Record<string, string> },
): Promise<void> {
  await using association = await socksAssociate(socksPort);
  const expected: string[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const target of targets) {
      const text = `datagram ${round} to ${target.host} ${target.port}`;
      expected.push(`${names[target.host] ?? target.host} ${target.port} ${text}`);
      association.send(target, Buffer.from(text));
      // Loopback drops what comes in one burst; the next goes out when this one came back.
      const until = performance.now() + DATAGRAM_MS;
      while (association.received.length < expected.length) {
        assert.ok(performance.now() < until, `no answer to "${text}"`);
        await sleep(1);
      }
    }
  }
  const received = association.received.map(({ from, data }) => {
    return `${from.host} ${from.port} ${data.toString()}`;
  });
  assert.deepEqual(received, expected);
}

/** What an application reads until its connection ends, and when that was. */
export async function readUntilEnd(app: net.Socket): Promise<{ text: string; afterMs: number }> {
  const from = performance.now();
  const chunks: Buffer[] = [];
  for await (const chunk of app) chunks.push(chunk as Buffer);
  return { text: Buffer.concat(chunks).toString(), afterMs: performance.now() - from };
}

const DATAGRAM_MS = 5_000;
