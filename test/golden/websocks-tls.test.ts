import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import net from "node:net";
import { after, before, describe, test } from "node:test";
import tls from "node:tls";
import { serve } from "../../src/library/serve.ts";
import { CertificateFactory } from "../support/certificates.ts";
import { skipWithout } from "../support/which.ts";

/** What the recorded ClientHello of one connection gets from us. */
interface Expected {
  readonly conn: number;
  /** `1.3` and `1.2` for the version of a ServerHello, `alert N` for a refusal, `end` for one without words. */
  readonly answer: string;
  /** Where we differ from the original, and why. */
  readonly freedom?: string;
}

const SPEAKS_13 = "it ends at TLS 1.2; ours goes on to 1.3";
const SAYS_NO = "it says nothing for ever; ours says why not";

const EXPECTED: readonly Expected[] = [
  { conn: 1, answer: "1.3", freedom: SPEAKS_13 },
  { conn: 2, answer: "1.3", freedom: SPEAKS_13 },
  { conn: 3, answer: "alert 120", freedom: SAYS_NO },
  { conn: 4, answer: "1.3", freedom: SPEAKS_13 },
  { conn: 5, answer: "1.3", freedom: SPEAKS_13 },
  { conn: 6, answer: "end", freedom: "it says nothing for ever; ours ends, and its log says why" },
  { conn: 7, answer: "1.3", freedom: SPEAKS_13 },
];

/** What the original agreed on with the same offer; `undefined`: nothing. */
const ALPN: readonly (readonly [offered: readonly string[], chosen: string | false | undefined])[] =
  [
    [["http/1.1"], "http/1.1"],
    [[], false],
    [["h2"], undefined],
    [["h2", "http/1.1"], "http/1.1"],
  ];

describe("the recorded ClientHellos of ws-tls-server-negotiation", {
  skip: skipWithout("openssl"),
  timeout: 60_000,
}, () => {
  const scope = new AsyncDisposableStack();
  let port = 0;

  before(async () => {
    const identity = scope.use(new CertificateFactory()).make();
    const url = "vproxy+tls://127.0.0.1:0?domain=localhost";
    const server = scope.use(await serve(url, { clients: { alice: "secret" }, ...identity }));
    port = Number(server.address.split(":").at(-1));
  });
  after(() => scope.disposeAsync());

  for (const { conn, answer, freedom } of EXPECTED) {
    const why = freedom === undefined ? "" : `: ${freedom}`;
    test(`conn ${conn} gets ${answer}${why}`, async () => {
      const socket = net.connect({ port, host: "127.0.0.1" });
      socket.write(clientHello(conn));
      const reader = new RecordReader();
      for await (const chunk of socket) if (reader.push(chunk as Buffer)) break;
      assert.equal(reader.isEmpty ? "end" : describeAnswer(reader.record), answer);
    });
  }

  for (const [offered, chosen] of ALPN) {
    const name = `agrees with ${offered.join(", ") || "no ALPN"} on ${chosen ?? "nothing"}`;
    test(`${name}, in TLS 1.2 as in 1.3`, async () => {
      for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
        const agreed = await negotiate({ port, maxVersion, ALPNProtocols: [...offered] });
        assert.equal(agreed, chosen);
      }
    });
  }
});

/** The ALPN both ends agreed on; `undefined` when there was no handshake. */
async function negotiate(
  options: tls.ConnectionOptions,
): Promise<string | false | null | undefined> {
  const socket = tls.connect({
    host: "127.0.0.1",
    servername: "localhost",
    rejectUnauthorized: false,
    ...options,
  });
  try {
    await once(socket, "secureConnect");
    return socket.alpnProtocol;
  } catch {
    return undefined; // an alert
  } finally {
    socket.destroy();
  }
}

function clientHello(conn: number): Buffer {
  const path = new URL("../vectors/vproxy/ws-tls-server-negotiation.jsonl", import.meta.url);
  const lines = readFileSync(path, "utf8").trim().split("\n").slice(1);
  for (const line of lines) {
    const entry = JSON.parse(line) as { conn: number; from: string; event: string; hex?: string };
    if (entry.conn === conn && entry.from === "client" && entry.hex !== undefined)
      return Buffer.from(entry.hex, "hex");
  }
  return assert.fail(`no ClientHello of conn ${conn}`);
}

/** Collects the first TLS record. */
class RecordReader {
  #bytes = Buffer.alloc(0);

  get isEmpty(): boolean {
    return this.#bytes.byteLength === 0;
  }

  get record(): Buffer {
    return this.#bytes.subarray(0, 5 + this.#bytes.readUInt16BE(3));
  }

  push(chunk: Buffer): boolean {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    return (
      this.#bytes.byteLength >= 5 && this.record.byteLength === 5 + this.#bytes.readUInt16BE(3)
    );
  }
}

/** RFC 8446 section 4.1.3: the version stands in an extension from 1.3 on. */
function describeAnswer(record: Buffer): string {
  if (record[0] === 21) return `alert ${record[6]}`;
  assert.equal(record[5], 2, "a ServerHello");
  const sessionIdLength = record.readUInt8(43);
  let at = 44 + sessionIdLength + 3 + 2;
  while (at + 4 <= record.byteLength) {
    const [type, length] = [record.readUInt16BE(at), record.readUInt16BE(at + 2)];
    if (type === 43) return record.readUInt16BE(at + 4) === 0x0304 ? "1.3" : "another version";
    at += 4 + length;
  }
  return "1.2";
}
