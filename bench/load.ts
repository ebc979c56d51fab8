/**
 * The client of every measurement, in its own process: takes one order a message, answers one. Given
 * a tunnel URL, it is the near end of that tunnel itself, for `open` alone.
 */
import net from "node:net";
import type { Duplex } from "node:stream";
import { connect as connectTunnel } from "../src/index.ts";
import { socksHandshake } from "./socks.ts";

/** Where to connect. */
export interface Place {
  readonly port: number;
  /** The origin's port, when `port` is a SOCKS5 port that has to be told. */
  readonly target?: number | undefined;
}

/** What the parent asks for. */
export type Order =
  | (Place & {
      readonly kind: "stream";
      readonly direction: "up" | "down";
      readonly count: number;
      readonly ms: number;
    })
  | (Place & {
      readonly kind: "open";
      readonly ms: number;
      readonly parallel: number;
      readonly count?: number | undefined;
    })
  | (Place & { readonly kind: "idle"; readonly count: number })
  | (Place & { readonly kind: "echo"; readonly count: number; readonly ms?: number })
  /** The first echo on a connection that has just carried `count` bytes, in median. */
  | (Place & { readonly kind: "echoAfter"; readonly count: number })
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
const MESSAGE = Buffer.alloc(64, 0x11);
const REFUSED_MS = 20_000;
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
        order.direction === "up" ? upload(order, order.ms) : download(order, order.ms),
      );
      const bytes = (await Promise.all(jobs)).reduce((sum, one) => sum + one, 0);
      return { bytes, bytesPerSecond: (bytes / (performance.now() - from)) * 1000 };
    }
    case "open":
      return await openRate(order, order);
    case "echo": {
      const until = performance.now() + (order.ms ?? Number.POSITIVE_INFINITY);
      const goesOn = (done: number): boolean => done < order.count && performance.now() < until;
      return quantiles(await echoTimes(order, goesOn));
    }
    case "echoAfter":
      return await echoAfter(order, order.count);
    case "idle":
      for (let at = 0; at < order.count; at += 50) {
        const batch = Array.from({ length: Math.min(50, order.count - at) }, () => echoOnce(order));
        idle.push(...(await Promise.all(batch)));
      }
      return {};
    case "release":
      for (const socket of idle.splice(0)) socket.destroy();
      return {};
  }
}

