/**
 * The header every stream begins with: 275 bytes, client to agent, never answered.
 *
 * `version 8 | host length u8 | host 255 | port length u8 | port text 5 | flags u8 | crc32 u32be`;
 * host and port are padded with NUL, the checksum covers the 271 bytes before it.
 *
 * Spec: godoxy 1. Reference: godoxy `agent/pkg/agent/stream/header.go`.
 */
import { crc32 } from "node:zlib";
import { ProtocolError, TunnelError } from "../../errors.ts";

/** What a header says. */
export interface StreamHeader {
  /** As it stands in the header: no brackets around IPv6; empty means the agent's own machine. */
  readonly host: string;
  /** Text of at most five bytes; nobody promises that it is a number. */
  readonly port: string;
  /** Bits; the only one that means anything is {@link HeaderFlag.closeImmediately}. @default 0 */
  readonly flags?: number | undefined;
}

/** Bits of the flags byte. */
export const HeaderFlag = { closeImmediately: 0x01 } as const;

/** Bytes of every header. */
export const HEADER_BYTES = 275;

/**
 * @throws TunnelError `ERR_ADDRESS_UNSUPPORTED` when the host exceeds 255 bytes of UTF-8 or the port five
 */
export function encodeHeader({ host, port, flags = 0 }: StreamHeader): Uint8Array {
  const [hostBytes, portBytes] = [encoder.encode(host), encoder.encode(port)];
  if (hostBytes.byteLength > HOST_BYTES) {
    const text = `host name of ${hostBytes.byteLength} bytes exceeds ${HOST_BYTES}`;
    throw new TunnelError("ERR_ADDRESS_UNSUPPORTED", text);
  }
  if (portBytes.byteLength > PORT_BYTES) {
    const text = `port of ${portBytes.byteLength} bytes exceeds ${PORT_BYTES}`;
    throw new TunnelError("ERR_ADDRESS_UNSUPPORTED", text);
  }
  const bytes = new Uint8Array(HEADER_BYTES);
  bytes.set(VERSION, 0);
  bytes[HOST_AT - 1] = hostBytes.byteLength;
  bytes.set(hostBytes, HOST_AT);
  bytes[PORT_AT - 1] = portBytes.byteLength;
  bytes.set(portBytes, PORT_AT);
  bytes[FLAGS_AT] = flags;
  viewOf(bytes).setUint32(CHECKSUM_AT, checksumOf(bytes));
  return bytes;
}

/** The header of a health probe: nothing but the wish to be closed at once. */
export function encodeProbe(): Uint8Array {
  return encodeHeader({ host: "", port: "", flags: HeaderFlag.closeImmediately });
}

/**
 * Reads a header, judging it in the order of the reference: version, port length, checksum. Unknown
 * flags, padding and the text of host and port are nobody's concern here; bytes that are not UTF-8
 * become U+FFFD.
 *
 * @throws ProtocolError naming the check that failed
 */
export function decodeHeader(bytes: Uint8Array): StreamHeader {
  if (bytes.byteLength !== HEADER_BYTES) {
    throw new ProtocolError(`header of ${bytes.byteLength} bytes is not ${HEADER_BYTES}`);
  }
  const version = bytes.subarray(0, VERSION.byteLength);
  if (Buffer.compare(version, VERSION) !== 0) {
    const hex = Buffer.from(version).toString("hex");
    throw new ProtocolError(`header version ${hex} is not 0.1.0`, {
      hint: "the peer speaks another protocol, or a newer one",
    });
  }
  const portLength = bytes[PORT_AT - 1] ?? 0;
  if (portLength > PORT_BYTES) {
    throw new ProtocolError(`header port length ${portLength} exceeds ${PORT_BYTES}`);
  }
  const [stated, actual] = [viewOf(bytes).getUint32(CHECKSUM_AT), checksumOf(bytes)];
  if (stated !== actual) {
    throw new ProtocolError(`header checksum ${hex32(stated)} is not ${hex32(actual)}`);
  }
  const hostLength = bytes[HOST_AT - 1] ?? 0;
  return {
    host: decoder.decode(bytes.subarray(HOST_AT, HOST_AT + hostLength)),
    port: decoder.decode(bytes.subarray(PORT_AT, PORT_AT + portLength)),
    flags: bytes[FLAGS_AT] ?? 0,
  };
}

/** Whether a header asks for nothing but an immediate close. */
export function isProbe({ flags = 0 }: StreamHeader): boolean {
  return (flags & HeaderFlag.closeImmediately) !== 0;
}

function checksumOf(header: Uint8Array): number {
  return crc32(header.subarray(0, CHECKSUM_AT));
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function hex32(value: number): string {
  return value.toString(16).padStart(8, "0");
}

const encoder = new TextEncoder();

/** A byte order mark is part of the name, as every other byte. */
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** `0.1.0` and three NULs. */
const VERSION: Uint8Array = Uint8Array.of(0x30, 0x2e, 0x31, 0x2e, 0x30, 0, 0, 0);

const HOST_AT = 9;
const HOST_BYTES = 255;
const PORT_AT = 265;
const PORT_BYTES = 5;
const FLAGS_AT = 270;
const CHECKSUM_AT = 271;
