import { type KeyObject, sign, verify } from "node:crypto";
import { AlertDescription, DtlsAlert } from "./alerts.ts";
import { u16, vector16, type WireReader } from "./wire.ts";

/**
 * What hellos and certificate requests list.
 *
 * QUIRK(pion): the list of the reference, byte for byte. Of these only ECDSA is of use: the suite
 * wants it of servers, and our judgement of certificates of clients as well.
 */
export const SCHEMES: readonly number[] = [
  0x0403, 0x0503, 0x0603, 0x0807, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601,
];

/** ECDSA on P-256 with SHA-256: how we sign. */
export const OUR_SCHEME = 0x0403;

/** ECDSA with SHA-256, DER. */
export function signEcdsa(content: Uint8Array, key: KeyObject): Uint8Array {
  return sign("sha256", content, key);
}

/** `scheme u16 | signature <u16>`. */
export function encodeSignature(signature: Uint8Array): Uint8Array {
  return Buffer.concat([u16(OUR_SCHEME), vector16(signature)]);
}

/**
 * Reads a signature and checks it.
 *
 * @throws DtlsAlert when it is not of `key` over `content`
 */
export function checkSignature(
  reader: WireReader,
  what: string,
  key: KeyObject,
  content: Uint8Array,
): void {
  const scheme = reader.u16();
  const signature = reader.vector16();
  reader.end();
  const hash = ECDSA_HASHES.get(scheme);
  if (hash === undefined) {
    const text = `${what} is signed with scheme ${scheme.toString(16)}, which is not ECDSA`;
    throw new DtlsAlert(AlertDescription.illegalParameter, text);
  }
  if (key.asymmetricKeyType === "ec" && verify(hash, content, key, signature)) return;
  throw new DtlsAlert(AlertDescription.decryptError, `${what} has a wrong signature`);
}

const ECDSA_HASHES: ReadonlyMap<number, string> = new Map([
  [0x0403, "sha256"],
  [0x0503, "sha384"],
  [0x0603, "sha512"],
]);