/** After a burst of opens the reference of LinkSocks refuses some, and takes them again later. */
async function connect(place: Place, onread?: net.OnReadOpts): Promise<net.Socket> {
  for (const until = performance.now() + REFUSED_MS; ; ) {
    try {
      return await connectOnce(place, onread);
    } catch (error) {
      if (place.target === undefined || performance.now() > until) throw error;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
}

async function connectOnce({ port, target }: Place, onread?: net.OnReadOpts): Promise<net.Socket> {
  if (target === undefined) return await dial(port, onread);
  // A socket that reads into a buffer of its own cannot read a handshake first.
  const socket = await dial(port);
  try {
    await socksHandshake(socket, target);
  } catch (error) {
    socket.destroy();
    throw error;
  }
  return socket;
}

function dial(port: number, onread?: net.OnReadOpts): Promise<net.Socket> {
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

/** Sends for `ms`, and trusts only what the origin says it counted. */
async function upload(place: Place, ms: number): Promise<number> {
  const socket = await connect(place);
  // Through SOCKS5 an end may cut the answer off: there the origin says how far it is.
  const isCounted = place.target !== undefined;
  const until = performance.now() + ms;
  let sent = 0;
  let isOver = false;
  socket.write(isCounted ? "K" : "U");
  return await new Promise((resolve, reject) => {
    let answer = "";
    const settle = (): void => {
      const counted = Number(isCounted ? answer.split("\n").at(-2) : answer);
      if (isCounted && (!isOver || counted < sent)) return;
      socket.destroy();
      resolve(counted);
    };
    const pump = (): void => {
      while (performance.now() < until) {
        sent += CHUNK.byteLength;
        if (!socket.write(CHUNK)) return;
      }
      isOver = true;
      socket.off("drain", pump);
      if (isCounted) settle();
      else socket.end();
    };
    socket.on("drain", pump).on("error", reject);
    socket.on("data", (chunk: Buffer) => {
      answer = (answer + chunk.toString()).slice(-200);
      if (isCounted) settle();
    });
    socket.on("end", settle);
    pump();
  });
}

async function download(place: Place, ms: number): Promise<number> {
  let bytes = 0;
  const buffer = Buffer.alloc(256 * 1024);
  const socket = await connect(place, {
    buffer,
    callback: (count) => {
      bytes += count;
      return true;
    },
  });
  socket.on("error", () => {});
  if (place.target !== undefined) {
    socket.on("data", (chunk: Buffer) => {
      bytes += chunk.byteLength;
    });
  }
  socket.write("D");
  await new Promise((resolve) => setTimeout(resolve, ms));
  const got = bytes;
  socket.destroy();
  return got;
}

interface OpenLimits {
  readonly ms: number;
  readonly parallel: number;
  readonly count?: number | undefined;
}

/** Connects to the origin, directly or as a stream of the tunnel, and closes in order. */
async function openRate(place: Place, limits: OpenLimits): Promise<Result> {
  const { ms, parallel, count = Number.POSITIVE_INFINITY } = limits;
  const open = (): Promise<Duplex> =>
    tunnel === undefined
      ? connectOnce(place)
      : tunnel.open({ host: "127.0.0.1", port: place.port });
  const from = performance.now();
  const until = from + ms;
  let opens = 0;
  let refused = 0;
  const worker = async (): Promise<void> => {
    while (performance.now() < until && opens < count) {
      const stream = await open().catch((error: unknown) => {
        if (place.target === undefined) throw error;
        refused++;
      });
      if (stream === undefined) continue;
      opens++;
      const closed = new Promise((resolve) => stream.once("close", resolve));
      stream.on("error", () => {}).resume();
      // The reference of LinkSocks takes seconds over an end: only the opening counts there.
      if (place.target === undefined) stream.end();
      else stream.destroy();
      await closed;
    }
  };
  await Promise.all(Array.from({ length: parallel }, worker));
  if (refused > 0) console.warn(`port ${place.port}: ${refused} opens refused, ${opens} taken`);
  return { opensPerSecond: (opens / (performance.now() - from)) * 1000 };
}

async function echoOnce(place: Place): Promise<net.Socket> {
  const socket = await connect(place);
  await new Promise<void>((resolve, reject) => {
    socket.once("error", reject).once("data", () => resolve());
    socket.write("Ex");
  });
  socket.on("error", () => {});
  socket.on("data", () => {});
  return socket;
}

/** Times of small echoes one behind the other, in microseconds, for as long as `goesOn` says. */
async function echoTimes(place: Place, goesOn: (done: number) => boolean): Promise<number[]> {
  const socket = await echoOnce(place);
  const times: number[] = [];
  while (goesOn(times.length)) times.push(await echo(socket));
  socket.destroy();
  return times;
}

/** One small echo, in microseconds. */
function echo(socket: net.Socket): Promise<number> {
  return new Promise((resolve, reject) => {
    const sentAt = performance.now();
    let got = 0;
    const onData = (chunk: Buffer): void => {
      got += chunk.byteLength;
      if (got < MESSAGE.byteLength) return;
      socket.off("data", onData).off("error", reject);
      resolve((performance.now() - sentAt) * 1000);
    };
    socket.on("data", onData).on("error", reject);
    socket.write(MESSAGE);
  });
}

async function echoAfter(place: Place, count: number): Promise<Result> {
  const times: number[] = [];
  for (let round = 0; round < 5; round++) {
    const socket = await connect(place);
    const taken = new Promise((resolve) => socket.once("data", resolve));
    const length = Buffer.alloc(4);
    length.writeUInt32BE(count);
    socket.write(Buffer.concat([Buffer.from("A"), length]));
    for (let sent = 0; sent < count; sent += CHUNK.byteLength) {
      if (!socket.write(CHUNK.subarray(0, count - sent))) {
        await new Promise((resolve) => socket.once("drain", resolve));
      }
    }
    await taken;
    times.push(await echo(socket));
    socket.destroy();
  }
  return quantiles(times);
}

/** The first tenth warms up caches and compilers on all hops. */
function quantiles(times: readonly number[]): Result {
  const sorted = times.slice(times.length / 10).toSorted((a, b) => a - b);
  const at = (share: number): number => sorted[Math.floor(sorted.length * share)] ?? 0;
  return { p50: at(0.5), p99: at(0.99) };
}
