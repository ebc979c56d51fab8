import { createHash, createHmac } from "node:crypto";
import { encodeMessage, type HandshakeMessage } from "./handshake-messages.ts";

/** Keys of the four directions, as the key block has them. */
export interface RecordKeys {
  readonly clientKey: Uint8Array;
  readonly serverKey: Uint8Array;
  readonly clientIv: Uint8Array;
  readonly serverIv: Uint8Array;
}

/** The handshake messages so far, each as if it had never been cut into fragments. */
export class Transcript {
  #messages: Uint8Array[] = [];

  add(message: HandshakeMessage): void {
    this.#messages.push(encodeMessage(message));
  }

  /** Begins anew: the first ClientHello and HelloVerifyRequest are no part of it. */
  clear(): void {
    this.#messages = [];
  }

  /** What a CertificateVerify signs. */
  content(): Uint8Array {
    return Buffer.concat(this.#messages);
  }

  digest(): Uint8Array {
    return createHash("sha256").update(this.content()).digest();
  }
}

/**
 * The master secret of RFC 7627.
 *
 * @param sessionHash of everything up to and including ClientKeyExchange
 */
export function masterSecret(premaster: Uint8Array, sessionHash: Uint8Array): Uint8Array {
  return prf(premaster, "extended master secret", sessionHash, 48);
}

/** Keys and implicit nonces for AES-128-GCM. */
export function recordKeys(
  master: Uint8Array,
  clientRandom: Uint8Array,
  serverRandom: Uint8Array,
): RecordKeys {
  const block = prf(master, "key expansion", Buffer.concat([serverRandom, clientRandom]), 40);
  return {
    clientKey: block.subarray(0, 16),
    serverKey: block.subarray(16, 32),
    clientIv: block.subarray(32, 36),
    serverIv: block.subarray(36, 40),
  };
}

/** The 12 bytes of one end's Finished. */
export function verifyData(
  master: Uint8Array,
  end: "client" | "server",
  transcriptHash: Uint8Array,
): Uint8Array {
  return prf(master, `${end} finished`, transcriptHash, 12);
}

/** The pseudo random function of TLS 1.2 with SHA-256: RFC 5246, 5. */
function prf(secret: Uint8Array, label: string, seed: Uint8Array, byteLength: number): Uint8Array {
  const labelled = Buffer.concat([Buffer.from(label, "ascii"), seed]);
  const blocks = new Uint8Array(Math.ceil(byteLength / HASH_BYTES) * HASH_BYTES);
  let a: Uint8Array = labelled;
  for (let at = 0; at < byteLength; at += HASH_BYTES) {
    a = createHmac("sha256", secret).update(a).digest();
    blocks.set(createHmac("sha256", secret).update(a).update(labelled).digest(), at);
  }
  return blocks.subarray(0, byteLength);
}

const HASH_BYTES = 32;
