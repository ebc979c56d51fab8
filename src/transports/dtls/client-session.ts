import type { X509Certificate } from "node:crypto";
import { AlertDescription, DtlsAlert } from "./alerts.ts";
import { Association } from "./association.ts";
import { CertificateVerifier } from "./certificates.ts";
import type { DtlsClientOptions } from "./dtls-options.ts";
import type { DtlsSession, DtlsStep } from "./dtls-step.ts";
import type { FlightPart } from "./flights.ts";
import { expectMessage, HandshakeKeys, helloRandom, wallTime } from "./handshake-keys.ts";
import { type HandshakeMessage, HandshakeType } from "./handshake-messages.ts";
import { encodeClientHello, judgeServerHello, readCookie } from "./hello-messages.ts";
import { GROUPS, makeEphemeral } from "./key-exchange.ts";
import {
  checkCertificateRequest,
  encodeCertificates,
  encodeClientShare,
  readCertificates,
  readServerShare,
} from "./key-messages.ts";
import { Transcript } from "./key-schedule.ts";
import { type OwnCertificate, readOwnCertificate } from "./own-certificate.ts";
import { ContentType } from "./records.ts";
import { checkSignature, encodeSignature, signEcdsa } from "./signatures.ts";
import { WireReader } from "./wire.ts";

/** What is known once the server has said which key exchange it wants. */
interface ServerSide {
  readonly random: Uint8Array;
  readonly share: ReturnType<typeof readServerShare>;
}

/** The dialling end of one DTLS session. `start` gives its first datagram. */
export class DtlsClientSession implements DtlsSession {
  readonly #options: DtlsClientOptions;
  readonly #own: OwnCertificate | undefined;
  readonly #verifier: CertificateVerifier;
  readonly #random: Uint8Array;
  readonly #association: Association;
  readonly #transcript = new Transcript();
  #onMessage: (message: HandshakeMessage, now: number) => void;
  #peerCertificate: X509Certificate | undefined;
  #greeting: Uint8Array | undefined;
  #greetingsLeft = GREETINGS;

