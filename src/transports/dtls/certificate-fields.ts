import type { X509Certificate } from "node:crypto";

/** What Node does not tell of a certificate. */
export interface CertificateFields {
  /** Whether the key may sign; absent where the certificate does not restrict its key. */
  readonly mayDigitallySign: boolean | undefined;
  /** Object identifiers, as hex of their DER, of critical extensions that nobody here understands. */
  readonly unknownCritical: readonly string[];
}

/**
 * Reads the extensions of a certificate that OpenSSL has already parsed.
 *
 * Spec: RFC 5280, 4.1 and 4.2.
 *
 * @throws Error on a length that does not fit
 */
export function certificateFields(certificate: X509Certificate): CertificateFields {
  const [whole] = elements(certificate.raw);
  const [toBeSigned] = elements(whole?.content);
  let mayDigitallySign: boolean | undefined;
  const unknownCritical: string[] = [];
  for (const extension of extensionsOf(elements(toBeSigned?.content))) {
    const { id, isCritical, value } = extension;
    if (id === KEY_USAGE) mayDigitallySign = firstBit(value);
    else if (isCritical && !UNDERSTOOD.has(id)) unknownCritical.push(id);
  }
  return { mayDigitallySign, unknownCritical };
}

/** The text of an object identifier as Node writes them: `1.3.6.1.5.5.7.3.1`. */
export function describeId(hex: string): string {
  const numbers: number[] = [];
  let value = 0;
  for (const byte of Buffer.from(hex, "hex")) {
    value = value * 128 + (byte & 0x7f);
    if ((byte & 0x80) !== 0) continue;
    if (numbers.length === 0) {
      const first = Math.min(2, Math.floor(value / 40));
      numbers.push(first, value - 40 * first);
    } else {
      numbers.push(value);
    }
    value = 0;
  }
  return numbers.join(".");
}

interface Extension {
  readonly id: string;
  readonly isCritical: boolean;
  /** DER inside the octet string. */
  readonly value: Uint8Array;
}

interface Element {
  readonly tag: number;
  readonly content: Uint8Array;
}

function* extensionsOf(fields: readonly Element[]): Generator<Extension, void, void> {
  const wrapped = fields.find(({ tag }) => tag === EXTENSIONS_TAG);
  const [list] = elements(wrapped?.content);
  for (const { content } of elements(list?.content)) {
    const parts = elements(content);
    const flag = parts.find(({ tag }) => tag === BOOLEAN);
    yield {
      id: Buffer.from(parts[0]?.content ?? new Uint8Array(0)).toString("hex"),
      isCritical: flag?.content[0] !== undefined && flag.content[0] !== 0,
      value: parts.find(({ tag }) => tag === OCTET_STRING)?.content ?? new Uint8Array(0),
    };
  }
}

/** The elements next to each other in `bytes`. */
function elements(bytes: Uint8Array = new Uint8Array(0)): Element[] {
  const found: Element[] = [];
  let at = 0;
  while (at < bytes.byteLength) {
    const tag = bytes[at] ?? 0;
    const first = bytes[at + 1] ?? 0;
    const lengthBytes = first < 0x80 ? 0 : first - 0x80;
    if (lengthBytes > MAX_LENGTH_BYTES) throw new Error(`length of ${lengthBytes} bytes in DER`);
    let length = lengthBytes === 0 ? first : 0;
    for (let index = 0; index < lengthBytes; index++) {
      length = length * 256 + (bytes[at + 2 + index] ?? 0);
    }
    const start = at + 2 + lengthBytes;
    if (start + length > bytes.byteLength)
      throw new Error(`${length} bytes in DER, but fewer came`);
    found.push({ tag, content: bytes.subarray(start, start + length) });
    at = start + length;
  }
  return found;
}

/** Bit 0 of a DER bit string, `digitalSignature` of a key usage. */
function firstBit(value: Uint8Array): boolean {
  const [bits] = elements(value);
  return ((bits?.content[1] ?? 0) & 0x80) !== 0;
}

const BOOLEAN = 0x01;
const OCTET_STRING = 0x04;
const EXTENSIONS_TAG = 0xa3;
const MAX_LENGTH_BYTES = 3;

const KEY_USAGE = "551d0f";

/** Checked here or by Node: names, constraints of CAs, uses; key identifiers say nothing to obey. */
const UNDERSTOOD: ReadonlySet<string> = new Set([
  KEY_USAGE,
  "551d0e", // subjectKeyIdentifier
  "551d11", // subjectAltName
  "551d13", // basicConstraints
  "551d23", // authorityKeyIdentifier
  "551d25", // extKeyUsage
]);
