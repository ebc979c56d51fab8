import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { describe, test } from "node:test";
import {
  KNOWN_CA,
  KNOWN_MESSAGES,
  KNOWN_RECORDS,
  KNOWN_SECRETS,
} from "../../../test/support/dtls-known-session.ts";
import { assertBytes, hex } from "../../../test/support/hex.ts";
import { helloVerifyRequest, peekClientHello } from "./client-hello-peek.ts";
import { readClientHello } from "./client-hello.ts";
import { CLOSE_NOTIFY } from "./alerts.ts";
import { fragmentsOf, readFragment } from "./fragments.ts";
import { HandshakeKeys } from "./handshake-keys.ts";
import { encodeMessage, type HandshakeMessage } from "./handshake-messages.ts";
import {
  encodeClientHello,
  encodeServerHello,
  judgeClientHello,
  judgeServerHello,
  readCookie,
} from "./hello-messages.ts";
import {
  encodeCertificateRequest,
  encodeCertificates,
  encodeClientShare,
  encodeServerShare,
  readCertificates,
  readClientShare,
  readServerShare,
} from "./key-messages.ts";
import { GROUPS } from "./key-exchange.ts";
import { masterSecret, recordKeys, Transcript, verifyData } from "./key-schedule.ts";
import { subjectOf } from "./own-certificate.ts";
import { RecordCipher } from "./record-cipher.ts";
import { ContentType, decodeRecords, encodeRecord } from "./records.ts";
import { checkSignature } from "./signatures.ts";
import { WireReader } from "./wire.ts";

function message(bytes: Uint8Array): HandshakeMessage {
  const fragment = readFragment(bytes);
  assert.ok(fragment !== undefined && fragment.byteLength === bytes.byteLength);
  return { type: fragment.type, seq: fragment.seq, body: fragment.bytes };
}

function transcript(...messages: readonly Uint8Array[]): Transcript {
  const made = new Transcript();
  for (const bytes of messages) made.add(message(bytes));
  return made;
}

const M = KNOWN_MESSAGES;
const S = KNOWN_SECRETS;
const UP_TO_SHARE = [
  M.clientHello,
  M.serverHello,
  M.serverCertificate,
  M.serverKeyExchange,
  M.certificateRequest,
  M.serverHelloDone,
  M.clientCertificate,
  M.clientKeyExchange,
];
const clientFinished = hex("1400000c000500000000000c b32dc943658be4cc3b0fa29a");
const serverFinished = hex("1400000c000600000000000c 04136084e394f68955fdafbd");
const clientRandom = judgeClientHello(message(M.clientHello).body).random;
const serverRandom = judgeServerHello(message(M.serverHello).body);
const pem = new X509Certificate(KNOWN_CA).toString();

