import { TunnelError } from "../../errors.ts";

/** How bad an alert is. */
export const AlertLevel = { warning: 1, fatal: 2 } as const;

/** What an alert says: RFC 5246, 7.2; RFC 4279; RFC 7301. */
export const AlertDescription = {
  closeNotify: 0,
  unexpectedMessage: 10,
  badRecordMac: 20,
  recordOverflow: 22,
  handshakeFailure: 40,
  noCertificate: 41,
  badCertificate: 42,
  unsupportedCertificate: 43,
  certificateRevoked: 44,
  certificateExpired: 45,
  certificateUnknown: 46,
  illegalParameter: 47,
  unknownCa: 48,
  accessDenied: 49,
  decodeError: 50,
  decryptError: 51,
  protocolVersion: 70,
  insufficientSecurity: 71,
  internalError: 80,
  userCanceled: 90,
  noRenegotiation: 100,
  unsupportedExtension: 110,
  unrecognizedName: 112,
} as const;

/** The peer's handshake cannot go on; `alert` is what it is told. */
export class DtlsAlert extends TunnelError {
  override readonly name = "DtlsAlert";
  readonly alert: number;

  constructor(alert: number, message: string, options?: { hint?: string; cause?: unknown }) {
    super("ERR_TLS", message, options);
    this.alert = alert;
  }
}

/** The payload of an alert record. */
export interface Alert {
  readonly level: number;
  readonly description: number;
}

/** `undefined` when it is none. */
export function decodeAlert(payload: Uint8Array): Alert | undefined {
  const [level, description] = payload;
  if (payload.byteLength !== 2 || level === undefined || description === undefined) {
    return undefined;
  }
  if (level !== AlertLevel.warning && level !== AlertLevel.fatal) return undefined;
  return { level, description };
}

/** A fatal alert's payload. */
export function encodeFatal(description: number): Uint8Array {
  return Uint8Array.of(AlertLevel.fatal, description);
}

/** `42 bad certificate`. */
export function describeAlert(description: number): string {
  const found = Object.entries(AlertDescription).find(([, number]) => number === description);
  if (found === undefined) return String(description);
  const words = found[0].replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  return `${description} ${words}`;
}

/** The two bytes of close_notify. */
export const CLOSE_NOTIFY: Uint8Array = Uint8Array.of(
  AlertLevel.warning,
  AlertDescription.closeNotify,
);
