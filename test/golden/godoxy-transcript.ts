import { readFileSync } from "node:fs";
import { join } from "node:path";

/** One thing that happened, TLS and TCP of the tunnel read as one: what the streams are made of. */
export interface GodoxyLine {
  /** ms since the recording began. */
  readonly at: number;
  readonly from: "client" | "server";
  /** The tunnel, or the agent's connection to the destination, where the agent is the client. */
  readonly leg: "tunnel" | "destination";
  /** `end` is close_notify on the tunnel and FIN at the destination. */
  readonly event: "open" | "data" | "end" | "reset";
  readonly bytes: Uint8Array;
}

/** One connection of the tunnel with what the agent did for it, in order. */
export interface GodoxyConn {
  readonly conn: number;
  readonly lines: readonly GodoxyLine[];
}

/** One recorded scenario over TLS. */
export interface GodoxyTranscript {
  readonly capturedFrom: { readonly client: string; readonly server: string };
  readonly conns: readonly GodoxyConn[];
}

/** A row of one of the header tables. */
export interface HeaderRow {
  readonly case: string;
  readonly hex?: string;
  readonly target?: string;
  readonly host?: string;
  readonly port?: string;
  readonly flags?: number;
  readonly error?: string;
  readonly valid?: boolean;
  readonly closeImmediately?: boolean;
  readonly hostHex?: string;
  readonly portHex?: string;
}

/** Reads a table of headers. */
export function readHeaderRows(name: "header-encode" | "header-decode"): HeaderRow[] {
  // Parsing border: our own recordings.
  return linesOf(name).map((line) => JSON.parse(line) as HeaderRow);
}

/** Reads one scenario over TLS. */
export function readGodoxy(name: string): GodoxyTranscript {
  const text = readFileSync(join(VECTORS, `${name}.jsonl`), "utf8");
  const { meta } = JSON.parse(text.slice(0, text.indexOf("\n"))) as { meta: Meta };
  const raw = linesOf(name).map((line) => JSON.parse(line) as RawLine);
  const conns = new Map<number, GodoxyLine[]>();
  /** Which tunnel a connection to a destination belongs to: the youngest when it was opened. */
  const owners = new Map<number, GodoxyLine[]>();
  let youngest: GodoxyLine[] = [];
  for (const line of raw) {
    if (line.layer === "dest-tcp") {
      if (line.event === "open") owners.set(line.conn, youngest);
      owners.get(line.conn)?.push(toLine(line, "destination", line.event));
      continue;
    }
    if (line.layer === "tcp" && line.event === "open") {
      youngest = [];
      conns.set(line.conn, youngest);
    }
    const event = tunnelEvent(line);
    if (event !== undefined) conns.get(line.conn)?.push(toLine(line, "tunnel", event));
  }
  return {
    capturedFrom: meta.capturedFrom,
    conns: Array.from(conns, ([conn, lines]) => ({ conn, lines })),
  };
}

/** All that one end said on one leg. */
export function saidBy(
  { lines }: GodoxyConn,
  from: GodoxyLine["from"],
  leg: GodoxyLine["leg"],
): Uint8Array {
  const own = lines.filter((line) => line.from === from && line.leg === leg);
  return Buffer.concat(own.map(({ bytes }) => bytes));
}

/** Whether a connection has such a line. */
export function has({ lines }: GodoxyConn, wanted: Partial<GodoxyLine>): boolean {
  return lines.some((line) => {
    return (
      (wanted.from ?? line.from) === line.from &&
      (wanted.leg ?? line.leg) === line.leg &&
      (wanted.event ?? line.event) === line.event
    );
  });
}

function tunnelEvent({ layer, event, record, hex }: RawLine): GodoxyLine["event"] | undefined {
  if (layer === "tcp") return event === "open" || event === "reset" ? event : undefined;
  if (record?.protection !== "application") return undefined;
  if (record.type === APPLICATION_DATA) return "data";
  return record.type === ALERT && hex === CLOSE_NOTIFY ? "end" : undefined;
}

function toLine(
  { at, from, hex = "" }: RawLine,
  leg: GodoxyLine["leg"],
  event: GodoxyLine["event"],
): GodoxyLine {
  const bytes = event === "data" ? Uint8Array.from(Buffer.from(hex, "hex")) : new Uint8Array();
  return { at, from, leg, event, bytes };
}

function linesOf(name: string): string[] {
  const [, ...lines] = readFileSync(join(VECTORS, `${name}.jsonl`), "utf8")
    .trim()
    .split("\n");
  return lines;
}

interface Meta {
  readonly capturedFrom: { readonly client: string; readonly server: string };
}

interface RawLine {
  readonly at: number;
  readonly from: "client" | "server";
  readonly layer: "tcp" | "tls" | "dest-tcp";
  readonly event: GodoxyLine["event"];
  readonly conn: number;
  readonly hex?: string;
  readonly record?: { readonly type: number; readonly protection: string };
}

const VECTORS = join(import.meta.dirname, "../vectors/godoxy");

const APPLICATION_DATA = 23;
const ALERT = 21;
const CLOSE_NOTIFY = "0100";
