import assert from "node:assert/strict";
import { X509Certificate, type KeyObject, verify } from "node:crypto";
import {
  helloVerifyRequest,
  peekClientHello,
} from "../../src/transports/dtls/client-hello-peek.ts";
import { readClientHello } from "../../src/transports/dtls/client-hello.ts";
import { DtlsClientSession } from "../../src/transports/dtls/client-session.ts";
import type { DtlsEndOptions } from "../../src/transports/dtls/dtls-options.ts";
import type { DtlsSession, DtlsStep } from "../../src/transports/dtls/dtls-step.ts";
import { recordKeys } from "../../src/transports/dtls/key-schedule.ts";
import { RecordCipher } from "../../src/transports/dtls/record-cipher.ts";
import { DtlsServerSession } from "../../src/transports/dtls/server-session.ts";
import { HANDSHAKE, handshakeOf, Message, messageOf, signatureOf } from "./dtls-messages.ts";
import { recordedEphemeral } from "./dtls-recorded-keys.ts";
import {
  CAPTURED_AT,
  type Datagram,
  type DtlsKeys,
  type DtlsTranscript,
  type End,
  recordedPem,
} from "./dtls-transcript.ts";

/** What our end did when it took the part of a recorded one. */
export interface Played {
  /** Every datagram it sent, in order. */
  readonly sent: readonly Uint8Array[];
  /** Every application record it handed on. */
  readonly heard: readonly Uint8Array[];
  /** The name of its end, or the code of its error. */
  readonly end: string | undefined;
}

/** What the recorded end sent, as it sent it: without the copies the tap made of it. */
export function sentBy(transcript: DtlsTranscript, conn: number, end: End): Datagram[] {
  return transcript.datagrams.filter(
    ({ conn: of, from, fate }) =>
      of === conn && from === end && fate !== "duplicated" && fate !== "delivered",
  );
}

/** The application records that reached an end before it said goodbye, each once. */
export function toldTo(transcript: DtlsTranscript, conn: number, end: End): Uint8Array[] {
  const told = new Map<number, Uint8Array>();
  for (const { conn: of, from, fate, records } of transcript.datagrams) {
    if (of !== conn) continue;
    if (from === end && records.some(({ type }) => type === ALERT)) break;
    if (from === end || fate === "dropped" || fate === "held") continue;
    for (const { type, epoch, seq, plaintext, isGarbage } of records) {
      const isData = type === APPLICATION_DATA && epoch === 1 && !isGarbage;
      if (isData && !told.has(seq)) told.set(seq, plaintext);
    }
  }
  return [...told.values()];
}

/** Takes the part of one end of a recorded connection, with its random, its keys, and its signature. */
export function play(transcript: DtlsTranscript, conn: number, end: End): Played {
  const player = new Player(transcript, conn, end);
  for (const datagram of transcript.datagrams) {
    if (datagram.conn !== conn) continue;
    player.waitUntil(datagram.at);
    if (datagram.from !== end) player.hear(datagram);
    else player.say(datagram);
  }
  return player;
}

class Player implements Played {
  readonly sent: Uint8Array[] = [];
  readonly heard: Uint8Array[] = [];
  end: string | undefined;
  #session: DtlsSession | undefined;
  #now = 0;
  readonly #options: DtlsEndOptions;
  readonly #end: End;
  /** What the recorded server asked for last; nobody's, where it asked others only. */
  readonly #cookie: Uint8Array;
  readonly #wantsCookies: boolean;
  readonly #keys: DtlsKeys | undefined;

  constructor(transcript: DtlsTranscript, conn: number, end: End) {
    this.#end = end;
    this.#options = seams(transcript, conn, end);
    const cookies = cookiesOf(transcript);
    this.#cookie = cookies.findLast((asked) => asked.conn === conn)?.cookie ?? NO_COOKIE;
    this.#wantsCookies = cookies.length > 0;
    this.#keys = transcript.keys.get(conn);
  }

  waitUntil(at: number): void {
    for (;;) {
      const { deadline } = this.#session ?? {};
      if (deadline === undefined || deadline > at) break;
      this.#now = deadline;
      this.#apply(this.#session?.tick(deadline));
    }
    this.#now = at;
  }

