import { createECDH, createPublicKey, diffieHellman, generateKeyPairSync } from "node:crypto";
import type { DtlsGroup, EphemeralKeys } from "./dtls-options.ts";

/** The groups we know, in the order we offer them. */
export const GROUPS: readonly DtlsGroup[] = ["x25519", "P-256", "P-384"];

/** Their numbers on the wire. */
export const GROUP_IDS: Readonly<Record<DtlsGroup, number>> = {
  x25519: 0x001d,
  "P-256": 0x0017,
  "P-384": 0x0018,
};

/** The group of that number, or `undefined` when it is none of `groups`. */
export function groupOf(id: number, groups: readonly DtlsGroup[]): DtlsGroup | undefined {
  return groups.find((group) => GROUP_IDS[group] === id);
}

/** A fresh key pair. */
export function makeEphemeral(group: DtlsGroup): EphemeralKeys {
  if (group === "x25519") return makeX25519();
  const { curve, pointBytes } = CURVES[group];
  const ecdh = createECDH(curve);
  const publicKey = ecdh.generateKeys();
  return {
    publicKey,
    agree: (theirs) => {
      if (theirs.byteLength !== pointBytes || theirs[0] !== UNCOMPRESSED) {
        throw new Error(`not an uncompressed point of ${group}`);
      }
      return ecdh.computeSecret(theirs);
    },
  };
}

function makeX25519(): EphemeralKeys {
  const { publicKey, privateKey } = generateKeyPairSync("x25519");
  return {
    publicKey: publicKey.export({ type: "spki", format: "der" }).subarray(-X25519_BYTES),
    agree: (theirs) => {
      if (theirs.byteLength !== X25519_BYTES) throw new Error("not 32 bytes");
      const key = Buffer.concat([X25519_SPKI, theirs]);
      const their = createPublicKey({ key, type: "spki", format: "der" });
      // Fails for the points that give everybody the same secret, zero.
      return diffieHellman({ privateKey, publicKey: their });
    },
  };
}

const CURVES = {
  "P-256": { curve: "prime256v1", pointBytes: 65 },
  "P-384": { curve: "secp384r1", pointBytes: 97 },
} as const;

const UNCOMPRESSED = 4;
const X25519_BYTES = 32;
/** SubjectPublicKeyInfo of X25519 up to the key itself. */
const X25519_SPKI = Buffer.from("302a300506032b656e032100", "hex");
