import assert from "node:assert/strict";
import { assertBytes } from "../support/hex.ts";

/** A frame as it stands on the wire; read here without the codec under test. */
export interface WireFrame {
  readonly id: number;
  readonly type: number;
  readonly payload: Uint8Array;
}

/** Frame types by their number in the specification. */
export const Type = { data: 0, connect: 1, set: 6, finish: 7, close: 8, rst: 9 } as const;

/** Cuts whole frames; what is left over is returned too. */
export function cutFrames(bytes: Uint8Array): {
  readonly frames: readonly WireFrame[];
  readonly rest: Uint8Array;
} {
  const frames: WireFrame[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  while (at + 7 <= bytes.byteLength) {
    const length = view.getUint16(at);
    if (length < 7 || at + length > bytes.byteLength) break;
    frames.push({
      id: view.getUint32(at + 2),
      type: view.getUint8(at + 6),
      payload: bytes.subarray(at + 7, at + length),
    });
    at += length;
  }
  return { frames, rest: bytes.subarray(at) };
}

/** The bytes of frames. */
export function joinFrames(frames: readonly WireFrame[]): Uint8Array {
  return Buffer.concat(
    frames.flatMap(({ id, type, payload }) => {
      const header = Buffer.alloc(7);
      header.writeUInt16BE(7 + payload.byteLength);
      header.writeUInt32BE(id, 2);
      header.writeUInt8(type, 6);
      return [header, payload];
    }),
  );
}

/** One frame, for expectations. */
export function frame(type: number, id: number, ...payload: readonly number[]): WireFrame {
  return { id, type, payload: Uint8Array.from(payload) };
}

/** Joins neighbouring DATA frames of one stream, where the cuts are free. */
export function withoutCuts(frames: readonly WireFrame[]): WireFrame[] {
  const joined: WireFrame[] = [];
  for (const next of frames) {
    const last = joined.at(-1);
    const continues = last?.type === Type.data && next.type === Type.data && last.id === next.id;
    if (last === undefined || !continues) joined.push(next);
    else {
      const payload = Buffer.concat([last.payload, next.payload]);
      joined[joined.length - 1] = { ...last, payload };
    }
  }
  return joined;
}

/** Fails unless the frames are the same, byte for byte; shows which frame differs. */
export function assertFrames(
  actual: readonly WireFrame[],
  expected: readonly WireFrame[],
  what: string,
): void {
  const show = (frames: readonly WireFrame[]): string => frames.map(describeFrame).join("\n");
  assert.equal(show(actual), show(expected), what);
  const bytes = (frames: readonly WireFrame[]): Uint8Array => {
    return Buffer.concat(frames.map(({ payload }) => payload));
  };
  assertBytes(bytes(actual), bytes(expected), what);
}

/**
 * Fails on any frame that pong-go cannot take: what kills its process, spins or deafens its reader,
 * or vanishes in it. Spec: pong 1.4-1.7, 2.9.
 */
export function assertCourteous(frames: readonly WireFrame[]): void {
  for (const sent of frames) {
    const { id, type, payload } = sent;
    const bytes = payload.byteLength;
    const what = describeFrame(sent);
    if (id === 0) {
      assert.equal(type, Type.set, `${what}: only SET belongs on stream 0`);
      continue;
    }
    switch (type) {
      case Type.data:
        assert.ok(bytes >= 1 && bytes <= 8096, `${what}: pong-go sends 1..8096`);
        break;
      case Type.connect:
        assert.ok(bytes >= 5 && bytes <= 128, `${what}: pong-go takes 5..128`);
        break;
      case Type.finish:
      case Type.close:
        assert.equal(bytes, 0, `${what}: must be empty`);
        break;
      case Type.rst:
        assert.ok(bytes <= 1, `${what}: at most a code`);
        break;
      default:
        assert.fail(`${what}: a type pong-go does not know`);
    }
  }
}

function describeFrame({ id, type, payload }: WireFrame): string {
  const head = Buffer.from(payload.subarray(0, 12)).toString("hex");
  return `${NAMES[type] ?? `type ${type}`} ${id} (${payload.byteLength}) ${head}`;
}

const NAMES: Readonly<Record<number, string | undefined>> = {
  0: "DATA",
  1: "CONNECT",
  6: "SET",
  7: "FINISH",
  8: "CLOSE",
  9: "RST",
};
