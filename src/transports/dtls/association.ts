import { MisuseError, NetworkError, toTunnelError, TunnelError } from "../../errors.ts";
import {
  AlertDescription,
  AlertLevel,
  CLOSE_NOTIFY,
  decodeAlert,
  describeAlert,
  encodeFatal,
} from "./alerts.ts";
import type { DtlsEndOptions } from "./dtls-options.ts";
import type { DtlsStep } from "./dtls-step.ts";
import { datagramsOf, type FlightPart } from "./flights.ts";
import { type Fragment, isLast, readFragment, Reassembler } from "./fragments.ts";
import { type HandshakeMessage, HandshakeType } from "./handshake-messages.ts";
import { EarlyRecords } from "./early-records.ts";
import type { RecordCipher } from "./record-cipher.ts";
import { RecordLayer } from "./record-layer.ts";
import { ContentType, decodeRecords, type DtlsRecord, MAX_PLAINTEXT_BYTES } from "./records.ts";
import { Retransmission } from "./retransmission.ts";

/** What the two roles do differently. */
export interface AssociationRole {
  /** Who the other end is, in messages. */
  readonly peer: "client" | "server";
  /** Number of the peer's first handshake message that is to come. */
  readonly nextPeerSeq: number;
  /** Number of our first handshake message. */
  readonly firstSeq: number;
  /** Number of our first record. */
  readonly firstRecordSeq: number;
  /** Messages whose repetition says that our answer to them was lost. */
  readonly repeatsFlightOn: readonly number[];
  /**
   * A message of the handshake, whole and in order.
   *
   * @throws TunnelError with the `alert` that the peer is told
   */
  onMessage(message: HandshakeMessage, now: number): void;
}

/**
 * What both roles share: records, order, flights and their repetition, alerts, and application
 * records. In epoch 0 nothing is authentic, so after the handshake nothing of it is looked at.
 */
export class Association {
  readonly layer: RecordLayer;
  readonly #role: AssociationRole;
  readonly #mtuBytes: number;
  readonly #endsAt: number;
  readonly #reassembler: Reassembler;
  readonly #retransmission: Retransmission;
  readonly #early = new EarlyRecords();
  #flight: readonly FlightPart[] = [];
  #nextSeq: number;
  #state: "handshaking" | "established" | "ended" = "handshaking";
  /** Epoch of what we write: 1 once our ChangeCipherSpec has left. */
  #writeEpoch: 0 | 1 = 0;
  #dropped = 0;
  #hasHeard = false;
  #datagrams: Uint8Array[] = [];
  #data: Uint8Array[] = [];
  #isNewlyEstablished = false;
  #end: DtlsStep["end"];

  constructor(role: AssociationRole, options: DtlsEndOptions, now: number) {
    this.#role = role;
    this.#mtuBytes = Math.max(MIN_MTU_BYTES, options.mtuBytes ?? DEFAULT_MTU_BYTES);
    this.#endsAt = now + (options.handshakeTimeoutMs ?? DEFAULT_HANDSHAKE_TIMEOUT_MS);
    this.#nextSeq = role.firstSeq;
    this.layer = new RecordLayer(role.firstRecordSeq);
    this.#reassembler = new Reassembler(role.nextPeerSeq);
    this.#retransmission = new Retransmission(this.#endsAt);
  }

  get isEstablished(): boolean {
    return this.#state === "established";
  }

  get mtuBytes(): number {
    return this.#mtuBytes;
  }

  /** Whether the peer sent an application record. */
  get hasHeard(): boolean {
    return this.#hasHeard;
  }

  get dropped(): number {
    return this.#dropped;
  }

