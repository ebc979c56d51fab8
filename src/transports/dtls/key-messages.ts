import { AlertDescription, DtlsAlert } from "./alerts.ts";
import type { DtlsGroup } from "./dtls-options.ts";
import { GROUP_IDS, groupOf } from "./key-exchange.ts";
import { SCHEMES } from "./signatures.ts";
import { u16, vector8, vector16, vector24, WireReader } from "./wire.ts";

/** The body of a Certificate message. */
export function encodeCertificates(chain: readonly Uint8Array[]): Uint8Array {
  return vector24(...chain.map((certificate) => vector24(certificate)));
}

/** The chain of a Certificate message, leaf first. @throws DtlsAlert when it is malformed */
export function readCertificates(body: Uint8Array): Uint8Array[] {
  const reader = new WireReader(body);
  const list = new WireReader(reader.vector24());
  reader.end();
  const chain: Uint8Array[] = [];
  while (list.left > 0) chain.push(list.vector24());
  return chain;
}

/** The part of a ServerKeyExchange that is signed, apart from the randoms. */
export function encodeServerShare(group: DtlsGroup, publicKey: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.of(NAMED_CURVE), u16(GROUP_IDS[group]), vector8(publicKey)]);
}

/** What a ServerKeyExchange says before its signature; `reader` is left at that. */
export function readServerShare(
  reader: WireReader,
  body: Uint8Array,
  offered: readonly DtlsGroup[],
): { readonly group: DtlsGroup; readonly publicKey: Uint8Array; readonly signed: Uint8Array } {
  const curveType = reader.u8();
  const id = reader.u16();
  const group = groupOf(id, offered);
  if (curveType !== NAMED_CURVE || group === undefined) {
    const text = `the server chose group ${id.toString(16)}, which was not offered`;
    throw new DtlsAlert(AlertDescription.illegalParameter, text);
  }
  const publicKey = reader.vector8();
  return { group, publicKey, signed: body.subarray(0, reader.offset) };
}

/** The body of a CertificateRequest for certificates that `authority` (a DER name) signed, or anybody. */
export function encodeCertificateRequest(authority: Uint8Array | undefined): Uint8Array {
  return Buffer.concat([
    vector8(Uint8Array.of(RSA_SIGN, ECDSA_SIGN)),
    vector16(...SCHEMES.map(u16)),
    authority === undefined ? vector16() : vector16(vector16(authority)),
  ]);
}

/** Checks that a CertificateRequest is well formed. What it asks for, we have or have not. */
export function checkCertificateRequest(body: Uint8Array): void {
  const reader = new WireReader(body);
  reader.vector8();
  reader.vector16();
  reader.vector16();
  reader.end();
}

/** The body of a ClientKeyExchange. */
export function encodeClientShare(publicKey: Uint8Array): Uint8Array {
  return vector8(publicKey);
}

/** The client's share. */
export function readClientShare(body: Uint8Array): Uint8Array {
  const reader = new WireReader(body);
  const publicKey = reader.vector8();
  reader.end();
  return publicKey;
}

const NAMED_CURVE = 3;
/** QUIRK(pion): asked for by the reference, refused by our judgement of certificates. */
const RSA_SIGN = 1;
const ECDSA_SIGN = 64;
