import { isIP } from "node:net";
import { normalizeHostName } from "../../address/host-name.ts";
import type { ByteReader, Parser } from "../../bytes/byte-reader.ts";
import { ProtocolError } from "../../errors.ts";
import { peekFirstByte } from "../../tunnel/handshakes.ts";

/** The host a connection asks for by itself. */
export interface AskedHost {
  /** A name; addresses are refused. */
  readonly host: string;
  readonly port: number;
}

/**
 * Finds out which host a client means: the name in a TLS ClientHello (SNI, RFC 6066), or the `Host`
 * of an HTTP/1 request. Everything stays in place for whoever is dialled.
 *
 * @throws ProtocolError when it is neither, names nobody, or is longer than it may be
 */
export function* readAskedHost(reader: ByteReader): Parser<AskedHost> {
  const first = yield* peekFirstByte(reader);
  if (first === TLS_HANDSHAKE) return { host: yield* readServerName(reader), port: 443 };
  return yield* readHostHeader(reader);
}

function* readServerName(reader: ByteReader): Parser<string> {
  const hello = yield* readClientHello(reader);
  let at = 4 + 2 + 32; // header, version, random
  at += 1 + byteAt(hello, at); // session id
  at += 2 + shortAt(hello, at); // cipher suites
  at += 1 + byteAt(hello, at); // compression methods
  const end = at + 2 + shortAt(hello, at);
  at += 2;
  while (at + 4 <= end) {
    const [type, length] = [shortAt(hello, at), shortAt(hello, at + 2)];
    if (type === SERVER_NAME) return nameIn(hello.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  throw new ProtocolError("the ClientHello names no server", {
    hint: "only clients that send SNI can be led on; an address alone says nothing here",
  });
}

/** The whole message, over as many records as it takes. */
function* readClientHello(reader: ByteReader): Parser<Uint8Array> {
  const parts: Uint8Array[] = [];
  let [have, at, want] = [0, 0, 4];
  while (have < want) {
    const head = yield* reader.peek(at + 5);
    if (head[at] !== TLS_HANDSHAKE) throw new ProtocolError("TLS begins with no ClientHello");
    const length = shortAt(head, at + 3);
    if (length === 0 || at + 5 + length > MAX_HEAD_BYTES) {
      throw new ProtocolError(`ClientHello exceeds ${MAX_HEAD_BYTES} bytes`);
    }
    const record = yield* reader.peek(at + 5 + length);
    if (record.byteLength < at + 5 + length)
      throw new ProtocolError("ended within its ClientHello");
    parts.push(record.subarray(at + 5, at + 5 + length));
    at += 5 + length;
    have += length;
    const message = Buffer.concat(parts);
    if (message[0] !== CLIENT_HELLO) throw new ProtocolError("TLS begins with no ClientHello");
    if (have >= 4) want = 4 + message.readUIntBE(1, 3);
  }
  return Buffer.concat(parts).subarray(0, want);
}

function nameIn(list: Uint8Array): string {
  const length = shortAt(list, 3);
  if (byteAt(list, 2) !== 0) throw new ProtocolError("the ClientHello names no host");
  return checkName(Buffer.from(list.subarray(5, 5 + length)).toString("latin1"));
}

function* readHostHeader(reader: ByteReader): Parser<AskedHost> {
  for (let wanted = 1; ; ) {
    const bytes = yield* reader.peek(Math.max(wanted, reader.length));
    const text = Buffer.from(bytes.subarray(0, MAX_HEAD_BYTES)).toString("latin1");
    const end = text.indexOf("\r\n\r\n");
    if (end >= 0) return hostIn(text.slice(0, end));
    if (!/^[A-Z]*( |$)/.test(text)) throw new ProtocolError("neither TLS nor HTTP");
    if (bytes.byteLength >= MAX_HEAD_BYTES) {
      throw new ProtocolError(`request head exceeds ${MAX_HEAD_BYTES} bytes`);
    }
    if (bytes.byteLength < wanted) throw new ProtocolError("ended within its request head");
    wanted = bytes.byteLength + 1;
  }
}

function hostIn(head: string): AskedHost {
  const [line = "", ...fields] = head.split("\r\n");
  if (!/^[A-Z]+ \S+ HTTP\/1\.[01]$/.test(line)) throw new ProtocolError("neither TLS nor HTTP/1");
  const hosts = fields.filter((field) => /^host:/i.test(field));
  const [, host = "", port = "80"] =
    /^host:[ \t]*([^:\s]+)(?::(\d{1,5}))?[ \t]*$/i.exec(hosts[0] ?? "") ?? [];
  if (hosts.length !== 1 || host === "") throw new ProtocolError("the request names no one Host");
  const number = Number(port);
  if (number < 1 || number > 65_535) throw new ProtocolError(`port ${port} of Host is none`);
  return { host: checkName(host), port: number };
}

/** An address would most likely be ours, and lead back here. */
function checkName(text: string): string {
  const name = isIP(text) === 0 ? normalizeHostName(text) : undefined;
  if (name !== undefined && !/^[\d.]+$/.test(name)) return name;
  throw new ProtocolError(`"${text.slice(0, 64)}" is no host name`);
}

function byteAt(bytes: Uint8Array, at: number): number {
  const byte = bytes[at];
  if (byte === undefined) throw new ProtocolError("ClientHello is cut short");
  return byte;
}

function shortAt(bytes: Uint8Array, at: number): number {
  return byteAt(bytes, at) * 256 + byteAt(bytes, at + 1);
}

const TLS_HANDSHAKE = 0x16;
const CLIENT_HELLO = 1;
const SERVER_NAME = 0;
const MAX_HEAD_BYTES = 64 * 1024;
