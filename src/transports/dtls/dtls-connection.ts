import type { Timer } from "../../clock/clock.ts";
import { TunnelError } from "../../errors.ts";
import type { ConnectionInfo } from "../../tunnel/connection.ts";
import type {
  DatagramConnection,
  DatagramHandler,
  PeerIdentity,
} from "../../tunnel/datagram-connection.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import { identityOf } from "./certificates.ts";
import type { DtlsSession, DtlsStep } from "./dtls-step.ts";

/** A session that was not started yet. */
export interface StartableSession extends DtlsSession {
  /** The first flight. Once, before anything else. */
  start(now: number): DtlsStep;
}

/** What a connection is made of. */
export interface DtlsConnectionOptions {
  readonly session: StartableSession;
  readonly info: ConnectionInfo;
  readonly runtime: Runtime;
  /** The datagrams are given. */
  readonly send: (datagrams: readonly Uint8Array[]) => void;
  /** The handshake is done. What came with it is delivered afterwards. */
  readonly onEstablished: () => void;
  /** Exactly once: nothing is sent or timed any more. */
  readonly onOver: (error: TunnelError | undefined) => void;
}

/** A {@link DatagramConnection} over a DTLS session: feeds it, sends for it, and keeps its time. */
export class DtlsConnection implements DatagramConnection {
  readonly info: ConnectionInfo;
  readonly maxDatagramBytes: number = MAX_RECORD_BYTES;
  identity: PeerIdentity | undefined;
  dropped = 0;
  readonly #session: StartableSession;
  readonly #options: DtlsConnectionOptions;
  #handler: DatagramHandler | undefined;
  /** What came before there was a handler. */
  #early: Uint8Array[] = [];
  #earlyBytes = 0;
  #timer: { readonly at: number; readonly timer: Timer } | undefined;
  #isOver = false;
  #end: { readonly error: TunnelError | undefined } | undefined;

  constructor(options: DtlsConnectionOptions) {
    this.#options = options;
    this.#session = options.session;
    this.info = options.info;
  }

  /** Whether the handshake is done, or was. */
  get isEstablished(): boolean {
    return this.#session.isEstablished;
  }

  /** Sends the first flight. Once, before anything else. */
  start(): void {
    this.#apply(this.#session.start(this.#now()));
  }

  /** A datagram of the peer's address. */
  receive(datagram: Uint8Array): void {
    if (!this.#isOver) this.#apply(this.#session.receive(datagram, this.#now()));
  }

  attach(handler: DatagramHandler): void {
    this.#handler = handler;
    const early = this.#early;
    this.#early = [];
    this.#earlyBytes = 0;
    for (const data of early) this.#handler.onDatagram(data);
    if (this.#end !== undefined) this.#tellEnd(this.#end.error);
  }

  send(data: Uint8Array): void {
    if (this.#isOver || !this.isEstablished || data.byteLength > MAX_RECORD_BYTES) {
      this.dropped++;
      return;
    }
    this.#apply(this.#session.send(data, this.#now()));
  }

  close(error?: TunnelError): void {
    if (this.#isOver) return;
    this.#options.send(this.#session.close(this.#now()).datagrams);
    this.#over(error);
  }

  /** Ends it without a word to the peer. */
  abandon(error: TunnelError): void {
    this.#over(error);
  }

  /** Sends first, then keeps the time, then tells. */
  #apply({ datagrams, data, isEstablished, end }: DtlsStep): void {
    if (datagrams.length > 0) this.#options.send(datagrams);
    this.#rearm();
    if (isEstablished) {
      const { peerCertificate } = this.#session;
      this.identity = peerCertificate === undefined ? undefined : identityOf(peerCertificate);
      this.#options.onEstablished();
    }
    for (const datagram of data) this.#deliver(datagram);
    if (end !== undefined) this.#over(end === "closed" ? undefined : this.#named(end));
  }

  #deliver(data: Uint8Array): void {
    if (this.#isOver) return;
    if (this.#handler !== undefined) {
      this.#handler.onDatagram(data);
    } else if (this.#early.length < MAX_EARLY && this.#earlyBytes < MAX_EARLY_BYTES) {
      // It may be a view of a much larger datagram.
      this.#early.push(Uint8Array.from(data));
      this.#earlyBytes += data.byteLength;
    } else {
      this.dropped++;
    }
  }

  /** Says which peer an error of the session is about. */
  #named(error: TunnelError): TunnelError {
    const phase = this.isEstablished ? "dtls" : "dtls handshake";
    const text = `${this.info.peer}: ${phase}: ${error.message.replace(/^dtls: /, "")}`;
    return new TunnelError(error.code, text, { cause: error, hint: error.hint });
  }

  #over(error: TunnelError | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#timer?.timer.cancel();
    this.#timer = undefined;
    this.#options.onOver(error);
    if (this.#handler === undefined) this.#end = { error };
    else this.#tellEnd(error);
  }

  #tellEnd(error: TunnelError | undefined): void {
    const handler = this.#handler;
    this.#end = undefined;
    handler?.onClose(error);
  }

  #rearm(): void {
    const at = this.#session.deadline;
    if (at === this.#timer?.at) return;
    this.#timer?.timer.cancel();
    this.#timer = undefined;
    if (at === undefined || this.#isOver) return;
    const timer = this.#options.runtime.clock.schedule(Math.max(0, at - this.#now()), () => {
      this.#timer = undefined;
      this.#apply(this.#session.tick(this.#now()));
    });
    this.#timer = { at, timer };
  }

  #now(): number {
    return this.#options.runtime.clock.now();
  }
}

/** The longest record of DTLS 1.2. */
const MAX_RECORD_BYTES = 16_384;

/** Waiting for a handler is a matter of a turn or two, or of one question about a name. */
const MAX_EARLY = 64;
const MAX_EARLY_BYTES = 65_536;
