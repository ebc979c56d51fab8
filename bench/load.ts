/**
 * The client of every measurement, in its own process: takes one order a message, answers one. Given
 * a tunnel URL, it is the near end of that tunnel itself, for `open` alone.
 */
import net from "node:net";
import type { Duplex } from "node:stream";
import { connect as connectTunnel } from "../src/index.ts";

/** What the parent asks for. */
export type Order =
  | {
      readonly kind: "stream";
      readonly port: number;
      readonly direction: "up" | "down";
      readonly count: number;
      readonly ms: number;
    }
  | { readonly kind: "open"; readonly port: number; readonly ms: number; readonly parallel: number }
  | { readonly kind: "echo"; readonly port: number; readonly count: number }
  | { readonly kind: "idle"; readonly port: number; readonly count: number }
  | { readonly kind: "release" };

/** What it gets. Bytes per second, opens per second, microseconds. */
export interface Result {
  readonly bytesPerSecond?: number;
  readonly bytes?: number;
  readonly opensPerSecond?: number;
  readonly p50?: number;
  readonly p99?: number;
}

const CHUNK = Buffer.alloc(256 * 1024, 0xa5);
const idle: net.Socket[] = [];

const [url] = process.argv.slice(2);
const tunnel = url === undefined ? undefined : connectTunnel(url);

process.on("message", (order: Order) => {
  void run(order).then(
    (result) => process.send?.(result),
    (error: unknown) => process.send?.({ error: String(error) }),
  );
});
process.send?.({ ready: true });

async function run(order: Order): Promise<Result> {
  switch (order.kind) {
    case "stream": {
      const from = performance.now();
      const jobs = Array.from({ length: order.count }, () =>
        order.direction === "up" ? upload(order.port, order.ms) : download(order.port, order.ms),
      );
      const bytes = (await Promise.all(jobs)).reduce((sum, one) => sum + one, 0);
      return { bytes, bytesPerSecond: (bytes / (performance.now() - from)) * 1000 };
    }
    case "open":
      return await openRate(order.port, order.ms, order.parallel);
    case "echo":
      return await echoTimes(order.port, order.count);
    case "idle":
      for (let at = 0; at < order.count; at += 50) {
        const batch = Array.from({ length: Math.min(50, order.count - at) }, () =>
          echoOnce(order.port),
        );
        idle.push(...(await Promise.all(batch)));
      }
      return {};
    case "release":
      for (const socket of idle.splice(0)) socket.destroy();
      return {};
  }
}

function connect(port: number, onread?: net.OnReadOpts): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({
      port,
      host: "127.0.0.1",
      noDelay: true,
      ...(onread ? { onread } : {}),
    });
    socket.once("error", reject).once("connect", () => resolve(socket));
  });
}

/** Sends for `ms`, ends, and trusts only what the origin says it counted. */
async function upload(port: number, ms: number): Promise<number> {
  const socket = await connect(port);
  const until = performance.now() + ms;
  socket.write("U");
  return await new Promise((resolve, reject) => {
    let answer = "";
    const pump = (): void => {
      while (performance.now() < until) if (!socket.write(CHUNK)) return;
      socket.off("drain", pump);
      socket.end();
    };
    socket.on("drain", pump).on("error", reject);
    socket.on("data", (chunk: Buffer) => {
      answer += chunk.toString();
    });
    socket.on("end", () => resolve(Number(answer)));
    pump();
  });
}

async function download(port: number, ms: number): Promise<number> {
  let bytes = 0;
  const buffer = Buffer.alloc(256 * 1024);
  const socket = await connect(port, {
    buffer,
    callback: (count) => {
      bytes += count;
      return true;
    },
  });
  socket.on("error", () => {});
  socket.write("D");
  await new Promise((resolve) => setTimeout(resolve, ms));
  const got = bytes;
  socket.destroy();
  return got;
}

/** Connects to the origin, directly or as a stream of the tunnel, and closes in order. */
async function openRate(port: number, ms: number, parallel: number): Promise<Result> {
  const open = (): Promise<Duplex> =>
    tunnel === undefined ? connect(port) : tunnel.open({ host: "127.0.0.1", port });
  const from = performance.now();
  const until = from + ms;
  let opens = 0;
  const worker = async (): Promise<void> => {
    while (performance.now() < until) {
      const stream = await open();
      opens++;
      const closed = new Promise((resolve) => stream.once("close", resolve));
      stream.on("error", () => {}).resume();
      stream.end();
      await closed;
    }
  };
  await Promise.all(Array.from({ length: parallel }, worker));
  return { opensPerSecond: (opens / (performance.now() - from)) * 1000 };
}

async function echoOnce(port: number): Promise<net.Socket> {
  const socket = await connect(port);
  await new Promise<void>((resolve, reject) => {
    socket.once("error", reject).once("data", () => resolve());
    socket.write("Ex");
  });
  socket.on("error", () => {});
  socket.on("data", () => {});
  return socket;
}

async function echoTimes(port: number, count: number): Promise<Result> {
  const socket = await echoOnce(port);
  const message = Buffer.alloc(64, 0x11);
  const times: number[] = [];
  await new Promise<void>((resolve, reject) => {
    let sentAt = 0;
    let got = 0;
    const send = (): void => {
      sentAt = performance.now();
      socket.write(message);
    };
    socket.on("error", reject);
    socket.on("data", (chunk: Buffer) => {
      got += chunk.byteLength;
      if (got < message.byteLength) return;
      got = 0;
      times.push((performance.now() - sentAt) * 1000);
      if (times.length < count) send();
      else resolve();
    });
    send();
  });
  socket.destroy();
  // The first tenth warms up caches and compilers on all hops.
  const sorted = times.slice(count / 10).toSorted((a, b) => a - b);
  const at = (share: number): number => sorted[Math.floor(sorted.length * share)] ?? 0;
  return { p50: at(0.5), p99: at(0.99) };
}