  /** What the other end said arrives, unless the tap kept it. */
  hear(datagram: Datagram): void {
    if (datagram.fate === "dropped" || datagram.fate === "held") return;
    const bytes = datagram.sha256 === undefined ? datagram.bytes : this.#sealed(datagram);
    if (this.#session === undefined) this.#greet(bytes);
    else this.#apply(this.#session.receive(bytes, this.#now));
  }

  /** What the recorded end said of its own accord is ours to say; the rest our end says by itself. */
  say({ records, fate }: Datagram): void {
    if (fate === "duplicated" || fate === "delivered") return;
    if (this.#end === "client" && this.#session === undefined) {
      const session = new DtlsClientSession(
        { ...this.#options, serverName: "godoxy.agent" },
        this.#now,
      );
      this.#session = session;
      this.#apply(session.start(this.#now));
      return;
    }
    for (const { type, epoch, plaintext } of records) {
      if (epoch === 0 || this.end !== undefined || this.#session?.isEstablished !== true) continue;
      if (type === APPLICATION_DATA) this.#apply(this.#session.send(plaintext, this.#now));
      if (type === ALERT) this.#apply(this.#session.close(this.#now));
    }
  }

  /** A ClientHello to a server without a session: the listener's part. */
  #greet(bytes: Uint8Array): void {
    const hello = peekClientHello(bytes);
    if (hello === undefined) return;
    if (this.#wantsCookies && Buffer.compare(hello.cookie, this.#cookie) !== 0) {
      this.sent.push(helloVerifyRequest(hello, this.#cookie));
      return;
    }
    const { cert, key } = this.#options;
    const whole = readClientHello(bytes);
    assert.ok(whole !== undefined && cert !== undefined && key !== undefined);
    const session = new DtlsServerSession({ ...this.#options, cert, key }, whole, this.#now);
    this.#session = session;
    this.#apply(session.start(this.#now));
  }

  /** An elided datagram, as its sender made it. */
  #sealed({ records: [record], from }: Datagram): Uint8Array {
    assert.ok(record !== undefined && this.#keys !== undefined);
    const { masterSecret: master, clientRandom, serverRandom } = this.#keys;
    const cipher = new RecordCipher(recordKeys(master, clientRandom, serverRandom), from);
    return cipher.seal(record.type, record.seq, record.plaintext);
  }

  #apply(step: DtlsStep | undefined): void {
    if (step === undefined) return;
    this.sent.push(...step.datagrams.map((bytes) => Uint8Array.from(bytes)));
    this.heard.push(...step.data.map((bytes) => Uint8Array.from(bytes)));
    if (step.end !== undefined) this.end = step.end === "closed" ? "closed" : step.end.code;
  }
}

/** Everything our end would make up itself. */
function seams(transcript: DtlsTranscript, conn: number, end: End): DtlsEndOptions {
  const keys = transcript.keys.get(conn);
  const messages = handshakeOf(transcript.datagrams, conn);
  const type = end === "client" ? Message.certificateVerify : Message.serverKeyExchange;
  const signed = messageOf(messages, end, type);
  const ephemeral = keys && recordedEphemeral(keys, end, messages);
  const cert = recordedPem("agent-a", `${end}.pem`);
  const publicKey = new X509Certificate(cert).publicKey;
  return {
    cert,
    key: recordedPem("agent-a", `${end}.key`),
    ca: recordedPem("agent-a", "ca.pem"),
    unixMs: () => CAPTURED_AT,
    random: (byteLength) => {
      const random = keys?.[`${end}Random`];
      return random !== undefined && byteLength === random.byteLength
        ? Uint8Array.from(random)
        : new Uint8Array(byteLength);
    },
    ...(ephemeral === undefined ? {} : { ephemeral: () => ephemeral }),
    ...(signed === undefined ? {} : { sign: (content) => resign(content, signed, publicKey) }),
  };
}

/** The recorded signature, which must be one of what we want to sign. */
function resign(
  content: Uint8Array,
  signed: Parameters<typeof signatureOf>[0],
  publicKey: KeyObject,
): Uint8Array {
  const signature = signatureOf(signed);
  assert.ok(verify("sha256", content, publicKey, signature), "we would sign something else");
  return signature;
}

/** The cookies of all HelloVerifyRequests. */
function cookiesOf({ datagrams }: DtlsTranscript): { conn: number; cookie: Uint8Array }[] {
  return datagrams.flatMap(({ conn, from, records: [record] }) => {
    const { type, epoch, plaintext } = record ?? {};
    if (from !== "server" || epoch !== 0 || type !== HANDSHAKE || plaintext === undefined)
      return [];
    if (plaintext[0] !== Message.helloVerifyRequest) return [];
    return [{ conn, cookie: plaintext.subarray(COOKIE_AT) }];
  });
}

const ALERT = 21;
const APPLICATION_DATA = 23;

/** A message's header, the version, and the length of the cookie. */
const COOKIE_AT = 12 + 3;

/** What a listener says that asked nobody at that address. */
const NO_COOKIE = new Uint8Array(20);