describe("known session of the original", () => {
  test("has messages that we write byte for byte", () => {
    const serverName = "godoxy.agent";
    const random = clientRandom;
    const cookie = readCookie(message(M.helloVerifyRequest).body);
    const none = new Uint8Array(0);
    assertBytes(
      message(M.firstClientHello).body,
      encodeClientHello({ random, cookie: none, serverName }),
    );
    assertBytes(message(M.clientHello).body, encodeClientHello({ random, cookie, serverName }));
    assertBytes(message(M.serverHello).body, encodeServerHello(serverRandom, true));
    assertBytes(message(M.certificateRequest).body, encodeCertificateRequest(subjectOf(pem)));
    for (const bytes of [M.serverCertificate, M.clientCertificate]) {
      const { body } = message(bytes);
      assertBytes(encodeCertificates(readCertificates(body)), body);
      assertBytes(encodeMessage(message(bytes)), bytes);
      assertBytes([...fragmentsOf(message(bytes), 10_000)], bytes);
    }
    const { body } = message(M.serverKeyExchange);
    const { group, publicKey, signed } = readServerShare(new WireReader(body), body, GROUPS);
    assertBytes(encodeServerShare(group, publicKey), signed);
    const share = message(M.clientKeyExchange).body;
    assertBytes(encodeClientShare(readClientShare(share)), share);
  });

  test("has a HelloVerifyRequest that we write byte for byte", () => {
    const datagram = encodeRecord(ContentType.handshake, 0, 5, M.firstClientHello);
    const hello = readClientHello(datagram);
    assert.ok(hello !== undefined);
    assert.equal(hello.recordSeq, 5);
    const peeked = peekClientHello(datagram);
    assert.ok(peeked !== undefined);
    assertBytes(
      helloVerifyRequest(peeked, readCookie(message(M.helloVerifyRequest).body)),
      encodeRecord(ContentType.handshake, 0, 5, M.helloVerifyRequest),
    );
    const second = readClientHello(encodeRecord(ContentType.handshake, 0, 6, M.clientHello));
    assert.ok(second !== undefined);
    assertBytes(second.cookie, readCookie(message(M.helloVerifyRequest).body));
    assert.equal(second.messageSeq, 1);
  });

  test("has both signatures right, and none of them over anything else", () => {
    const { body } = message(M.serverKeyExchange);
    const reader = new WireReader(body);
    const { signed } = readServerShare(reader, body, GROUPS);
    const [server] = readCertificates(message(M.serverCertificate).body);
    const [client] = readCertificates(message(M.clientCertificate).body);
    assert.ok(server !== undefined && client !== undefined);
    const serverKey = new X509Certificate(server).publicKey;
    const clientKey = new X509Certificate(client).publicKey;
    const content = Buffer.concat([clientRandom, serverRandom, signed]);
    checkSignature(reader, "it", serverKey, content);
    const verify = message(M.certificateVerify).body;
    const all = transcript(...UP_TO_SHARE).content();
    checkSignature(new WireReader(verify), "it", clientKey, all);
    for (const [key, wrong] of [
      [serverKey, all],
      [clientKey, content],
    ] as const) {
      assert.throws(() => checkSignature(new WireReader(verify), "it", key, wrong), { alert: 51 });
    }
  });

  test("has keys that we derive", () => {
    const upToShare = transcript(...UP_TO_SHARE);
    assertBytes(upToShare.digest(), S.sessionHash);
    const master = masterSecret(S.premaster, upToShare.digest());
    assertBytes(master, S.master);
    const keys = recordKeys(master, clientRandom, serverRandom);
    const { clientKey, serverKey, clientIv, serverIv } = keys;
    assertBytes([clientKey, serverKey, clientIv, serverIv], S.keyBlock);
    const upToVerify = transcript(...UP_TO_SHARE, M.certificateVerify);
    assertBytes(verifyData(master, "client", upToVerify.digest()), S.clientVerifyData);
    upToVerify.add(message(clientFinished));
    assertBytes(verifyData(master, "server", upToVerify.digest()), S.serverVerifyData);
  });

  test("has Finished messages that pass, and do not pass for each other", () => {
    const exchange = {
      end: "client",
      ephemeral: { publicKey: new Uint8Array(32), agree: () => Uint8Array.from(S.premaster) },
      theirs: new Uint8Array(32),
      clientRandom,
      serverRandom,
      transcript: transcript(...UP_TO_SHARE),
    } as const;
    const keys = new HandshakeKeys(exchange);
    const soFar = transcript(...UP_TO_SHARE, M.certificateVerify);
    keys.check("client", message(clientFinished), soFar);
    assert.throws(() => keys.check("server", message(clientFinished), soFar), { alert: 51 });
    soFar.add(message(clientFinished));
    keys.check("server", message(serverFinished), soFar);
    const short = { ...message(serverFinished), body: S.serverVerifyData.subarray(1) };
    assert.throws(() => keys.check("server", short, soFar), { alert: 51 });
  });

  test("has records that we seal and open byte for byte", () => {
    const header = Buffer.alloc(275);
    header.write("0.1.0");
    header[270] = 1;
    header.set(hex("7d621c75"), 271);
    const keys = (): ReturnType<typeof recordKeys> =>
      recordKeys(S.master, clientRandom, serverRandom);
    const ends = {
      client: new RecordCipher(keys(), "client"),
      server: new RecordCipher(keys(), "server"),
    };
    const records = [
      ["client", "server", ContentType.handshake, 0, clientFinished, KNOWN_RECORDS.clientFinished],
      ["server", "client", ContentType.handshake, 0, serverFinished, KNOWN_RECORDS.serverFinished],
      ["client", "server", ContentType.applicationData, 1, header, KNOWN_RECORDS.clientHeader],
      ["server", "client", ContentType.alert, 1, CLOSE_NOTIFY, KNOWN_RECORDS.serverClose],
      ["client", "server", ContentType.alert, 2, CLOSE_NOTIFY, KNOWN_RECORDS.clientClose],
    ] as const;
    for (const [from, to, type, seq, plaintext, wire] of records) {
      assertBytes(ends[from].seal(type, seq, plaintext), wire);
      const [record] = decodeRecords(wire).records;
      assert.ok(record !== undefined);
      assertBytes(ends[to].open(record) ?? new Uint8Array(0), plaintext);
      assert.equal(ends[from].open(record), undefined);
      assert.equal(ends[to].open({ ...record, seq: seq + 1 }), undefined);
      assert.equal(ends[to].open({ ...record, type: 24 }), undefined);
    }
  });
});
