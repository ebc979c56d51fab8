import { DtlsAlert, AlertDescription } from "./alerts.ts";

/** Reads the fields of one handshake message; what is cut short answers with decode_error. */
export class WireReader {
  readonly #bytes: Uint8Array;
  #offset = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Bytes read so far. */
  get offset(): number {
    return this.#offset;
  }

  /** Bytes not read yet. */
  get left(): number {
    return this.#bytes.byteLength - this.#offset;
  }

  /** A view of the next `count` bytes. @throws DtlsAlert when there are fewer */
  bytes(count: number): Uint8Array {
    if (count > this.left) {
      const text = `handshake message is cut short: ${count} bytes wanted, ${this.left} left`;
      throw new DtlsAlert(AlertDescription.decodeError, text);
    }
    const view = this.#bytes.subarray(this.#offset, this.#offset + count);
    this.#offset += count;
    return view;
  }

  u8(): number {
    return this.#unsigned(1);
  }

  u16(): number {
    return this.#unsigned(2);
  }

  u24(): number {
    return this.#unsigned(3);
  }

  /** A field with one byte of length before it. */
  vector8(): Uint8Array {
    return this.bytes(this.u8());
  }

  vector16(): Uint8Array {
    return this.bytes(this.u16());
  }

  vector24(): Uint8Array {
    return this.bytes(this.u24());
  }

  /** @throws DtlsAlert when bytes are left */
  end(): void {
    if (this.left === 0) return;
    const text = `handshake message has ${this.left} bytes too many`;
    throw new DtlsAlert(AlertDescription.decodeError, text);
  }

  #unsigned(width: number): number {
    let value = 0;
    for (const byte of this.bytes(width)) value = value * 256 + byte;
    return value;
  }
}

/** Two bytes, big-endian. */
export function u16(value: number): Uint8Array {
  return Uint8Array.of(value >>> 8, value & 0xff);
}

/** Three bytes, big-endian. */
export function u24(value: number): Uint8Array {
  return Uint8Array.of(value >>> 16, (value >>> 8) & 0xff, value & 0xff);
}

/** `bytes` behind one byte of length. */
export function vector8(...bytes: readonly Uint8Array[]): Uint8Array {
  const content = Buffer.concat(bytes);
  return Buffer.concat([Uint8Array.of(content.byteLength), content]);
}

/** `bytes` behind two bytes of length. */
export function vector16(...bytes: readonly Uint8Array[]): Uint8Array {
  const content = Buffer.concat(bytes);
  return Buffer.concat([u16(content.byteLength), content]);
}

/** `bytes` behind three bytes of length. */
export function vector24(...bytes: readonly Uint8Array[]): Uint8Array {
  const content = Buffer.concat(bytes);
  return Buffer.concat([u24(content.byteLength), content]);
}
