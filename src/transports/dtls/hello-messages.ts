import { AlertDescription, DtlsAlert } from "./alerts.ts";
import type { DtlsGroup } from "./dtls-options.ts";
import {
  checkCommonExtensions,
  clientExtensions,
  ExtensionType,
  readExtensions,
  readNumbers,
  serverExtensions,
} from "./hello-extensions.ts";
import { GROUPS, groupOf } from "./key-exchange.ts";
import { OUR_SCHEME } from "./signatures.ts";
import { u16, vector8, vector16, WireReader } from "./wire.ts";

/** What we take from a ClientHello that fits our one profile. */
export interface ClientOffer {
  readonly random: Uint8Array;
  /** The first of the client's list that we know. */
  readonly group: DtlsGroup;
  /** It wants to hear of renegotiation_info. */
  readonly asksRenegotiation: boolean;
}

/** The body of our ClientHello. */
export function encodeClientHello(hello: {
  readonly random: Uint8Array;
  readonly cookie: Uint8Array;
  readonly serverName: string;
  readonly groups?: readonly DtlsGroup[] | undefined;
}): Uint8Array {
  return Buffer.concat([
    u16(DTLS_1_2),
    hello.random,
    vector8(),
    vector8(hello.cookie),
    vector16(u16(SUITE)),
    vector8(Uint8Array.of(NO_COMPRESSION)),
    clientExtensions(hello.serverName, hello.groups ?? GROUPS),
  ]);
}

/**
 * Judges a ClientHello, in the order of the reference.
 *
 * @throws DtlsAlert when it does not fit
 */
export function judgeClientHello(
  body: Uint8Array,
  ours: readonly DtlsGroup[] = GROUPS,
): ClientOffer {
  const reader = new WireReader(body);
  checkVersion(reader.u16(), "the client");
  const random = reader.bytes(RANDOM_BYTES);
  reader.vector8();
  reader.vector8();
  const suites = new WireReader(reader.vector16());
  const offered: number[] = [];
  while (suites.left > 0) offered.push(suites.u16());
  const compressions = reader.vector8();
  const extensions = readExtensions(reader);
  if (!offered.includes(SUITE)) {
    throw tooWeak("the client does not offer suite c02b");
  }
  if (!compressions.includes(NO_COMPRESSION)) {
    const text = "the client insists on compression";
    throw new DtlsAlert(AlertDescription.illegalParameter, text);
  }
  checkCommonExtensions(extensions, "the client's");
  const groups = readNumbers(extensions.get(ExtensionType.supportedGroups)) ?? [];
  const group = groups.map((id) => groupOf(id, ours)).find((known) => known !== undefined);
  if (group === undefined) throw tooWeak("the client offers none of our groups");
  const schemes = readNumbers(extensions.get(ExtensionType.signatureAlgorithms)) ?? [];
  if (!schemes.includes(OUR_SCHEME)) {
    const text = "the client does not take ECDSA with SHA-256";
    throw new DtlsAlert(AlertDescription.handshakeFailure, text);
  }
  const asksRenegotiation =
    extensions.has(ExtensionType.renegotiationInfo) || offered.includes(RENEGOTIATION_SCSV);
  return { random, group, asksRenegotiation };
}

/** The body of our ServerHello. */
export function encodeServerHello(random: Uint8Array, asksRenegotiation: boolean): Uint8Array {
  return Buffer.concat([
    u16(DTLS_1_2),
    random,
    vector8(),
    u16(SUITE),
    Uint8Array.of(NO_COMPRESSION),
    serverExtensions(asksRenegotiation),
  ]);
}

/**
 * Judges a ServerHello and gives its random.
 *
 * @throws DtlsAlert when it does not fit
 */
export function judgeServerHello(body: Uint8Array): Uint8Array {
  const reader = new WireReader(body);
  checkVersion(reader.u16(), "the server");
  const random = reader.bytes(RANDOM_BYTES);
  // Some servers give sessions a name for resumption, which we never ask for.
  reader.vector8();
  const suite = reader.u16();
  const compression = reader.u8();
  const extensions = readExtensions(reader);
  if (suite !== SUITE) throw tooWeak(`the server chose suite ${suite.toString(16)}`);
  if (compression !== NO_COMPRESSION) {
    throw new DtlsAlert(AlertDescription.illegalParameter, "the server chose compression");
  }
  for (const type of extensions.keys()) {
    if (OFFERED.has(type)) continue;
    const text = `the server answers extension ${type}, which was not offered`;
    throw new DtlsAlert(AlertDescription.unsupportedExtension, text);
  }
  checkCommonExtensions(extensions, "the server's");
  return random;
}

/** The cookie of a HelloVerifyRequest; its version means nothing. */
export function readCookie(body: Uint8Array): Uint8Array {
  const reader = new WireReader(body);
  reader.u16();
  const cookie = reader.vector8();
  reader.end();
  return cookie;
}

function checkVersion(version: number, who: string): void {
  if (version === DTLS_1_2) return;
  const text = `${who} wants version ${version.toString(16)}, not DTLS 1.2`;
  throw new DtlsAlert(AlertDescription.protocolVersion, text);
}

function tooWeak(text: string): DtlsAlert {
  return new DtlsAlert(AlertDescription.insufficientSecurity, text, {
    hint: "both ends must do ECDHE-ECDSA-AES128-GCM-SHA256 with the extended master secret",
  });
}

/** The version field of DTLS 1.2. */
export const DTLS_1_2 = 0xfefd;

/** Bytes of a hello's random. */
export const RANDOM_BYTES = 32;

/** ECDHE_ECDSA_WITH_AES_128_GCM_SHA256. */
const SUITE = 0xc02b;
const RENEGOTIATION_SCSV = 0x00ff;
const NO_COMPRESSION = 0;
const OFFERED: ReadonlySet<number> = new Set(Object.values(ExtensionType));
