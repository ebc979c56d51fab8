import { u16, u24 } from "./wire.ts";

/** Messages of the handshake. */
export const HandshakeType = {
  helloRequest: 0,
  clientHello: 1,
  serverHello: 2,
  helloVerifyRequest: 3,
  certificate: 11,
  serverKeyExchange: 12,
  certificateRequest: 13,
  serverHelloDone: 14,
  certificateVerify: 15,
  clientKeyExchange: 16,
  finished: 20,
} as const;

/** `type u8 | length u24 | seq u16 | fragment offset u24 | fragment length u24 | body`. */
export interface HandshakeMessage {
  readonly type: number;
  readonly seq: number;
  readonly body: Uint8Array;
}

/** The whole message in one fragment: so it goes into the transcript, however it travelled. */
export function encodeMessage({ type, seq, body }: HandshakeMessage): Uint8Array {
  const length = u24(body.byteLength);
  return Buffer.concat([Uint8Array.of(type), length, u16(seq), u24(0), length, body]);
}
