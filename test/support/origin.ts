import { createHash } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import { Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";

/** A server for tests, closed with its scope. */
export interface Origin extends AsyncDisposable {
  readonly port: number;
}

/**
 * An HTTP origin: `/hello`, `/bytes/N` (the pattern of {@link patternStream}), `PUT` of anything
 * (answers its size and SHA-256), `/wait` (never answers).
 */
export async function httpOrigin(): Promise<Origin> {
  const server = http.createServer((request, response) => {
    const [, size] = /^\/bytes\/(\d+)$/.exec(request.url ?? "") ?? [];
    if (request.method === "PUT" || request.method === "POST") {
      void digest(request).then(({ hash, bytes }) => response.end(`${bytes} ${hash}\n`));
    } else if (size !== undefined) {
      response.setHeader("content-length", size);
      pipeline(patternStream(Number(size)), response).catch(() => {}); // the client left
    } else if (request.url !== "/wait") {
      response.end(`hello from ${request.url}\n`);
    }
  });
  return await listen(server);
}

/** A TCP server whose connections go to `onSocket`, half-open allowed. */
export async function tcpOrigin(
  onSocket: (socket: net.Socket) => void,
  host: string = LOOPBACK,
): Promise<Origin> {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {}); // tests reset connections on purpose
    onSocket(socket);
  });
  return await listen(server, host);
}

/** `size` bytes of a pattern in which no two nearby blocks are equal, so that a slip shows. */
export function patternStream(size: number): Readable {
  let at = 0;
  return new Readable({
    highWaterMark: 1024 * 1024,
    read() {
      if (at >= size) {
        this.push(null);
        return;
      }
      const block = patternBlock(at, Math.min(BLOCK, size - at));
      at += block.byteLength;
      this.push(block);
    },
  });
}

/** SHA-256 of {@link patternStream}. */
export async function patternHash(size: number): Promise<string> {
  return (await digest(patternStream(size))).hash;
}

/** Size and SHA-256 of everything a stream yields. */
export async function digest(stream: Readable): Promise<{ bytes: number; hash: string }> {
  const hash = createHash("sha256");
  let bytes = 0;
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      bytes += chunk.byteLength;
      done();
    },
  });
  await pipeline(stream, sink);
  return { bytes, hash: hash.digest("hex") };
}

function patternBlock(from: number, length: number): Buffer {
  const block = Buffer.from(BASE.subarray(0, length));
  if (length >= 8) block.writeBigUInt64BE(BigInt(from), 0);
  return block;
}

async function listen(server: net.Server, host = LOOPBACK): Promise<Origin> {
  const sockets = new Set<net.Socket>();
  server.on("connection", (socket: net.Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  server.listen(0, host);
  await once(server, "listening");
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      if (!server.listening) return;
      server.close();
      await once(server, "close");
    },
  };
}

const LOOPBACK = "127.0.0.1";
const BLOCK = 256 * 1024;
const BASE = Buffer.from(
  Uint8Array.from({ length: BLOCK }, (_, at) => (31 * at + 7 * (at >> 8)) & 0xff),
);
