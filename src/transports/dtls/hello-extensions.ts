import { AlertDescription, DtlsAlert } from "./alerts.ts";
import type { DtlsGroup } from "./dtls-options.ts";
import { GROUP_IDS } from "./key-exchange.ts";
import { SCHEMES } from "./signatures.ts";
import { u16, vector8, vector16, WireReader } from "./wire.ts";

/** Extensions of hellos that mean something to us. */
export const ExtensionType = {
  serverName: 0,
  supportedGroups: 10,
  pointFormats: 11,
  signatureAlgorithms: 13,
  extendedMasterSecret: 23,
  renegotiationInfo: 0xff01,
} as const;

/** Type and content of each. */
export type Extensions = ReadonlyMap<number, Uint8Array>;

/**
 * The extensions a hello ends with; none when it ends before.
 *
 * @throws DtlsAlert when one comes twice, or lengths do not add up
 */
export function readExtensions(reader: WireReader): Extensions {
  const extensions = new Map<number, Uint8Array>();
  if (reader.left === 0) return extensions;
  const block = new WireReader(reader.vector16());
  reader.end();
  while (block.left > 0) {
    const type = block.u16();
    if (extensions.has(type)) {
      const text = `hello has extension ${type} twice`;
      throw new DtlsAlert(AlertDescription.illegalParameter, text);
    }
    extensions.set(type, block.vector16());
  }
  return extensions;
}

/** A list of 16-bit numbers behind its length in bytes; `undefined` without the extension. */
export function readNumbers(content: Uint8Array | undefined): number[] | undefined {
  if (content === undefined) return undefined;
  const reader = new WireReader(content);
  const list = new WireReader(reader.vector16());
  reader.end();
  const numbers: number[] = [];
  while (list.left > 0) numbers.push(list.u16());
  return numbers;
}

/**
 * What both hellos must agree on, whichever end looks: no renegotiation, uncompressed points, and
 * the extended master secret.
 *
 * @throws DtlsAlert
 */
export function checkCommonExtensions(extensions: Extensions, whose: string): void {
  if (extensions.get(ExtensionType.extendedMasterSecret)?.byteLength !== 0) {
    const text = `${whose} hello lacks the extended master secret`;
    throw new DtlsAlert(AlertDescription.insufficientSecurity, text);
  }
  const renegotiation = extensions.get(ExtensionType.renegotiationInfo);
  if (renegotiation !== undefined && Buffer.compare(renegotiation, NO_RENEGOTIATION) !== 0) {
    throw new DtlsAlert(AlertDescription.handshakeFailure, `${whose} hello renegotiates`);
  }
  const formats = extensions.get(ExtensionType.pointFormats);
  if (formats !== undefined && !new WireReader(formats).vector8().includes(UNCOMPRESSED)) {
    const text = `${whose} hello excludes uncompressed points`;
    throw new DtlsAlert(AlertDescription.illegalParameter, text);
  }
}

/** Those of our ClientHello, in the order of the reference. */
export function clientExtensions(serverName: string, groups: readonly DtlsGroup[]): Uint8Array {
  const ids = groups.map((group) => u16(GROUP_IDS[group]));
  const list = [
    extension(ExtensionType.signatureAlgorithms, vector16(...SCHEMES.map(u16))),
    extension(ExtensionType.renegotiationInfo, NO_RENEGOTIATION),
    extension(ExtensionType.supportedGroups, vector16(...ids)),
    extension(ExtensionType.pointFormats, vector8(Uint8Array.of(UNCOMPRESSED))),
    extension(ExtensionType.extendedMasterSecret, EMPTY),
  ];
  if (!isAddress(serverName)) {
    const name = Buffer.concat([Uint8Array.of(HOST_NAME), vector16(Buffer.from(serverName))]);
    list.push(extension(ExtensionType.serverName, vector16(name)));
  }
  return vector16(...list);
}

/** Those of our ServerHello; renegotiation_info answers the client's alone. */
export function serverExtensions(answersRenegotiation: boolean): Uint8Array {
  const list = [extension(ExtensionType.extendedMasterSecret, EMPTY)];
  if (answersRenegotiation) {
    list.push(extension(ExtensionType.renegotiationInfo, NO_RENEGOTIATION));
  }
  list.push(extension(ExtensionType.pointFormats, vector8(Uint8Array.of(UNCOMPRESSED))));
  return vector16(...list);
}

function extension(type: number, content: Uint8Array): Uint8Array {
  return Buffer.concat([u16(type), vector16(content)]);
}

/** SNI is for names only: RFC 6066, 3. */
function isAddress(name: string): boolean {
  return name === "" || name.includes(":") || /^[\d.]+$/.test(name);
}

const EMPTY = new Uint8Array(0);
const NO_RENEGOTIATION = Uint8Array.of(0);
const UNCOMPRESSED = 0;
const HOST_NAME = 0;
