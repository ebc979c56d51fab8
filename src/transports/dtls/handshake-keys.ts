import { randomBytes, timingSafeEqual } from "node:crypto";
import { AlertDescription, DtlsAlert } from "./alerts.ts";
import type { DtlsEndOptions, EphemeralKeys } from "./dtls-options.ts";
import type { HandshakeMessage } from "./handshake-messages.ts";
import { RANDOM_BYTES } from "./hello-messages.ts";
import { masterSecret, recordKeys, type Transcript, verifyData } from "./key-schedule.ts";
import { RecordCipher } from "./record-cipher.ts";

/** The secrets of one handshake, from the key exchange to both Finished. */
export class HandshakeKeys {
  /** For the records of epoch 1. */
  readonly cipher: RecordCipher;
  readonly #master: Uint8Array;

  /**
   * @param transcript up to and including ClientKeyExchange
   * @throws DtlsAlert when the peer's share is none
   */
  constructor(exchange: {
    readonly end: "client" | "server";
    readonly ephemeral: EphemeralKeys;
    readonly theirs: Uint8Array;
    readonly clientRandom: Uint8Array;
    readonly serverRandom: Uint8Array;
    readonly transcript: Transcript;
  }) {
    const premaster = agree(exchange.ephemeral, exchange.theirs);
    this.#master = masterSecret(premaster, exchange.transcript.digest());
    premaster.fill(0);
    const keys = recordKeys(this.#master, exchange.clientRandom, exchange.serverRandom);
    this.cipher = new RecordCipher(keys, exchange.end);
    for (const secret of [keys.clientKey, keys.serverKey]) secret.fill(0);
  }

  /** The body of `end`'s Finished. */
  finished(end: "client" | "server", transcript: Transcript): Uint8Array {
    return verifyData(this.#master, end, transcript.digest());
  }

  /** @throws DtlsAlert when `message` is not the Finished of `end` */
  check(end: "client" | "server", message: HandshakeMessage, transcript: Transcript): void {
    const expected = this.finished(end, transcript);
    const { body } = message;
    if (body.byteLength === expected.byteLength && timingSafeEqual(body, expected)) return;
    const text = `the ${end}'s Finished does not fit what we saw of the handshake`;
    throw new DtlsAlert(AlertDescription.decryptError, text);
  }

  /** Forgets the master secret; the cipher lives on. */
  wipe(): void {
    this.#master.fill(0);
  }
}

/** The random of our hello. */
export function helloRandom({ random = randomBytes }: DtlsEndOptions): Uint8Array {
  return random(RANDOM_BYTES);
}

/** Milliseconds since 1970, for the validity of certificates. */
export function wallTime({ unixMs }: DtlsEndOptions): number {
  return unixMs?.() ?? new Date().getTime();
}

/** @throws DtlsAlert unless `message` is of `type` */
export function expectMessage(message: HandshakeMessage, type: number, who: string): void {
  if (message.type === type) return;
  const text = `the ${who} sent handshake message ${message.type} instead of ${type}`;
  throw new DtlsAlert(AlertDescription.unexpectedMessage, text);
}

function agree(ephemeral: EphemeralKeys, theirs: Uint8Array): Uint8Array {
  try {
    return ephemeral.agree(theirs);
  } catch (cause) {
    const text = "the peer's share of the key exchange is no point of the group";
    throw new DtlsAlert(AlertDescription.illegalParameter, text, { cause });
  }
}
