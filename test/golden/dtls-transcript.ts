import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { hex } from "../support/hex.ts";

/** One recorded scenario over UDP. */
export interface DtlsTranscript {
  readonly name: string;
  readonly capturedFrom: Readonly<Record<End, "reference" | "probe">>;
  /** Keys of each connection that got so far. */
  readonly keys: ReadonlyMap<number, DtlsKeys>;
  /** In the order of time. */
  readonly datagrams: readonly Datagram[];
}

/** Which end said something. */
export type End = "client" | "server";

/** One datagram on the way, and the records in it. */
export interface Datagram {
  readonly at: number;
  readonly from: End;
  readonly conn: number;
  /** The whole, or its beginning when it was elided. */
  readonly bytes: Uint8Array;
  /** Of a whole that was elided. */
  readonly sha256: string | undefined;
  /** What the tap between the ends did: a copy, or a datagram it kept, lost, or sent after all. */
  readonly fate: "duplicated" | "held" | "dropped" | "delivered" | undefined;
  readonly records: readonly PlainRecord[];
}

/** One record, decrypted. */
export interface PlainRecord {
  readonly type: number;
  readonly epoch: number;
  readonly seq: number;
  readonly plaintext: Uint8Array;
  /** A probe made it up. */
  readonly isGarbage: boolean;
}

/** Everything the recorded ends knew of one connection. */
export interface DtlsKeys {
  readonly clientRandom: Uint8Array;
  readonly serverRandom: Uint8Array;
  readonly group: "x25519" | "P-256";
  readonly ephemeral: Readonly<Record<End, Uint8Array | undefined>>;
  readonly premaster: Uint8Array;
  readonly masterSecret: Uint8Array;
  readonly keyBlock: Uint8Array;
  readonly sessionHash: Uint8Array;
  readonly hashBeforeClientFinished: Uint8Array;
  readonly verifyData: Readonly<Record<End, Uint8Array>>;
}

/** The names of all of them. */
export function dtlsScenarios(): string[] {
  return readdirSync(VECTORS)
    .filter((file) => file.startsWith("udp-") && file.endsWith(".jsonl"))
    .map((file) => file.slice(0, -".jsonl".length))
    .toSorted();
}

/** Reads one. */
export function readDtlsTranscript(name: string): DtlsTranscript {
  const text = readFileSync(join(VECTORS, `${name}.jsonl`), "utf8");
  const [first, ...lines] = text
    .trim()
    .split("\n")
    .map((line): unknown => JSON.parse(line));
  const { meta } = first as { meta: RawMeta };
  const keys = new Map((meta.config.keys ?? []).map((raw) => [raw.conn, keysOf(raw)]));
  const datagrams: (Datagram & { records: PlainRecord[] })[] = [];
  for (const line of lines.map((each) => each as RawLine)) {
    if (line.layer === "udp" && line.event === "data") {
      const { at, from, conn, sha256 } = line;
      const bytes = hex(line.hex ?? line.hexPrefix ?? "");
      datagrams.push({ at, from, conn, bytes, sha256, fate: fateOf(line), records: [] });
    } else if (line.layer === "dtls" && line.record !== undefined) {
      const { type, epoch, seq } = line.record;
      const isGarbage = line.record.undecryptable ?? line.undecryptable ?? false;
      const record = { type, epoch, seq, plaintext: plaintextOf(line), isGarbage };
      datagrams.at(-1)?.records.push(record);
    }
  }
  return { name, capturedFrom: meta.capturedFrom, keys, datagrams };
}

/** A certificate or key of the capture, PEM. */
export function recordedPem(
  agent: "agent-a" | "agent-b",
  file: `${"ca" | End}.${"pem" | "key"}`,
): string {
  return readFileSync(join(VECTORS, "certs", agent, file), "utf8");
}

/** When the capture was made, milliseconds since 1970: all its certificates are valid. */
export const CAPTURED_AT: number = Date.UTC(2026, 10, 20, 17);

function plaintextOf({ hex: digits, hexPrefix, length, sha256 }: RawLine): Uint8Array {
  if (digits !== undefined) return hex(digits);
  if (length === undefined) return new Uint8Array(0);
  // Bulk is one byte over and over.
  const whole = new Uint8Array(length).fill(hex(hexPrefix ?? "")[0] ?? 0);
  assert.equal(createHash("sha256").update(whole).digest("hex"), sha256);
  return whole;
}

function fateOf(line: RawLine): Datagram["fate"] {
  return FATES.find((fate) => (line[fate] ?? false) !== false);
}

function keysOf(raw: RawKeys): DtlsKeys {
  const some = (digits: string | undefined) => (digits === undefined ? undefined : hex(digits));
  return {
    clientRandom: hex(raw.clientRandom),
    serverRandom: hex(raw.serverRandom),
    group: raw.group === "0017" ? "P-256" : "x25519",
    ephemeral: {
      client: some(raw.clientEphemeralPrivate),
      server: some(raw.serverEphemeralPrivate),
    },
    premaster: hex(raw.premaster),
    masterSecret: hex(raw.masterSecret),
    keyBlock: hex(raw.keyBlock),
    sessionHash: hex(raw.sessionHash),
    hashBeforeClientFinished: hex(raw.transcriptHashBeforeClientFinished),
    verifyData: { client: hex(raw.clientVerifyData), server: hex(raw.serverVerifyData) },
  };
}

interface RawMeta {
  readonly capturedFrom: DtlsTranscript["capturedFrom"];
  readonly config: { readonly keys?: readonly RawKeys[] };
}

interface RawKeys {
  readonly conn: number;
  readonly clientRandom: string;
  readonly serverRandom: string;
  readonly group: string;
  readonly clientEphemeralPrivate?: string;
  readonly serverEphemeralPrivate?: string;
  readonly premaster: string;
  readonly masterSecret: string;
  readonly keyBlock: string;
  readonly sessionHash: string;
  readonly transcriptHashBeforeClientFinished: string;
  readonly clientVerifyData: string;
  readonly serverVerifyData: string;
}

interface RawLine {
  readonly at: number;
  readonly from: End;
  readonly layer: string;
  readonly event: string;
  readonly conn: number;
  readonly record?: {
    readonly type: number;
    readonly epoch: number;
    readonly seq: number;
    readonly undecryptable?: boolean;
  };
  readonly undecryptable?: boolean;
  readonly hex?: string;
  readonly hexPrefix?: string;
  readonly length?: number;
  readonly sha256?: string;
  readonly duplicated?: unknown;
  readonly held?: unknown;
  readonly dropped?: unknown;
  readonly delivered?: unknown;
}

const FATES = ["duplicated", "held", "dropped", "delivered"] as const;

const VECTORS = join(import.meta.dirname, "..", "vectors", "godoxy");
