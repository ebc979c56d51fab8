/** One place where our end does not do what the original did. */
export interface Deviation {
  readonly why: string;
  /** Turns the recorded datagrams into those we must send. */
  readonly apply: (recorded: readonly Uint8Array[]) => readonly Uint8Array[];
}

const unknownCa: Deviation = {
  why: "a certificate of another CA is told from other bad ones, with alert 48 for 42 (RFC 5246, 7.2.2)",
  apply: (recorded) => recorded.map((bytes) => withAlert(bytes, 42, 48)),
};

const unsupportedCertificate: Deviation = {
  why: "so is one for another use, with alert 43",
  apply: (recorded) => recorded.map((bytes) => withAlert(bytes, 42, 43)),
};

const wrongCookie: Deviation = {
  why:
    "a wrong cookie counts as none (RFC 6347, 4.2.1), so that a secret can be replaced and a listener " +
    "restarted: another request answers, not alert 49; each has the numbers of its ClientHello",
  apply: ([, , last = EMPTY]) => [
    numbered(last, { record: 0, message: 0 }),
    numbered(last, { record: 1, message: 1 }),
    numbered(last, { record: 2, message: 0 }),
  ],
};

const unknownAddress: Deviation = {
  why: "an address nobody asked for a cookie is asked, where the original says nothing ever again",
  apply: () => [
    numbered(ASKED, { record: 1, message: 1 }),
    numbered(ASKED, { record: 2, message: 0 }),
    numbered(ASKED, { record: 3, message: 0 }),
  ],
};

const everyHelloAnswered: Deviation = {
  why: "nothing is kept before the cookie, so a ClientHello that comes twice is answered twice",
  apply: ([first = EMPTY, ...rest]) => [first, first, ...rest],
};

const numbersOfHello: Deviation = {
  why: "answers to ClientHellos have the record number of theirs (RFC 6347, 4.2.1), here one more",
  apply: (recorded) => recorded.map(renumbered),
};

/** Every such place, by scenario, connection and end. The rest is compared byte for byte. */
export const DEVIATIONS: Readonly<Record<string, Deviation | undefined>> = {
  "udp-client-certificate-rejected 2 server": unknownCa,
  "udp-client-certificate-rejected 3 server": unsupportedCertificate,
  "udp-cookie 2 server": wrongCookie,
  "udp-cookie 4 server": unknownAddress,
  "udp-duplicates-and-reorder 1 server": everyHelloAnswered,
  "udp-loss-first-clienthello 1 server": numbersOfHello,
};

/** A datagram that is a plain fatal alert, with another description. */
function withAlert(bytes: Uint8Array, from: number, to: number): Uint8Array {
  const isAlert = bytes[0] === 21 && bytes.byteLength === 15 && bytes[14] === from;
  return isAlert ? Uint8Array.from(bytes).fill(to, 14) : bytes;
}

/** A plain record with one message, with other numbers. */
function numbered(
  bytes: Uint8Array,
  { record, message }: { readonly record: number; readonly message: number },
): Uint8Array {
  const changed = Buffer.from(bytes);
  changed.writeUIntBE(record, 5, 6);
  changed.writeUInt16BE(message, 17);
  return changed;
}

/** All plain records of a datagram with numbers one higher. */
function renumbered(bytes: Uint8Array): Uint8Array {
  const changed = Buffer.from(bytes);
  for (let at = 0; at < changed.byteLength; at += 13 + changed.readUInt16BE(at + 11)) {
    const isPlain = changed.readUInt16BE(at + 3) === 0;
    if (isPlain) changed.writeUIntBE(changed.readUIntBE(at + 5, 6) + 1, at + 5, 6);
  }
  return changed;
}

const EMPTY = new Uint8Array(0);

/** A HelloVerifyRequest whose cookie is all zeros. */
const ASKED = Buffer.concat([
  Buffer.from("16fefd00000000000000000023030000170000000000000017fefd14", "hex"),
  Buffer.alloc(20),
]);
