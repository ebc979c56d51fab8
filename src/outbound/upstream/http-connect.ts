import type { ByteReader, Parser } from "../../bytes/byte-reader.ts";
import { type ErrorCode, NetworkError, ProtocolError } from "../../errors.ts";
import type { Proxy } from "./proxy.ts";

/** The request head that asks an HTTP proxy for a tunnel to `authority`, `host:port`. */
export function encodeConnect(authority: string, credential: Proxy["credential"]): Uint8Array {
  const lines = [`CONNECT ${authority} HTTP/1.1`, `Host: ${authority}`];
  if (credential !== undefined) {
    const token = Buffer.from(`${credential.user}:${credential.password}`).toString("base64");
    lines.push(`Proxy-Authorization: Basic ${token}`);
  }
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
}

/**
 * Reads the proxy's answer up to the empty line; what follows belongs to the target.
 *
 * Spec: RFC 9110 section 9.3.6: every 2xx is a tunnel, whatever length its headers claim.
 *
 * @returns the status code
 * @throws ProtocolError when it is no HTTP answer or exceeds 16 KiB
 */
export function* connectAnswer(reader: ByteReader): Parser<number> {
  for (let interim = 0; interim <= MAX_INTERIM_ANSWERS; interim++) {
    const line = latin1(yield* reader.readUntil(LINE_FEED, MAX_LINE_BYTES));
    const status = /^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(line)?.[1];
    if (status === undefined) throw new ProtocolError("answer is not HTTP/1.1");
    yield* skipHeaders(reader);
    if (!status.startsWith("1")) return Number(status);
  }
  throw new ProtocolError(`more than ${MAX_INTERIM_ANSWERS} interim answers`);
}

/** What an answer other than 2xx says, in our words. */
export function connectRefusal(status: number, what: string): NetworkError {
  const [code, text] = REFUSALS[status] ?? ["ERR_DIAL_FAILED", "refused"];
  return new NetworkError(code, `${what}: ${text} (HTTP ${status})`);
}

function* skipHeaders(reader: ByteReader): Parser<void> {
  for (let bytes = 0; bytes <= MAX_HEAD_BYTES; ) {
    const line = latin1(yield* reader.readUntil(LINE_FEED, MAX_LINE_BYTES));
    if (line === "") return;
    bytes += line.length + 2;
  }
  throw new ProtocolError(`head exceeds ${MAX_HEAD_BYTES} bytes`);
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("latin1").replace(/\r$/, "");
}

const REFUSALS: Readonly<Record<number, readonly [ErrorCode, string] | undefined>> = {
  401: ["ERR_CREDENTIAL", "the proxy did not take our credential"],
  403: ["ERR_POLICY_DENIED", "the proxy denies this target"],
  405: ["ERR_COMMAND_UNSUPPORTED", "the proxy offers no CONNECT"],
  407: ["ERR_CREDENTIAL", "the proxy did not take our credential"],
  429: ["ERR_LIMIT", "the proxy has too much to do"],
  501: ["ERR_COMMAND_UNSUPPORTED", "the proxy offers no CONNECT"],
  502: ["ERR_DIAL_FAILED", "the proxy cannot reach the target"],
  503: ["ERR_DIAL_FAILED", "the proxy cannot reach the target"],
  504: ["ERR_DIAL_TIMEOUT", "the target did not answer the proxy"],
};

const LINE_FEED = 0x0a;
const MAX_LINE_BYTES = 8 * 1024;
const MAX_HEAD_BYTES = 16 * 1024;
const MAX_INTERIM_ANSWERS = 4;
