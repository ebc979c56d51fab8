import { isIP } from "node:net";

/**
 * The 4 or 16 bytes of an IP literal.
 *
 * @returns `undefined` when the text is no IP literal, or has a zone (`%eth0`)
 */
export function parseIp(text: string): Uint8Array | undefined {
  const family = isIP(text);
  if (family === 4) return parseIpv4(text);
  if (family !== 6 || text.includes("%")) return undefined;
  return parseIpv6(text);
}

/** Dotted quad for 4 bytes, RFC 5952 text for 16. */
export function formatIp(bytes: Uint8Array): string {
  if (bytes.byteLength === 4) return bytes.join(".");
  const words: number[] = [];
  for (let at = 0; at < 16; at += 2) words.push(((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0));
  const run = longestZeroRun(words);
  const hex = (part: readonly number[]): string => part.map((word) => word.toString(16)).join(":");
  if (run.length < 2) return hex(words);
  return `${hex(words.slice(0, run.start))}::${hex(words.slice(run.start + run.length))}`;
}

/** The 4 bytes inside `::ffff:a.b.c.d`; otherwise the bytes themselves. */
export function unmapIpv4(bytes: Uint8Array): Uint8Array {
  if (bytes.byteLength !== 16) return bytes;
  const isMapped =
    bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
  return isMapped ? bytes.subarray(12) : bytes;
}

/** An IP literal in its usual form: `::ffff:a.b.c.d` as IPv4. Other text, and zones, stay as they are. */
export function plainIp(text: string): string {
  // The one spelling that sockets use; datagrams come too often to parse every address.
  const inner = text.startsWith("::ffff:") ? text.slice("::ffff:".length) : "";
  return isIP(inner) === 4 ? inner : text;
}

function parseIpv4(text: string): Uint8Array {
  const bytes = new Uint8Array(4);
  let at = 0;
  let value = 0;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === DOT) {
      bytes[at++] = value;
      value = 0;
    } else {
      value = 10 * value + code - ZERO;
    }
  }
  bytes[at] = value;
  return bytes;
}

function parseIpv6(text: string): Uint8Array {
  const quad = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
  const plain =
    quad === null
      ? text
      : `${quad[1]}${((Number(quad[2]) << 8) | Number(quad[3])).toString(16)}:${((Number(quad[4]) << 8) | Number(quad[5])).toString(16)}`;
  const [head = "", tail] = plain.split("::");
  const front = head === "" ? [] : head.split(":");
  const back = tail === undefined || tail === "" ? [] : tail.split(":");
  const bytes = new Uint8Array(16);
  const put = (words: readonly string[], first: number): void => {
    for (const [index, word] of words.entries()) {
      const value = Number.parseInt(word, 16);
      bytes[2 * (first + index)] = value >> 8;
      bytes[2 * (first + index) + 1] = value & 0xff;
    }
  };
  put(front, 0);
  put(back, 8 - back.length);
  return bytes;
}

function longestZeroRun(words: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  let start = 0;
  for (let at = 0; at <= words.length; at++) {
    if (words[at] === 0) continue;
    if (at - start > best.length) best = { start, length: at - start };
    start = at + 1;
  }
  return best;
}

const DOT = 0x2e;
const ZERO = 0x30;
