import type { ByteReader, Parser } from "../../../bytes/byte-reader.ts";
import { ProtocolError } from "../../../errors.ts";

/** A request line or status line with its header fields, as they stood on the wire. */
export interface HttpHead {
  /** The three parts of the first line; the last may hold spaces. */
  readonly start: readonly [string, string, string];
  /** Names in lower case, values trimmed, in order. */
  readonly fields: readonly (readonly [name: string, value: string])[];
}

/** Bounds of a head; more than any client sends, less than a flood. */
export const HEAD_LIMITS = { lineBytes: 8_192, headBytes: 16_384, fields: 100 } as const;

/**
 * Reads a head up to and with its empty line. What follows stays in the reader.
 *
 * @throws ProtocolError when it is no HTTP, or beyond {@link HEAD_LIMITS}
 */
export function* readHead(reader: ByteReader): Parser<HttpHead> {
  // Somebody who speaks something else would never send the end of a line.
  const [first = 0] = yield* reader.peek(1);
  if (first === TLS_HANDSHAKE) throw new ProtocolError("speaks TLS to a port without");
  if (first < UPPER_A || first > UPPER_Z) throw new ProtocolError("does not speak HTTP");
  const line = yield* readLine(reader, HEAD_LIMITS.lineBytes);
  const [, one = "", two = "", three = ""] = /^(\S{1,32}) (\S+) ?(.*)$/.exec(line) ?? [];
  if (one === "" || !/^HTTP\/1\.[01]$/.test(one.startsWith("HTTP/") ? one : three)) {
    throw new ProtocolError("first line is not HTTP/1.1");
  }
  const fields: (readonly [string, string])[] = [];
  for (let bytes = line.length; ; ) {
    const left = HEAD_LIMITS.headBytes - bytes;
    const field = yield* readLine(reader, Math.min(left, HEAD_LIMITS.lineBytes));
    if (field === "") return { start: [one, two, three], fields };
    bytes += field.length + 2;
    if (fields.length >= HEAD_LIMITS.fields) {
      throw new ProtocolError(`more than ${HEAD_LIMITS.fields} header fields`);
    }
    const [, name, value] = FIELD.exec(field) ?? [];
    if (name === undefined || value === undefined)
      throw new ProtocolError("malformed header field");
    fields.push([name.toLowerCase(), value.trim()]);
  }
}

/** The value of the first field of a name, which is given in lower case. */
export function fieldOf({ fields }: HttpHead, name: string): string | undefined {
  return fields.find(([one]) => one === name)?.[1];
}

/** All members of a list, in lower case, however many fields it is spread over. */
export function listOf({ fields }: HttpHead, name: string): string[] {
  return fields
    .filter(([one]) => one === name)
    .flatMap(([, value]) => value.split(","))
    .map((member) => member.trim().toLowerCase())
    .filter((member) => member !== "");
}

/** Whether bytes follow, or say they will. */
export function hasBody(head: HttpHead): boolean {
  return (
    fieldOf(head, "content-length") !== undefined ||
    fieldOf(head, "transfer-encoding") !== undefined
  );
}

function* readLine(reader: ByteReader, limit: number): Parser<string> {
  const bytes = yield* reader.readUntil(LINE_FEED, Math.max(0, limit));
  return Buffer.from(bytes).toString("latin1").replace(/\r$/, "");
}

/** A token, a colon, and no control characters; a line that goes on another is refused. */
const FIELD = /^([\w!#$%&'*+.^`|~-]+):([\t\u0020-\u007e\u0080-\u00ff]*)$/;

const LINE_FEED = 0x0a;
const TLS_HANDSHAKE = 0x16;
const UPPER_A = 0x41;
const UPPER_Z = 0x5a;
