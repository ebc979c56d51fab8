import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** One line of a transcript: what one end of one connection did. */
export interface Line {
  readonly at: number;
  readonly from: "client" | "server";
  readonly layer: string;
  readonly event: "open" | "data" | "end" | "reset";
  readonly conn: number;
  /** Of a `data` line; elided bulk is written out. */
  readonly bytes: Uint8Array;
  /** WebSocket opcode of a `ws` line. */
  readonly opcode: number | undefined;
  /** Whether an application's socket was destroyed, not half-closed. */
  readonly isFull: boolean;
}

/** One recorded scenario. */
export interface Transcript {
  readonly name: string;
  readonly clientId: Uint8Array;
  /** Which end was pong-go; a probe's bytes are input only. */
  readonly capturedFrom: Readonly<Record<"client" | "server", "reference" | "probe">>;
  readonly isHead: boolean;
  /** The layer whose lines are the bytes of the pong connection. */
  readonly wireLayer: string;
  readonly perMaxCount: number;
  readonly lines: readonly Line[];
}

/** The scenario names in a folder under `test/vectors`. */
export function transcriptNames(folder: string): string[] {
  return readdirSync(join(VECTORS, folder))
    .filter((file) => file.endsWith(".jsonl"))
    .map((file) => file.slice(0, -".jsonl".length));
}

/** Reads one transcript, with every elided byte put back and checked against its digest. */
export function readTranscript(folder: string, name: string): Transcript {
  const text = readFileSync(join(VECTORS, folder, `${name}.jsonl`), "utf8");
  const [first, ...rest] = text
    .trim()
    .split("\n")
    .map((line): unknown => JSON.parse(line));
  const { meta } = first as { meta: Meta };
  const transport = meta.transport;
  return {
    name,
    clientId: fromHex(meta.config.clientId.replaceAll("-", "")),
    capturedFrom: meta.capturedFrom,
    isHead: meta.reference.includes("HEAD"),
    wireLayer: transport === "ws" ? "ws" : transport === "tls-plaintext" ? transport : "tcp",
    perMaxCount: meta.config.local?.perMaxCount ?? 30,
    lines: rest.map((line) => toLine(line as RawLine)),
  };
}

/** All that one end sent on one connection of a layer; of WebSocket frames the data ones only. */
export function sentBytes(
  { lines }: Transcript,
  which: { readonly layer: string; readonly from: Line["from"]; readonly conn: number },
): Uint8Array {
  const sent = lines.filter(
    ({ layer, from, conn, opcode }) =>
      layer === which.layer && from === which.from && conn === which.conn && (opcode ?? 2) <= 2,
  );
  return Buffer.concat(sent.map(({ bytes }) => bytes));
}

function toLine(raw: RawLine): Line {
  const { at, from, layer, event, conn, opcode, full = false } = raw;
  return { at, from, layer, event, conn, bytes: bytesOf(raw), opcode, isFull: full };
}

function bytesOf({ hex, hexPrefix, length, sha256 }: RawLine): Uint8Array {
  if (hex !== undefined) return fromHex(hex);
  if (hexPrefix === undefined || length === undefined) return new Uint8Array(0);
  const prefix = fromHex(hexPrefix);
  for (const headerBytes of [0, FRAME_HEADER_BYTES]) {
    for (const plus of [0, 3]) {
      const whole = elided(prefix.subarray(0, headerBytes), length - headerBytes, plus);
      if (whole !== undefined && digest(whole) === sha256) return whole;
    }
  }
  return restOf(prefix, length, sha256);
}

/** A read that began in the middle of the pattern, which repeats after 64 KiB. */
function restOf(prefix: Uint8Array, length: number, sha256: string | undefined): Uint8Array {
  for (const plus of [0, 3]) {
    const pattern = Buffer.from(patternOf(PATTERN_PERIOD + length, plus));
    for (let at = pattern.indexOf(prefix); at >= 0; at = pattern.indexOf(prefix, at + 1)) {
      const part = pattern.subarray(at, at + length);
      if (part.byteLength === length && digest(part) === sha256) return part;
    }
  }
  assert.fail(`${length} elided bytes follow no known pattern`);
}

function elided(header: Uint8Array, length: number, plus: number): Uint8Array | undefined {
  return length < 0 ? undefined : Buffer.concat([header, patternOf(length, plus)]);
}

/** The bulk bytes of every scenario. */
function patternOf(length: number, plus: number): Uint8Array {
  return Uint8Array.from({ length }, (_, at) => (31 * at + 7 * (at >> 8) + plus) & 0xff);
}

function digest(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function fromHex(digits: string): Uint8Array {
  return Uint8Array.from(Buffer.from(digits, "hex"));
}

interface Meta {
  readonly reference: string;
  readonly transport: string;
  readonly capturedFrom: Transcript["capturedFrom"];
  readonly config: {
    readonly clientId: string;
    readonly local?: { readonly perMaxCount?: number };
  };
}

interface RawLine extends Omit<Line, "bytes" | "isFull" | "opcode"> {
  readonly hex?: string;
  readonly hexPrefix?: string;
  readonly length?: number;
  readonly sha256?: string;
  readonly opcode?: number;
  readonly full?: boolean;
}

const VECTORS = join(import.meta.dirname, "..", "vectors");
const FRAME_HEADER_BYTES = 7;
const PATTERN_PERIOD = 65_536;