  /** @throws ConfigError when certificate, key or CA cannot work */
  constructor(options: DtlsClientOptions, now: number) {
    const { cert, key, ca, pins, serverName, insecure } = options;
    this.#options = options;
    this.#own = cert === undefined || key === undefined ? undefined : readOwnCertificate(cert, key);
    this.#verifier = new CertificateVerifier({
      role: "server",
      ca,
      pins,
      name: serverName,
      insecure,
    });
    this.#random = helloRandom(options);
    this.#onMessage = (message, at) => this.#takeHello(message, at, false);
    const role = {
      peer: "server",
      nextPeerSeq: 0,
      firstSeq: 0,
      firstRecordSeq: 0,
      repeatsFlightOn: [HandshakeType.serverHelloDone],
      onMessage: (message: HandshakeMessage, at: number) => this.#onMessage(message, at),
    } as const;
    this.#association = new Association(role, options, now);
  }

  get isEstablished(): boolean {
    return this.#association.isEstablished;
  }

  get peerCertificate(): X509Certificate | undefined {
    return this.#peerCertificate;
  }

  get deadline(): number | undefined {
    return this.#association.deadline;
  }

  get dropped(): number {
    return this.#association.dropped;
  }

  /** The first flight. Once, before anything else. */
  start(now: number): DtlsStep {
    return this.#association.step(() => this.#sendHello(new Uint8Array(0), now));
  }

  receive(datagram: Uint8Array, now: number): DtlsStep {
    return this.#association.receive(datagram, now);
  }

  send(data: Uint8Array, _now: number): DtlsStep {
    const repeats = this.#greetingsLeft > 0 && !this.#association.hasHeard;
    const step = this.#association.send(data, repeats ? this.#greeting : undefined);
    this.#greetingsLeft -= 1;
    return step;
  }

  tick(now: number): DtlsStep {
    return this.#association.tick(now);
  }

  close(_now: number): DtlsStep {
    return this.#association.close();
  }

  #sendHello(cookie: Uint8Array, now: number): void {
    const { serverName, groups } = this.#options;
    const body = encodeClientHello({ random: this.#random, cookie, serverName, groups });
    const message = this.#association.message(HandshakeType.clientHello, body);
    this.#transcript.clear();
    this.#transcript.add(message);
    this.#association.sendFlight([{ type: "message", message, epoch: 0 }], now);
  }

  #takeHello(message: HandshakeMessage, now: number, hasCookie: boolean): void {
    if (message.type === HandshakeType.helloVerifyRequest && !hasCookie) {
      this.#onMessage = (next, at) => this.#takeHello(next, at, true);
      this.#sendHello(readCookie(message.body), now);
      return;
    }
    expectMessage(message, HandshakeType.serverHello, "server");
    this.#transcript.add(message);
    const random = judgeServerHello(message.body);
    this.#onMessage = (next) => this.#takeCertificate(next, random);
  }

  #takeCertificate(message: HandshakeMessage, random: Uint8Array): void {
    expectMessage(message, HandshakeType.certificate, "server");
    this.#transcript.add(message);
    const certificate = this.#verifier.verify(
      readCertificates(message.body),
      wallTime(this.#options),
    );
    this.#onMessage = (next) => this.#takeShare(next, random, certificate);
  }

  #takeShare(message: HandshakeMessage, random: Uint8Array, certificate: X509Certificate): void {
    expectMessage(message, HandshakeType.serverKeyExchange, "server");
    this.#transcript.add(message);
    const reader = new WireReader(message.body);
    const share = readServerShare(reader, message.body, this.#options.groups ?? GROUPS);
    const content = Buffer.concat([this.#random, random, share.signed]);
    checkSignature(reader, "the server's key exchange", certificate.publicKey, content);
    this.#peerCertificate = certificate;
    this.#onMessage = (next, now) => this.#takeRequest(next, now, { random, share });
  }

  #takeRequest(message: HandshakeMessage, now: number, server: ServerSide): void {
    if (message.type !== HandshakeType.certificateRequest) {
      this.#takeDone(message, now, server, false);
      return;
    }
    this.#transcript.add(message);
    checkCertificateRequest(message.body);
    this.#onMessage = (next, at) => this.#takeDone(next, at, server, true);
  }

  #takeDone(message: HandshakeMessage, now: number, server: ServerSide, isAsked: boolean): void {
    expectMessage(message, HandshakeType.serverHelloDone, "server");
    if (message.body.byteLength > 0) {
      throw new DtlsAlert(AlertDescription.decodeError, "ServerHelloDone is not empty");
    }
    this.#transcript.add(message);
    const flight: FlightPart[] = [];
    const chain = this.#own?.chain ?? [];
    if (isAsked) flight.push(this.#part(HandshakeType.certificate, encodeCertificates(chain)));
    const { ephemeral: make = makeEphemeral, sign = signEcdsa, greeting } = this.#options;
    const ephemeral = make(server.share.group);
    const share = encodeClientShare(ephemeral.publicKey);
    flight.push(this.#part(HandshakeType.clientKeyExchange, share));
    const keys = new HandshakeKeys({
      end: "client",
      ephemeral,
      theirs: server.share.publicKey,
      clientRandom: this.#random,
      serverRandom: server.random,
      transcript: this.#transcript,
    });
    if (isAsked && this.#own !== undefined) {
      const signature = sign(this.#transcript.content(), this.#own.key);
      flight.push(this.#part(HandshakeType.certificateVerify, encodeSignature(signature)));
    }
    flight.push({ type: "changeCipherSpec" });
    flight.push(this.#part(HandshakeType.finished, keys.finished("client", this.#transcript), 1));
    if (greeting !== undefined) {
      flight.push({ type: "record", bytes: () => this.#greetingRecord(greeting) });
    }
    this.#association.useKeys(keys.cipher);
    this.#onMessage = (next) => this.#takeFinished(next, keys);
    this.#association.sendFlight(flight, now);
  }

  #takeFinished(message: HandshakeMessage, keys: HandshakeKeys): void {
    expectMessage(message, HandshakeType.finished, "server");
    keys.check("server", message, this.#transcript);
    keys.wipe();
    this.#transcript.clear();
    this.#association.establish();
  }

  /** A message of ours, which is part of the transcript from now on. */
  #part(type: number, body: Uint8Array, epoch: 0 | 1 = 0): FlightPart {
    const message = this.#association.message(type, body);
    this.#transcript.add(message);
    return { type: "message", message, epoch };
  }

  /** Sealed once: whoever has had it drops the copies as replays. */
  #greetingRecord(greeting: Uint8Array): Uint8Array {
    this.#greeting ??= this.#association.layer.write(ContentType.applicationData, 1, greeting);
    return this.#greeting;
  }
}

/** Datagrams that carry the greeting once more. */
const GREETINGS = 4;
