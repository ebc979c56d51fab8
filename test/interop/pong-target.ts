import { createHash } from "node:crypto";
import type net from "node:net";
import type { Duplex } from "node:stream";
import { type Origin, patternStream, tcpOrigin } from "../support/origin.ts";

/** A target that does what the first line it gets asks for. */
export interface Target extends Origin {
  /** Connections it has now. */
  readonly open: ReadonlySet<net.Socket>;
}

/** What a target can be asked for. */
export type Wish =
  /** The request again, and then the end. */
  | "echo"
  /** So many bytes of the pattern, and then the end. */
  | `down ${number}`
  /** Says that it is ready, takes so many bytes, says how many and their digest, and ends. */
  | `up ${number}`
  /** The same, but says nothing first. */
  | `hush ${number}`
  /** The same, but reads slowly. */
  | `sip ${number}`
  /** A line, then a TCP reset. */
  | "reset"
  /** A line 300 ms after the request, whoever has ended by then. */
  | "late"
  /** A line after the other side has ended. */
  | "after"
  /** The same, but ends itself only 300 ms later. */
  | "linger"
  /** Bytes without end, as fast as they are taken. */
  | "endless"
  /** A little now and then, without end. */
  | "drip"
  /** Every byte again, until the end. */
  | "chat";

/** A request: over 30 bytes, or pong-go's HEAD drops it. */
export function request(wish: Wish): Buffer {
  return Buffer.from(`${wish.padEnd(REQUEST_BYTES - 1)}\n`);
}

/** An answer long enough for HEAD. */
export function answer(text: string): string {
  return `${text.padEnd(REQUEST_BYTES - 1)}\n`;
}

/** Starts it on loopback. */
export async function startTarget(host?: string): Promise<Target> {
  const open = new Set<net.Socket>();
  const origin = await tcpOrigin((socket) => {
    open.add(socket);
    socket.once("close", () => open.delete(socket));
    void readExactly(socket, REQUEST_BYTES).then((first) => {
      if (first.byteLength === REQUEST_BYTES) serve(socket, first);
      else socket.destroy();
    });
  }, host);
  return { port: origin.port, open, [Symbol.asyncDispose]: () => origin[Symbol.asyncDispose]() };
}

/** Everything up to the end. */
export async function readAll(stream: Duplex): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** So many bytes, or fewer when it ends before. */
export function readExactly(stream: Duplex, count: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const finish = (): void => {
      stream.off("readable", look).off("end", onEnd).off("error", reject).off("close", onEnd);
    };
    const onEnd = (): void => {
      finish();
      resolve(Buffer.alloc(0));
    };
    const look = (): void => {
      const bytes: unknown = stream.read(count);
      if (!(bytes instanceof Buffer)) return;
      finish();
      resolve(bytes);
    };
    stream.on("readable", look).on("end", onEnd).on("error", reject).on("close", onEnd);
    look();
  });
}

function serve(socket: net.Socket, first: Buffer): void {
  const [wish = "", size = "0"] = first.toString().trim().split(" ");
  const count = Number(size);
  switch (wish) {
    case "echo":
      socket.end(first);
      break;
    case "chat":
      socket.write(first);
      socket.pipe(socket);
      break;
    case "down":
      patternStream(count).pipe(socket);
      break;
    case "up":
    case "sip":
      socket.write(READY);
      takeIn(socket, count, wish === "sip" ? 2 : 0);
      break;
    case "hush":
      takeIn(socket, count, 0);
      break;
    case "reset":
      socket.write(answer("before the reset"));
      setTimeout(() => socket.resetAndDestroy(), 200);
      break;
    case "late":
      setTimeout(() => socket.end(answer("late, but not too late")), 300);
      break;
    case "after":
      socket.resume().once("end", () => socket.end(answer("after your end")));
      break;
    case "linger":
      socket.resume().once("end", () => {
        socket.write(answer("after your end"));
        setTimeout(() => socket.end(), 300);
      });
      break;
    case "drip": {
      const timer = setInterval(() => socket.write(answer("drip")), 10);
      socket.once("close", () => clearInterval(timer));
      break;
    }
    case "endless":
      patternStream(Number.MAX_SAFE_INTEGER).pipe(socket);
      break;
  }
}

/** Takes bytes until there are enough, the other side ends, or, when it lost some, nothing comes. */
function takeIn(socket: net.Socket, count: number, pauseMs: number): void {
  const hash = createHash("sha256");
  let taken = 0;
  let quiet: NodeJS.Timeout | undefined;
  const done = (): void => {
    clearTimeout(quiet);
    if (!socket.writable) return;
    socket.end(answer(`${taken} ${hash.digest("hex")}`));
  };
  socket.on("data", (chunk: Buffer) => {
    hash.update(chunk);
    taken += chunk.byteLength;
    clearTimeout(quiet);
    if (taken >= count) done();
    else quiet = setTimeout(done, QUIET_MS);
    if (pauseMs === 0) return;
    socket.pause();
    setTimeout(() => socket.resume(), pauseMs);
  });
  socket.once("end", done);
  socket.once("close", () => clearTimeout(quiet));
}

/** The length of every request and answer. */
export const REQUEST_BYTES = 100;

/** A target's word before it takes bytes. */
export const READY: string = answer("ready");

/** Longer than our local waits for a remote that may still be dialling. */
const QUIET_MS = 13_000;
