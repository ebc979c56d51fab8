import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { encodeMessage, parseMessage } from "../../src/protocols/linksocks/codec.ts";
import { Compression } from "../../src/protocols/linksocks/messages.ts";
import { inflate } from "../../src/protocols/linksocks/payload.ts";
import { assertBytes } from "../support/hex.ts";

const VECTORS = join(import.meta.dirname, "..", "vectors", "linksocks");
/** WebSocket opcodes up to this carry messages. */
const BINARY = 2;
const MAX_INFLATED_BYTES = 4 * 1024 * 1024;
/** What the bulk of the scenarios repeats. */
const LINE = "compressible vector payload line of exactly sixty-four bytes ..\n";

/** What a probe said in a form of its own: decoded like any other, but nobody else writes it so. */
const FREEDOMS: Readonly<Record<string, string>> = {
  "auth-matrix:106": "a boolean of 7",
  "auth-matrix:153": "version major 0, minor 2",
  "auth-matrix:170": "trailing bytes",
  "client-driven-by-probe-server:5": "trailing bytes",
  "client-driven-by-probe-server:8": "JSON without Go's escapes",
  "client-driven-by-probe-server:9": "JSON with an unknown member",
  "client-driven-by-probe-server:49": "trailing bytes",
  "client-driven-by-probe-server:58": "version major 0, minor 2",
  "direct-signalling:35": "JSON without empty metrics",
  "direct-signalling:39": "JSON without Go's escapes",
  "direct-signalling:41": "JSON with a metric of 0",
  "direct-signalling:43": "JSON with spaces and an unknown member",
  "server-driven-by-probe:6": "JSON without Go's escapes",
  "server-driven-by-probe:38": "trailing bytes",
  "server-driven-by-probe:42": "version major 0, minor 2",
};

/** What a probe said to see it refused, and what the reference answered where it answered. */
const MALFORMED: Readonly<Record<string, string>> = {
  "auth-matrix:163":
    "unsupported protocol major version: peer=0x11 (major=1 minor=1) local=0x01 (major=0 minor=1)",
  "auth-matrix:204": "message too short",
  "auth-matrix:211": "invalid auth message length",
  "auth-matrix:218": "message too short",
  "connector-management:51": "linksocks message type 7 of 29 bytes is malformed",
};

describe("linksocks golden messages", () => {
  const seen = new Set<string>();
  for (const { name, messages } of transcripts()) {
    test(`reads and writes every message of ${name}`, () => {
      for (const { line, isReference, bytes, plainLength } of messages) {
        const where = `${name}:${line}`;
        seen.add(where);
        const message = parseMessage(bytes);
        if (message.type === "malformed") {
          assert.equal(message.error.message, MALFORMED[where], where);
          assert.ok(!isReference, `${where}: the reference sends nothing malformed`);
          continue;
        }
        assert.equal(MALFORMED[where], undefined, where);
        const again = encodeMessage(message);
        if (isReference) assert.equal(FREEDOMS[where], undefined, where);
        if (FREEDOMS[where] === undefined) assertBytes(again, bytes, where);
        else assert.notDeepEqual(Buffer.from(again), bytes, `${where} is no freedom`);
        assert.deepEqual(parseMessage(again), message, where);
        if (plainLength === undefined) continue;
        assert.ok(message.type === "data", where);
        if (message.compression === Compression.gzip) continue; // left out
        assert.equal(message.payload.byteLength, plainLength, where);
      }
    });
  }

  test("saw everything that is listed", () => {
    for (const where of [...Object.keys(FREEDOMS), ...Object.keys(MALFORMED)]) {
      assert.ok(seen.has(where), where);
    }
    assert.equal(seen.size, 506);
  });

  test("inflates what was recorded whole", () => {
    const texts = transcripts()
      .flatMap(({ messages }) => messages)
      .filter(({ isWhole }) => isWhole)
      .map(({ bytes }) => parseMessage(bytes))
      .filter((message) => message.type === "data")
      .filter(({ compression }) => compression === Compression.gzip)
      .map((message) => Buffer.from(inflate(message, MAX_INFLATED_BYTES)).toString());
    const [bulk, short] = [
      texts.filter((text) => text.length > LINE.length),
      texts.filter((text) => text.length <= LINE.length),
    ];
    assert.deepEqual(short, ["gzip ", "small gzip", "gz"]);
    assert.equal(bulk.length, 6);
    for (const text of bulk) assert.equal(text, LINE.repeat(text.length / LINE.length));
  });
});

interface GoldenMessage {
  /** In the file, from 1. */
  readonly line: number;
  readonly isReference: boolean;
  /** Bulk that is left out is zeros: the codec does not look into payloads. */
  readonly bytes: Buffer;
  readonly isWhole: boolean;
  readonly plainLength: number | undefined;
}

function transcripts(): { readonly name: string; readonly messages: readonly GoldenMessage[] }[] {
  return readdirSync(VECTORS)
    .filter((file) => file.endsWith(".jsonl"))
    .map((file) => {
      const [head = "", ...lines] = readFileSync(join(VECTORS, file), "utf8").trim().split("\n");
      const { meta } = JSON.parse(head) as { meta: Meta };
      const messages = lines.flatMap((text, index) => {
        const raw = JSON.parse(text) as RawLine;
        const { layer, event, opcode = 0 } = raw;
        if (layer !== "ws" || event !== "data" || opcode > BINARY) return [];
        const isReference = meta.capturedFrom[raw.from] === "reference";
        return [{ line: index + 2, isReference, ...contentOf(raw) }];
      });
      return { name: file.slice(0, -".jsonl".length), messages };
    });
}

function contentOf(raw: RawLine): Omit<GoldenMessage, "line" | "isReference"> {
  const { hex, hexPrefix = "", length = 0, plainLength } = raw;
  const bytes = hex === undefined ? Buffer.alloc(length) : Buffer.from(hex, "hex");
  bytes.set(Buffer.from(hexPrefix, "hex"));
  return { bytes, isWhole: hex !== undefined, plainLength };
}

interface Meta {
  readonly capturedFrom: Readonly<Record<"client" | "server", "reference" | "probe">>;
}

interface RawLine {
  readonly from: "client" | "server";
  readonly layer: string;
  readonly event: string;
  readonly opcode?: number;
  readonly hex?: string;
  readonly hexPrefix?: string;
  readonly length?: number;
  readonly plainLength?: number;
}
