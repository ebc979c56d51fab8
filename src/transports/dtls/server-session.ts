import type { X509Certificate } from "node:crypto";
import { AlertDescription, DtlsAlert } from "./alerts.ts";
import { Association } from "./association.ts";
import { CertificateVerifier } from "./certificates.ts";
import type { ReceivedClientHello } from "./client-hello.ts";
import type { DtlsServerOptions, EphemeralKeys } from "./dtls-options.ts";
import type { DtlsSession, DtlsStep } from "./dtls-step.ts";
import type { FlightPart } from "./flights.ts";
import { expectMessage, HandshakeKeys, helloRandom, wallTime } from "./handshake-keys.ts";
import { type HandshakeMessage, HandshakeType } from "./handshake-messages.ts";
import { encodeServerHello, judgeClientHello } from "./hello-messages.ts";
import { makeEphemeral } from "./key-exchange.ts";
import {
  encodeCertificateRequest,
  encodeCertificates,
  encodeServerShare,
  readCertificates,
  readClientShare,
} from "./key-messages.ts";
import { Transcript } from "./key-schedule.ts";
import { type OwnCertificate, readOwnCertificate, subjectOf } from "./own-certificate.ts";
import { checkSignature, encodeSignature, signEcdsa } from "./signatures.ts";
import { WireReader } from "./wire.ts";

/** Our half of the key exchange, and both randoms. */
interface Exchange {
  readonly ephemeral: EphemeralKeys;
  readonly clientRandom: Uint8Array;
  readonly serverRandom: Uint8Array;
}

/**
 * The listening end of one DTLS session, for a ClientHello whose cookie was verified. `start` gives
 * the answer to it. Later datagrams of that address belong to `receive`, repeated hellos included.
 */
export class DtlsServerSession implements DtlsSession {
  readonly #options: DtlsServerOptions;
  readonly #own: OwnCertificate;
  readonly #verifier: CertificateVerifier | undefined;
  readonly #hello: ReceivedClientHello;
  readonly #association: Association;
  readonly #transcript = new Transcript();
  #onMessage: (message: HandshakeMessage, now: number) => void = () => {};
  #peerCertificate: X509Certificate | undefined;

