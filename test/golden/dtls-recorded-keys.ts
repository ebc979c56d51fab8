import { createECDH, createPrivateKey, createPublicKey, diffieHellman } from "node:crypto";
import type { EphemeralKeys } from "../../src/transports/dtls/dtls-options.ts";
import { hex } from "../support/hex.ts";
import { Message, messageOf, type RecordedMessage, shareOf } from "./dtls-messages.ts";
import type { DtlsKeys, End } from "./dtls-transcript.ts";

/** The key pair one end of a recording made, where it is known. */
export function recordedEphemeral(
  { group, ephemeral }: DtlsKeys,
  end: End,
  messages: readonly RecordedMessage[],
): EphemeralKeys | undefined {
  const type = end === "client" ? Message.clientKeyExchange : Message.serverKeyExchange;
  const message = messageOf(messages, end, type);
  const own = ephemeral[end];
  if (own === undefined || message === undefined) return undefined;
  const publicKey = shareOf(message);
  if (group === "P-256") {
    const ecdh = createECDH("prime256v1");
    ecdh.setPrivateKey(own);
    return { publicKey, agree: (theirs) => ecdh.computeSecret(theirs) };
  }
  const key = Buffer.concat([X25519_PKCS8, own]);
  const privateKey = createPrivateKey({ key, format: "der", type: "pkcs8" });
  return {
    publicKey,
    agree: (theirs) => {
      const their = Buffer.concat([X25519_SPKI, theirs]);
      const theirKey = createPublicKey({ key: their, format: "der", type: "spki" });
      return diffieHellman({ privateKey, publicKey: theirKey });
    },
  };
}

const X25519_PKCS8 = hex("302e020100300506032b656e04220420");
const X25519_SPKI = hex("302a300506032b656e032100");
