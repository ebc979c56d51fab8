import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { transcriptNames } from "./transcript.ts";

/** What one end of one connection did; of TLS the plaintext only. */
export interface WebSocksLine {
  /** ms since the recording began. */
  readonly at: number;
  readonly from: "client" | "server";
  readonly event: "open" | "data" | "end" | "reset";
  readonly bytes: Buffer;
}

/** One upgrade request of the recording and the clocks at that moment. */
export interface RecordedLogin {
  readonly status: number;
  /** Absent where the probe showed nothing that makes sense. */
  readonly user?: string;
  readonly password?: string;
  /** How far the minute in the hash is from that of the server's clock, ms. */
  readonly minuteOffset?: number;
}

/** One connection, in order. */
export interface WebSocksConn {
  readonly conn: number;
  readonly lines: readonly WebSocksLine[];
  readonly logins: readonly RecordedLogin[];
}

/** One recorded scenario. */
export interface WebSocksTranscript {
  readonly name: string;
  readonly startedUnixMs: number;
  readonly users: ReadonlyMap<string, string>;
  /** Whether the client was the original, whose bytes ours must match. */
  readonly hasAgent: boolean;
  readonly isStrict: boolean;
  readonly conns: readonly WebSocksConn[];
}

/** The scenarios whose WebSocks bytes can be read: of the negotiation of TLS only the outcome can. */
export function webSocksNames(): string[] {
  return transcriptNames("vproxy").filter(
    (name) => name.startsWith("ws-") && name !== "ws-tls-server-negotiation",
  );
}

/** Reads one scenario. */
export function readWebSocks(name: string): WebSocksTranscript {
  const text = readFileSync(join(VECTORS, `${name}.jsonl`), "utf8");
  const [first, ...rest] = text.trim().split("\n");
  const { meta } = JSON.parse(first ?? "") as { meta: Meta };
  const { config } = meta;
  const lines = rest.map((line) => JSON.parse(line) as RawLine);
  const layer = lines.some((line) => line.layer === "tls-plaintext") ? "tls-plaintext" : "tcp";
  const byConn = Map.groupBy(
    lines.filter((line) => line.layer === layer),
    ({ conn }) => conn,
  );
  const others = [config.otherUser ?? []].flat().map((one) => one.split(":"));
  return {
    name,
    startedUnixMs: meta.startedUnixMs,
    users: new Map([
      [config.user ?? "alice", config.password ?? ""],
      ...others.map(([user = "", password = ""]): [string, string] => [user, password]),
    ]),
    hasAgent: meta.capturedFrom.client === "reference",
    isStrict: config.agent?.strict ?? layer === "tls-plaintext",
    conns: Array.from(byConn, ([conn, its]) => ({
      conn,
      lines: its.map(({ at, from, event, hex = "" }) => {
        return { at, from, event, bytes: Buffer.from(hex, "hex") };
      }),
      logins: (config.clock?.requests ?? []).filter((one) => one.conn === conn),
    })),
  };
}

/** All that one end sent. */
export function sentBy({ lines }: WebSocksConn, from: WebSocksLine["from"]): Buffer {
  return Buffer.concat(lines.filter((line) => line.from === from).map(({ bytes }) => bytes));
}

/** Where a head ends, its empty line included. */
export function headLength(bytes: Buffer): number {
  const at = bytes.indexOf("\r\n\r\n");
  assert.ok(at >= 0, "a head ends");
  return at + 4;
}

/** A head taken apart: names in lower case. */
export function headOf(bytes: Buffer): { start: string; fields: Map<string, string> } {
  const [start = "", ...lines] = bytes
    .subarray(0, headLength(bytes) - 4)
    .toString()
    .split("\r\n");
  const fields = lines.map((line): [string, string] => {
    const at = line.indexOf(":");
    return [line.slice(0, at).toLowerCase(), line.slice(at + 1).trim()];
  });
  return { start, fields: new Map(fields) };
}

interface Meta {
  readonly startedUnixMs: number;
  readonly capturedFrom: { readonly client: string };
  readonly config: {
    readonly user?: string;
    readonly password?: string;
    readonly otherUser?: string | readonly string[];
    readonly agent?: { readonly strict?: boolean };
    readonly clock?: { readonly requests: readonly (RecordedLogin & { readonly conn: number })[] };
  };
}

interface RawLine extends Omit<WebSocksLine, "bytes"> {
  readonly layer: string;
  readonly conn: number;
  readonly hex?: string;
}

const VECTORS = join(import.meta.dirname, "..", "vectors", "vproxy");