  /** @throws ConfigError when certificate, key or CA cannot work */
  constructor(options: DtlsServerOptions, hello: ReceivedClientHello, now: number) {
    const { cert, key, ca, pins } = options;
    this.#options = options;
    this.#own = readOwnCertificate(cert, key);
    const asks = ca !== undefined || pins !== undefined;
    this.#verifier = asks ? new CertificateVerifier({ role: "client", ca, pins }) : undefined;
    this.#hello = { ...hello, body: Uint8Array.from(hello.body) };
    const role = {
      peer: "client",
      nextPeerSeq: hello.messageSeq + 1,
      // As if the HelloVerifyRequest, of which no state is kept, had been ours: RFC 6347, 4.2.2.
      firstSeq: hello.messageSeq,
      firstRecordSeq: hello.recordSeq,
      repeatsFlightOn: [HandshakeType.clientHello, HandshakeType.finished],
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

  /** The answer to the ClientHello: our flight, or an alert and the end. Once, before anything else. */
  start(now: number): DtlsStep {
    return this.#association.step(() => this.#answerHello(now));
  }

  receive(datagram: Uint8Array, now: number): DtlsStep {
    return this.#association.receive(datagram, now);
  }

  send(data: Uint8Array, _now: number): DtlsStep {
    return this.#association.send(data);
  }

  tick(now: number): DtlsStep {
    return this.#association.tick(now);
  }

  close(_now: number): DtlsStep {
    return this.#association.close();
  }

  #answerHello(now: number): void {
    const { body, messageSeq } = this.#hello;
    const offer = judgeClientHello(body, this.#options.groups);
    this.#transcript.add({ type: HandshakeType.clientHello, seq: messageSeq, body });
    const { ephemeral: make = makeEphemeral, sign = signEcdsa, ca } = this.#options;
    const ephemeral = make(offer.group);
    const serverRandom = helloRandom(this.#options);
    const share = encodeServerShare(offer.group, ephemeral.publicKey);
    const signed = Buffer.concat([offer.random, serverRandom, share]);
    const signature = encodeSignature(sign(signed, this.#own.key));
    const flight = [
      this.#part(
        HandshakeType.serverHello,
        encodeServerHello(serverRandom, offer.asksRenegotiation),
      ),
      this.#part(HandshakeType.certificate, encodeCertificates(this.#own.chain)),
      this.#part(HandshakeType.serverKeyExchange, Buffer.concat([share, signature])),
    ];
    const exchange = { ephemeral, clientRandom: offer.random, serverRandom };
    const verifier = this.#verifier;
    if (verifier === undefined) {
      this.#onMessage = (message) => this.#takeShare(message, exchange, undefined);
    } else {
      const request = encodeCertificateRequest(ca === undefined ? undefined : subjectOf(ca));
      flight.push(this.#part(HandshakeType.certificateRequest, request));
      this.#onMessage = (message) => this.#takeCertificate(message, exchange, verifier);
    }
    flight.push(this.#part(HandshakeType.serverHelloDone, new Uint8Array(0)));
    this.#association.sendFlight(flight, now);
  }

  #takeCertificate(
    message: HandshakeMessage,
    exchange: Exchange,
    verifier: CertificateVerifier,
  ): void {
    expectMessage(message, HandshakeType.certificate, "client");
    this.#transcript.add(message);
    const chain = readCertificates(message.body);
    if (chain.length === 0) {
      // QUIRK(pion): alert 41, of SSL 3, where RFC 5246 says 40.
      throw new DtlsAlert(AlertDescription.noCertificate, "the client shows no certificate", {
        hint: "give the client cert= and key=, signed by our ca=",
      });
    }
    const certificate = verifier.verify(chain, wallTime(this.#options));
    this.#onMessage = (next) => this.#takeShare(next, exchange, certificate);
  }

  #takeShare(
    message: HandshakeMessage,
    exchange: Exchange,
    certificate: X509Certificate | undefined,
  ): void {
    expectMessage(message, HandshakeType.clientKeyExchange, "client");
    this.#transcript.add(message);
    const theirs = readClientShare(message.body);
    const transcript = this.#transcript;
    const keys = new HandshakeKeys({ end: "server", ...exchange, theirs, transcript });
    this.#association.useKeys(keys.cipher);
    this.#onMessage =
      certificate === undefined
        ? (next, now) => this.#takeFinished(next, now, keys)
        : (next) => this.#takeVerify(next, keys, certificate);
  }

  #takeVerify(message: HandshakeMessage, keys: HandshakeKeys, certificate: X509Certificate): void {
    expectMessage(message, HandshakeType.certificateVerify, "client");
    const content = this.#transcript.content();
    const reader = new WireReader(message.body);
    checkSignature(reader, "the client's CertificateVerify", certificate.publicKey, content);
    this.#transcript.add(message);
    this.#peerCertificate = certificate;
    this.#onMessage = (next, now) => this.#takeFinished(next, now, keys);
  }

  #takeFinished(message: HandshakeMessage, now: number, keys: HandshakeKeys): void {
    expectMessage(message, HandshakeType.finished, "client");
    // DEVIATION(pion): its server does not look at the content.
    keys.check("client", message, this.#transcript);
    this.#transcript.add(message);
    const finished = keys.finished("server", this.#transcript);
    const flight = [
      { type: "changeCipherSpec" } as const,
      this.#part(HandshakeType.finished, finished, 1),
    ];
    keys.wipe();
    this.#transcript.clear();
    this.#association.sendFlight(flight, now);
    this.#association.establish();
  }

  /** A message of ours, which is part of the transcript from now on. */
  #part(type: number, body: Uint8Array, epoch: 0 | 1 = 0): FlightPart {
    const message = this.#association.message(type, body);
    this.#transcript.add(message);
    return { type: "message", message, epoch };
  }
}