  get deadline(): number | undefined {
    if (this.#state !== "handshaking") return undefined;
    return Math.min(this.#endsAt, this.#retransmission.next ?? this.#endsAt);
  }

  /** Runs `work`; what it throws ends the session, the peer being told. */
  step(work: () => void): DtlsStep {
    if (this.#state === "ended") return NOTHING;
    try {
      work();
    } catch (thrown) {
      const error = toTunnelError(thrown, "ERR_TLS", "dtls: handshake failed");
      this.#sendAlert(encodeFatal(alertOf(error)));
      this.#finish(error);
    }
    return this.#take();
  }

  receive(datagram: Uint8Array, now: number): DtlsStep {
    return this.step(() => {
      const { records, isMalformed } = decodeRecords(datagram);
      if (isMalformed) this.#dropped += 1;
      for (const record of records) {
        this.#receiveRecord(record, now);
        if (this.layer.hasKeys) {
          for (const sealed of this.#early.takeSealed()) this.#receiveRecord(sealed, now);
        }
      }
    });
  }

  tick(now: number): DtlsStep {
    return this.step(() => {
      if (this.#state !== "handshaking") return;
      if (now >= this.#endsAt) {
        this.#finish(this.#timedOut());
      } else if (this.#retransmission.next !== undefined && now >= this.#retransmission.next) {
        if (this.#early.isClosed) this.#finish(this.#closedEarly());
        else this.#repeat(this.#retransmission.repeat(now));
      }
    });
  }

  /** One application record, behind `before` in the same datagram where there is room. */
  send(data: Uint8Array, before?: Uint8Array): DtlsStep {
    if (this.#state === "ended") return NOTHING;
    if (this.#state !== "established") throw new MisuseError("dtls: the handshake is not done");
    if (data.byteLength > MAX_PLAINTEXT_BYTES) {
      const text = `dtls: datagram of ${data.byteLength} bytes exceeds ${MAX_PLAINTEXT_BYTES}`;
      throw new MisuseError(text);
    }
    const record = this.layer.write(ContentType.applicationData, 1, data);
    const isRoomy = before !== undefined && before.byteLength + record.byteLength <= this.#mtuBytes;
    if (isRoomy) this.#datagrams.push(Buffer.concat([before, record]));
    else if (before === undefined) this.#datagrams.push(record);
    else this.#datagrams.push(before, record);
    return this.#take();
  }

  close(): DtlsStep {
    return this.step(() => {
      this.#sendAlert(CLOSE_NOTIFY);
      this.#finish("closed");
    });
  }

  /** A message of ours under the next number. */
  message(type: number, body: Uint8Array): HandshakeMessage {
    const seq = this.#nextSeq;
    this.#nextSeq += 1;
    return { type, seq, body };
  }

  /** Sends a flight, and again until the peer answers it. */
  sendFlight(flight: readonly FlightPart[], now: number): void {
    this.#flight = flight;
    if (flight.some(({ type }) => type === "changeCipherSpec")) this.#writeEpoch = 1;
    this.#retransmission.begin(now, this.#state === "handshaking");
    this.#repeat(1);
  }

  useKeys(cipher: RecordCipher): void {
    this.layer.useKeys(cipher);
  }

  /** The peer's Finished is right: application records that came early are handed on. */
  establish(): void {
    this.#state = "established";
    this.#isNewlyEstablished = true;
    this.#retransmission.stop();
    for (const { type, payload } of this.#early.takeOpened()) this.#receiveOpened(type, payload);
  }

  #receiveRecord(record: DtlsRecord, now: number): void {
    if (this.#state === "ended") return;
    if (record.epoch === 0 && this.#state === "handshaking") this.#receivePlain(record, now);
    else if (record.epoch === 1) this.#receiveSealed(record, now);
    else this.#dropped += 1;
  }

  #receivePlain({ type, payload }: DtlsRecord, now: number): void {
    if (type === ContentType.handshake) this.#receiveHandshake(payload, 0, now);
    else if (type === ContentType.alert) this.#receiveAlert(payload);
    // The epoch of the next record says all that ChangeCipherSpec does.
    else if (type !== ContentType.changeCipherSpec) this.#dropped += 1;
  }

  #receiveSealed(record: DtlsRecord, now: number): void {
    if (!this.layer.hasKeys) {
      if (!this.#early.keepSealed(record)) this.#dropped += 1;
      return;
    }
    const payload = this.layer.open(record);
    if (payload === undefined) {
      this.#dropped += 1;
    } else if (record.type === ContentType.handshake) {
      this.#receiveHandshake(payload, 1, now);
    } else if (this.#state === "established" || isFatal(record.type, payload)) {
      this.#receiveOpened(record.type, payload);
    } else if (!this.#early.keepOpened({ type: record.type, payload })) {
      this.#dropped += 1;
    }
  }

  #receiveOpened(type: number, payload: Uint8Array): void {
    if (this.#state === "ended") return;
    if (type === ContentType.applicationData) {
      this.#hasHeard = true;
      this.#data.push(payload);
    } else if (type === ContentType.alert) {
      this.#receiveAlert(payload);
    } else {
      this.#dropped += 1;
    }
  }

  #receiveHandshake(payload: Uint8Array, epoch: 0 | 1, now: number): void {
    let rest = payload;
    while (rest.byteLength > 0) {
      const fragment = readFragment(rest);
      if (fragment === undefined) {
        this.#dropped += 1;
        return;
      }
      rest = rest.subarray(fragment.byteLength);
      this.#receiveFragment(fragment, epoch, now);
      if (this.#state === "ended") return;
    }
  }

  #receiveFragment(fragment: Fragment, epoch: 0 | 1, now: number): void {
    const belongs = (fragment.type === HandshakeType.finished) === (epoch === 1);
    if (!belongs || fragment.type === HandshakeType.helloRequest) {
      this.#dropped += 1;
      return;
    }
    const became = this.#reassembler.push(fragment);
    if (became === "dropped") this.#dropped += 1;
    if (became === "repeated") this.#answerRepeated(fragment, now);
    for (;;) {
      const message = this.#reassembler.take();
      if (message === undefined) return;
      this.#retransmission.progress(now);
      this.#role.onMessage(message, now);
      if (this.#state !== "handshaking") return;
    }
  }

  /** The peer says again what our latest flight answered: that flight was lost, or is on its way. */
  #answerRepeated(fragment: Fragment, now: number): void {
    const isLatest = fragment.seq === this.#reassembler.nextSeq - 1 && isLast(fragment);
    if (!isLatest || !this.#role.repeatsFlightOn.includes(fragment.type)) return;
    this.#repeat(this.#retransmission.answer(now));
  }

  #repeat(copies: number): void {
    for (let copy = 0; copy < copies; copy += 1) {
      this.#datagrams.push(...datagramsOf(this.#flight, this.layer, this.#mtuBytes));
    }
  }

  #receiveAlert(payload: Uint8Array): void {
    const alert = decodeAlert(payload);
    if (alert === undefined) {
      this.#dropped += 1;
      return;
    }
    const { level, description } = alert;
    if (level === AlertLevel.fatal) {
      this.#finish(this.#refused(description));
    } else if (description === AlertDescription.closeNotify) {
      const isInOrder = this.#state === "established";
      if (isInOrder) this.#sendAlert(CLOSE_NOTIFY);
      this.#finish(isInOrder ? "closed" : this.#closedEarly());
    }
  }

  #sendAlert(payload: Uint8Array): void {
    this.#datagrams.push(this.layer.write(ContentType.alert, this.#writeEpoch, payload));
  }

  #finish(end: "closed" | TunnelError): void {
    this.#state = "ended";
    this.#end = end;
    this.#flight = [];
    this.#early.clear();
    this.#retransmission.stop();
    this.layer.forgetKeys();
  }

  #take(): DtlsStep {
    const step = {
      datagrams: this.#datagrams,
      data: this.#data,
      isEstablished: this.#isNewlyEstablished,
      end: this.#end,
    };
    [this.#datagrams, this.#data, this.#isNewlyEstablished] = [[], [], false];
    return step;
  }

  #refused(description: number): TunnelError {
    const { peer } = this.#role;
    const what = describeAlert(description);
    if (this.#state === "established") {
      return new NetworkError("ERR_TUNNEL_LOST", `dtls: the ${peer} ended it with alert ${what}`);
    }
    const hint = CERTIFICATE_ALERTS.has(description)
      ? `check our cert= and key= against the ca= of the ${peer}`
      : `see the log of the ${peer}`;
    const text = `dtls: the ${peer} refused the handshake with alert ${what}`;
    return new TunnelError("ERR_TLS", text, { hint });
  }

  #closedEarly(): TunnelError {
    const text = `dtls: the ${this.#role.peer} closed before the handshake was done`;
    return new NetworkError("ERR_TUNNEL_LOST", text);
  }

  #timedOut(): TunnelError {
    const { peer } = this.#role;
    return new NetworkError(
      "ERR_HANDSHAKE_TIMEOUT",
      `dtls: the ${peer} did not finish the handshake in time`,
      { hint: `check that a DTLS ${peer} is there, and that UDP passes both ways` },
    );
  }
}

/** The alert that tells the peer about `error`. */
function alertOf(error: TunnelError): number {
  if ("alert" in error && typeof error.alert === "number") return error.alert;
  return AlertDescription.internalError;
}

function isFatal(type: number, payload: Uint8Array): boolean {
  return type === ContentType.alert && decodeAlert(payload)?.level === AlertLevel.fatal;
}

const NOTHING: DtlsStep = { datagrams: [], data: [], isEstablished: false, end: undefined };

const DEFAULT_MTU_BYTES = 1_200;
/** Room for the headers and some of a message; the smallest IPv4 datagram everyone takes is larger. */
const MIN_MTU_BYTES = 200;
const DEFAULT_HANDSHAKE_TIMEOUT_MS = 10_000;

const CERTIFICATE_ALERTS: ReadonlySet<number> = new Set([41, 42, 43, 44, 45, 46, 48]);
