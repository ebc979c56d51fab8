import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** An end of the tunnel. */
export type Side = "client" | "server";

/** One frame that was recorded. */
export interface RecordedFrame {
  /** Milliseconds since the recording began. */
  readonly at: number;
  readonly from: Side;
  /** A tunnel; a client that dials again has a new one. */
  readonly conn: number;
  readonly type: number;
  readonly flags: number;
  /** Unsigned. */
  readonly streamId: number;
  readonly payload: Buffer;
}

/** The tunnel frames of one recorded scenario. */
export interface TunnelTranscript {
  readonly name: string;
  /** Which ends were the reference; a probe's bytes are input only. */
  readonly capturedFrom: Readonly<Record<Side, "reference" | "probe">>;
  readonly frames: readonly RecordedFrame[];
  /** Everything one end said on one connection, with what is no frame. */
  bytesOf(conn: number, from: Side): Buffer;
}

/** The scenarios with a tunnel in them. */
export function tunnelTranscriptNames(): string[] {
  return readdirSync(VECTORS)
    .filter((file) => /^kcp.*\.jsonl$/.test(file))
    .map((file) => file.slice(0, -".jsonl".length));
}

/** Reads one transcript. Payloads come out of its datagrams, whose order KCP restores. */
export function readTunnelTranscript(name: string): TunnelTranscript {
  const text = readFileSync(join(VECTORS, `${name}.jsonl`), "utf8");
  const [first, ...rest] = text
    .trim()
    .split("\n")
    .map((line): unknown => JSON.parse(line));
  const { meta } = first as { readonly meta: Pick<TunnelTranscript, "capturedFrom"> };
  const lines = rest as RawLine[];
  const bytesOf = (conn: number, from: Side): Buffer =>
    reassemble(lines.filter((it) => it.layer === "udp" && it.conn === conn && it.from === from));
  const taken = new Map<string, { readonly bytes: Buffer; at: number }>();
  const frames = lines
    .filter(({ layer }) => layer === "frame")
    .map((line): RecordedFrame => {
      const { at, from, conn, type = 0, flags = 0, streamId = 0, payloadLength = 0 } = line;
      const key = `${conn} ${from}`;
      const stream = taken.get(key) ?? { bytes: bytesOf(conn, from), at: 0 };
      taken.set(key, stream);
      const whole = stream.bytes.subarray(stream.at, stream.at + HEADER_BYTES + payloadLength);
      stream.at += whole.byteLength;
      if (line.hex !== undefined) assert.equal(whole.toString("hex"), line.hex);
      if (line.sha256 !== undefined) assert.equal(digest(whole), line.sha256);
      const payload = whole.subarray(HEADER_BYTES);
      return { at, from, conn, type, flags, streamId: streamId >>> 0, payload };
    });
  return { name, capturedFrom: meta.capturedFrom, frames, bytesOf };
}

/** The byte stream inside the datagrams of one direction that arrived. */
function reassemble(lines: readonly RawLine[]): Buffer {
  const segments = new Map<number, Buffer>();
  for (const { hex = "", dropped } of lines) {
    if (dropped === true) continue;
    const datagram = Buffer.from(hex, "hex");
    let at = 0;
    while (at + KCP_HEADER_BYTES <= datagram.byteLength) {
      const length = datagram.readUInt32LE(at + 20);
      const end = at + KCP_HEADER_BYTES + length;
      const isSound = datagram.readUInt32LE(at) === 0 && end <= datagram.byteLength;
      if (!isSound) break; // the junk of some scenarios
      if (datagram[at + 4] === KCP_PUSH) {
        segments.set(datagram.readUInt32LE(at + 12), datagram.subarray(end - length, end));
      }
      at = end;
    }
  }
  const inOrder: Buffer[] = [];
  for (let sn = 0; segments.has(sn); sn++) inOrder.push(segments.get(sn) ?? Buffer.alloc(0));
  return Buffer.concat(inOrder);
}

function digest(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

interface RawLine {
  readonly at: number;
  readonly from: Side;
  readonly layer: "udp" | "frame";
  readonly conn: number;
  readonly hex?: string;
  readonly dropped?: boolean;
  readonly type?: number;
  readonly flags?: number;
  readonly streamId?: number;
  readonly payloadLength?: number;
  readonly sha256?: string;
}

const VECTORS = join(import.meta.dirname, "..", "vectors", "vproxy");
const HEADER_BYTES = 9;
const KCP_HEADER_BYTES = 24;
const KCP_PUSH = 81;
