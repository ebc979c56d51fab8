/**
 * What two ends say to each other over bare KCP: `wish u8 | size u64be`, then bytes as the wish
 * wants, and one byte more once the one who wished has everything.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { Duplex } from "node:stream";
import { patternStream } from "../support/origin.ts";
import { readExactly } from "./pong-target.ts";

/** `echo`: the same bytes back. `up`: their SHA-256. `down`: so many bytes of the pattern. */
export type Wish = "echo" | "up" | "down";

/** Every wish. */
export const WISHES: readonly Wish[] = ["echo", "up", "down"];

/** Wishes for something. @returns the SHA-256 of what was carried, as the receiver computed it */
export async function wishFor(stream: Duplex, wish: Wish, size: number): Promise<string> {
  const head = Buffer.alloc(HEAD_BYTES);
  head.write(wish.charAt(0));
  head.writeBigUInt64BE(BigInt(size), 1);
  stream.write(head);
  const sent = wish === "down" ? undefined : send(stream, patternStream(size));
  const hash =
    wish === "up"
      ? (await readExactly(stream, DIGEST_BYTES)).toString("hex")
      : await hashOf(stream, size);
  await sent;
  stream.write(".");
  return hash;
}

/** Answers one wish, and ends the stream. */
export async function fulfil(stream: Duplex): Promise<void> {
  const head = await readExactly(stream, HEAD_BYTES);
  assert.equal(head.byteLength, HEAD_BYTES, "it ended before a wish");
  const size = Number(head.readBigUInt64BE(1));
  switch (head.subarray(0, 1).toString()) {
    case "e":
      await send(stream, partOf(stream, size));
      break;
    case "u":
      stream.write(Buffer.from(await hashOf(stream, size), "hex"));
      break;
    case "d":
      await send(stream, patternStream(size));
      break;
    default:
      assert.fail(`no wish ${head.toString("hex")}`);
  }
  assert.equal((await readExactly(stream, 1)).toString(), ".");
  stream.end();
}

async function hashOf(stream: Duplex, size: number): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of partOf(stream, size)) hash.update(chunk);
  return hash.digest("hex");
}

/** So many bytes of a stream, which stays usable. */
async function* partOf(stream: Duplex, size: number): AsyncGenerator<Buffer, void, void> {
  for (let left = size; left > 0; ) {
    const count = Math.min(left, PIECE_BYTES);
    const piece = await readExactly(stream, count);
    assert.equal(piece.byteLength, count, `it ended ${left} bytes too early`);
    left -= count;
    yield piece;
  }
}

async function send(stream: Duplex, chunks: AsyncIterable<Buffer>): Promise<void> {
  for await (const chunk of chunks) {
    if (stream.write(chunk)) continue;
    await new Promise<void>((resolve, reject) => {
      const onDrain = (): void => {
        stream.off("close", onClose);
        resolve();
      };
      const onClose = (): void => {
        stream.off("drain", onDrain);
        reject(new Error("closed while bytes were to be sent"));
      };
      stream.once("drain", onDrain).once("close", onClose);
    });
  }
}

const HEAD_BYTES = 9;
const DIGEST_BYTES = 32;
const PIECE_BYTES = 16_000;
