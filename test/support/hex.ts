import assert from "node:assert/strict";

/** Bytes from hexadecimal digits; white space between them is free: `hex("00 0e 0000 0001")`. */
export function hex(text: string): Uint8Array {
  const digits = text.replaceAll(/\s+/g, "");
  assert.match(digits, /^(?:[0-9a-fA-F]{2})*$/, `not whole bytes of hex digits: ${text}`);
  return Uint8Array.from(Buffer.from(digits, "hex"));
}

/** Lines of `offset  16 bytes  |text|`, as hexdump prints them. */
export function dump(bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let offset = 0; offset < bytes.byteLength; offset += LINE_BYTES) {
    const line = [...bytes.subarray(offset, offset + LINE_BYTES)];
    const digits = line.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const text = line.map((byte) => (isPrintable(byte) ? String.fromCharCode(byte) : ".")).join("");
    const column = digits.padEnd(3 * LINE_BYTES - 1);
    lines.push(`${offset.toString(16).padStart(6, "0")}  ${column}  |${text}|`);
  }
  return lines.join("\n");
}

/** Fails with both dumps, line against line, when the bytes differ. */
export function assertBytes(
  actual: Uint8Array | readonly Uint8Array[],
  expected: Uint8Array | readonly Uint8Array[],
  message?: string,
): void {
  const [got, wanted] = [flat(actual), flat(expected)];
  if (Buffer.compare(got, wanted) === 0) return;
  const sizes = `${got.byteLength} bytes instead of ${wanted.byteLength}`;
  // Comparing the dumps as text gives a diff of just the lines that differ.
  assert.equal(dump(got), dump(wanted), message);
  assert.fail(message ?? sizes);
}

function flat(bytes: Uint8Array | readonly Uint8Array[]): Uint8Array {
  return bytes instanceof Uint8Array ? bytes : Buffer.concat(bytes);
}

function isPrintable(byte: number): boolean {
  return byte >= 0x20 && byte < 0x7f;
}

const LINE_BYTES = 16;
