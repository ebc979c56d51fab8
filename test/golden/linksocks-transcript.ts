import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { channelOf, tcpData } from "./linksocks-wire.ts";

/** One line of a LinkSocks transcript; see the README beside the files. */
export interface Line {
  /** In the file, from 1. */
  readonly number: number;
  readonly from: "client" | "server";
  readonly layer: "tcp" | "ws" | "socks-tcp" | "socks-udp" | "target-tcp" | "target-udp" | "http";
  readonly event: "open" | "data" | "end" | "reset";
  readonly conn: number;
  /** Of a `data` line; elided bulk is written out, and compressed bulk inflated. */
  readonly bytes: Buffer;
  /** WebSocket opcode of a `ws` line. */
  readonly opcode: number;
  /** In how many frames a message came. */
  readonly frames: number;
  /** Where a target's answer came from, if not from the port it was asked at. */
  readonly viaPort?: number | undefined;
  /** Of an `http` line. */
  readonly http?: HttpLine | undefined;
}

/** A request or an answer of the HTTP API. */
export interface HttpLine {
  readonly method?: string;
  readonly path?: string;
  readonly status?: number;
  readonly headers: Readonly<Record<string, string | number>>;
  readonly body: string;
}

/** A part in a scenario; `client` is a forward client or a connector. */
export type Role = "server" | "client" | "provider";

/** One recorded scenario. */
export interface LinksocksTranscript {
  readonly name: string;
  /** The command lines of the reference, by role. */
  readonly args: Readonly<Record<Role, readonly string[] | undefined>>;
  /** Which ends were the reference; a probe's bytes are input only. */
  readonly capturedFrom: Readonly<Record<"client" | "server", "reference" | "probe">>;
  /** What each connection was: `provider -> server`. */
  readonly conns: Readonly<Record<number, string>>;
  /** Of the client's URL, when it was not the usual one. */
  readonly path: string;
  readonly lines: readonly Line[];
}

/** Reads one transcript. What happened to processes of the reference is left out. */
export function readLinksocksTranscript(name: string): LinksocksTranscript {
  const text = readFileSync(join(VECTORS, `${name}.jsonl`), "utf8");
  const [first, ...rest] = text
    .trim()
    .split("\n")
    .map((line): unknown => JSON.parse(line));
  const { meta } = first as { meta: Meta };
  const bulk = new Bulk(meta.config);
  return {
    name,
    args: {
      server: meta.config.serverArgs,
      client: meta.config.connectorArgs ?? meta.config.clientArgs,
      provider: meta.config.providerArgs,
    },
    capturedFrom: meta.capturedFrom,
    path: meta.config.path ?? "",
    conns: (first as { conns?: Meta["conns"] }).conns ?? meta.conns,
    lines: (rest as RawLine[]).flatMap((raw, at) => {
      const { layer } = raw;
      return layer === "process" ? [] : [{ ...toLine({ ...raw, layer }, bulk), number: at + 2 }];
    }),
  };
}

function toLine(
  raw: RawLine & { readonly layer: Line["layer"] },
  bulk: Bulk,
): Omit<Line, "number"> {
  const { from, layer, event, conn, opcode = 2, frames = 1, viaPort } = raw;
  const line = { from, layer, event, conn, opcode, frames, viaPort };
  if (layer === "http") {
    const { method, path, status, headers = {}, body = "" } = raw;
    const http = {
      headers,
      body,
      ...(method === undefined ? {} : { method }),
      ...(path === undefined ? {} : { path }),
      ...(status === undefined ? {} : { status }),
    };
    return { ...line, bytes: Buffer.alloc(0), http };
  }
  return { ...line, bytes: bulk.bytesOf(raw) };
}

/** The bulk payload of a scenario, handed out again as it was cut. */
class Bulk {
  readonly #config: Meta["config"];
  readonly #taken = new Map<string, number>();

  constructor(config: Meta["config"]) {
    this.#config = config;
  }

  bytesOf(raw: RawLine): Buffer {
    if (raw.hexPrefix === undefined) return Buffer.from(raw.hex ?? "", "hex");
    const prefix = Buffer.from(raw.hexPrefix, "hex");
    if (raw.layer !== "ws") return this.#take(raw, raw.length ?? 0, raw.sha256);
    const channel = channelOf(prefix);
    if (channel === undefined || raw.plainLength === undefined) assert.fail("elided, but no Data");
    return tcpData(channel, this.#take(raw, raw.plainLength, raw.plainSha256));
  }

  /** What came next of the payload in this direction of this connection. */
  #take({ layer, conn, from }: RawLine, length: number, sha256: string | undefined): Buffer {
    const key = `${layer} ${conn} ${from}`;
    const at = this.#taken.get(key) ?? 0;
    for (const whole of this.#candidates()) {
      for (const start of [at, 0]) {
        const part = whole.subarray(start, start + length);
        if (part.byteLength !== length || digest(part) !== sha256) continue;
        this.#taken.set(key, start + length);
        return part;
      }
    }
    assert.fail(`${length} elided bytes follow no known pattern`);
  }

  #candidates(): readonly Buffer[] {
    const { seed, bytes = 0 } = this.#config;
    if (seed === undefined) {
      const count = (typeof bytes === "number" ? bytes : 0) / COMPRESSIBLE.length;
      return [Buffer.from(COMPRESSIBLE.repeat(count))];
    }
    const sizes = typeof bytes === "number" ? [bytes] : bytes;
    return sizes.map((size) => chain(seed, size));
  }
}

function chain(seed: string, size: number): Buffer {
  const parts = Array.from({ length: Math.ceil(size / 32) }, (_, at) =>
    createHash("sha256").update(`${seed}:${at}`).digest(),
  );
  return Buffer.concat(parts).subarray(0, size);
}

function digest(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

interface Meta {
  readonly capturedFrom: LinksocksTranscript["capturedFrom"];
  readonly conns: Readonly<Record<number, string>>;
  readonly config: {
    readonly seed?: string;
    readonly bytes?: number | readonly number[];
    readonly path?: string;
    readonly serverArgs?: readonly string[];
    readonly clientArgs?: readonly string[];
    readonly connectorArgs?: readonly string[];
    readonly providerArgs?: readonly string[];
  };
}

interface RawLine extends Omit<Line, "number" | "bytes" | "layer" | "opcode" | "frames"> {
  readonly layer: Line["layer"] | "process";
  readonly hex?: string;
  readonly hexPrefix?: string;
  readonly length?: number;
  readonly sha256?: string;
  readonly plainLength?: number;
  readonly plainSha256?: string;
  readonly opcode?: number;
  readonly frames?: number;
  readonly method?: string;
  readonly path?: string;
  readonly status?: number;
  readonly headers?: HttpLine["headers"];
  readonly body?: string;
}

const VECTORS = join(import.meta.dirname, "..", "vectors", "linksocks");
const COMPRESSIBLE = "compressible vector payload line of exactly sixty-four bytes ..\n";
