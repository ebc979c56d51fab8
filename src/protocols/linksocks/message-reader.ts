import type { HostPort } from "../../address/socks-address.ts";
import { ProtocolError } from "../../errors.ts";
import type { ChannelId } from "./messages.ts";

/** Walks over one message. Bytes behind what is read are nobody's business. */
export class MessageReader {
  readonly #bytes: Buffer;
  #at: number;

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#at = at;
  }

  /** Bytes that were not read yet. */
  get left(): number {
    return this.#bytes.byteLength - this.#at;
  }

  u8(): number {
    return this.#bytes.readUInt8(this.#take(1));
  }

  u16(): number {
    return this.#bytes.readUInt16BE(this.#take(2));
  }

  u32(): number {
    return this.#bytes.readUInt32BE(this.#take(4));
  }

  /** 16 bytes as hexadecimal digits. */
  id(): ChannelId {
    const at = this.#take(ID_BYTES);
    return this.#bytes.toString("hex", at, at + ID_BYTES);
  }

  /** 16 bytes as UUID text. */
  uuid(): string {
    return toUuid(this.id());
  }

  /** A view of the next bytes. */
  bytes(count: number): Uint8Array {
    const at = this.#take(count);
    // No Buffer: those share memory where others copy (slice).
    return new Uint8Array(this.#bytes.buffer, this.#bytes.byteOffset + at, count);
  }

  /** A length octet and as many bytes of text. */
  text(): string {
    const length = this.u8();
    const at = this.#take(length);
    return this.#bytes.toString("utf8", at, at + length);
  }

  /** A text, where the message does not end before it. */
  textOrNothing(): string | undefined {
    return this.left === 0 ? undefined : this.text();
  }

  hostPort(): HostPort {
    const host = this.text();
    return { host, port: this.u16() };
  }

  #take(count: number): number {
    if (count > this.left) throw new ProtocolError(`${this.left} of ${count} bytes are there`);
    const at = this.#at;
    this.#at += count;
    return at;
  }
}

/** UUID text of 32 hexadecimal digits. */
export function toUuid(digits: string): string {
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** The 32 lower-case digits of a UUID's text, with or without hyphens; `undefined` for all else. */
export function fromUuid(text: string): string | undefined {
  if (!/^[0-9a-f]{8}(-?)(?:[0-9a-f]{4}\1){3}[0-9a-f]{12}$/i.test(text)) return undefined;
  return text.replaceAll("-", "").toLowerCase();
}

/** Octets of a channel id. */
export const ID_BYTES = 16;
