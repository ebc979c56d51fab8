import assert from "node:assert/strict";
import { createCipheriv, createHash } from "node:crypto";
import { describe, test } from "node:test";
import {
  masterSecret,
  recordKeys,
  Transcript,
  verifyData,
} from "../../src/transports/dtls/key-schedule.ts";
import { RecordCipher } from "../../src/transports/dtls/record-cipher.ts";
import { decodeRecords } from "../../src/transports/dtls/records.ts";
import { assertBytes } from "../support/hex.ts";
import { handshakeOf, Message, messageOf, shareOf } from "./dtls-messages.ts";
import { recordedEphemeral } from "./dtls-recorded-keys.ts";
import {
  type Datagram,
  type DtlsKeys,
  dtlsScenarios,
  type DtlsTranscript,
  type End,
  type PlainRecord,
  readDtlsTranscript,
} from "./dtls-transcript.ts";

/** Records whose sender does not count its nonces: OpenSSL begins with a random one. */
const OTHER_NONCES: Readonly<Record<string, number>> = {
  "udp-openssl-client client": 4,
  "udp-openssl-client-p256 client": 4,
  "udp-openssl-server server": 4,
};

/** Records a probe made up. */
const GARBAGE: Readonly<Record<string, number>> = { "udp-record-filtering client": 1 };

/** Connections refused before they had keys, and one that ended with the ClientHello. */
const UNKEYED = ["udp-cookie 2", "udp-cookie 3", "udp-cookie 4"].concat(
  [1, 2, 3, 4].map((conn) => `udp-negotiation-refused ${conn}`),
);

describe("dtls golden keys", () => {
  const unkeyed = new Set<string>();
  const otherNonces: Record<string, number> = {};
  const garbage: Record<string, number> = {};

  for (const name of dtlsScenarios()) {
    const transcript = readDtlsTranscript(name);
    for (const conn of new Set(transcript.datagrams.map((datagram) => datagram.conn))) {
      const keys = transcript.keys.get(conn);
      if (keys === undefined) {
        unkeyed.add(`${name} ${conn}`);
        continue;
      }
      test(`computes every secret of ${name}, connection ${conn}`, () => {
        checkSecrets(transcript, conn, keys);
      });
      test(`opens and seals every record of ${name}, connection ${conn}`, () => {
        for (const datagram of transcript.datagrams) {
          if (datagram.conn !== conn || datagram.fate !== undefined) continue;
          const side = `${name} ${datagram.from}`;
          const counts = checkRecords(datagram, keys);
          if (counts.otherNonces > 0) {
            otherNonces[side] = (otherNonces[side] ?? 0) + counts.otherNonces;
          }
          if (counts.garbage > 0) garbage[side] = (garbage[side] ?? 0) + counts.garbage;
        }
      });
    }
  }

  test("met what is not like the rest, and nothing else", () => {
    assert.deepEqual(otherNonces, OTHER_NONCES);
    assert.deepEqual(garbage, GARBAGE);
    assert.deepEqual([...unkeyed], UNKEYED);
  });
});

function checkSecrets({ datagrams }: DtlsTranscript, conn: number, keys: DtlsKeys): void {
  const messages = handshakeOf(datagrams, conn);
  const transcript = new Transcript();
  const hashes = new Map<number, Uint8Array>();
  for (const message of messages) {
    if (message.type === Message.finished && !hashes.has(0)) hashes.set(0, transcript.digest());
    transcript.add(message);
    hashes.set(message.type, transcript.digest());
    if (message.type === Message.finished && message.from === "client") break;
  }
  const { clientRandom, serverRandom, masterSecret: master } = keys;
  assertBytes(hashes.get(Message.clientKeyExchange) ?? [], keys.sessionHash, "session hash");
  assertBytes(hashes.get(0) ?? [], keys.hashBeforeClientFinished, "hash before Finished");
  for (const [end, theirs, type] of SHARES) {
    const share = messageOf(messages, theirs, type);
    const own = recordedEphemeral(keys, end, messages);
    if (own === undefined || share === undefined) continue;
    assertBytes(own.agree(shareOf(share)), keys.premaster, `premaster of the ${end}`);
  }
  assertBytes(masterSecret(keys.premaster, keys.sessionHash), master, "master secret");
  const { clientKey, serverKey, clientIv, serverIv } = recordKeys(
    master,
    clientRandom,
    serverRandom,
  );
  assertBytes([clientKey, serverKey, clientIv, serverIv], keys.keyBlock, "key block");
  const ours = verifyData(master, "client", keys.hashBeforeClientFinished);
  assertBytes(ours, keys.verifyData.client, "client's Finished");
  const theirs = verifyData(master, "server", transcript.digest());
  assertBytes(theirs, keys.verifyData.server, "server's Finished");
  for (const { from, type, body } of messages) {
    if (type === Message.finished)
      assertBytes(body, keys.verifyData[from], `${from}'s on the wire`);
  }
}

/** @returns how many records have nonces of another kind, and how many are nobody's */
function checkRecords(
  { from, bytes, sha256, records }: Datagram,
  keys: DtlsKeys,
): { otherNonces: number; garbage: number } {
  const counts = { otherNonces: 0, garbage: 0 };
  const { masterSecret: master, clientRandom, serverRandom } = keys;
  const secrets = recordKeys(master, clientRandom, serverRandom);
  const sender = new RecordCipher(secrets, from);
  const receiver = new RecordCipher(secrets, from === "client" ? "server" : "client");
  if (sha256 !== undefined) {
    const [record] = records;
    assert.ok(record !== undefined && records.length === 1);
    const sealed = sender.seal(record.type, record.seq, record.plaintext);
    assertBytes(sealed.subarray(0, bytes.byteLength), bytes);
    assert.equal(createHash("sha256").update(sealed).digest("hex"), sha256);
    return counts;
  }
  const decoded = decodeRecords(bytes);
  for (const [index, record] of decoded.records.entries()) {
    const plain = records[index];
    if (record.epoch === 0) continue;
    const opened = receiver.open(record);
    if (plain === undefined || plain.isGarbage) {
      assert.equal(opened, undefined);
      counts.garbage++;
      continue;
    }
    assertBytes(opened ?? [], plain.plaintext);
    const nonce = record.payload.subarray(0, 8);
    const sealed = sender.seal(plain.type, plain.seq, plain.plaintext).subarray(13);
    if (Buffer.compare(nonce, sealed.subarray(0, 8)) === 0) {
      assertBytes(sealed, record.payload);
    } else {
      counts.otherNonces++;
      assertBytes(
        sealWith(secrets[`${from}Key`], secrets[`${from}Iv`], nonce, plain),
        record.payload,
      );
    }
  }
  return counts;
}

/** AES-128-GCM of RFC 5288 with a nonce of somebody else's. */
function sealWith(
  key: Uint8Array,
  iv: Uint8Array,
  nonce: Uint8Array,
  { type, epoch, seq, plaintext }: PlainRecord,
): Uint8Array {
  const head = Buffer.alloc(13);
  head.writeUInt16BE(epoch, 0);
  head.writeUIntBE(seq, 2, 6);
  head.set([type, 0xfe, 0xfd], 8);
  head.writeUInt16BE(plaintext.byteLength, 11);
  const cipher = createCipheriv("aes-128-gcm", key, Buffer.concat([iv, nonce]));
  cipher.setAAD(head);
  return Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

const SHARES: readonly (readonly [End, End, number])[] = [
  ["client", "server", Message.serverKeyExchange],
  ["server", "client", Message.clientKeyExchange],
];
