import type { HostPort } from "../src/address/socks-address.ts";
import { DtlsClientSession } from "../src/transports/dtls/client-session.ts";
import type { DtlsClientOptions } from "../src/transports/dtls/dtls-options.ts";
import type { DtlsStep } from "../src/transports/dtls/dtls-step.ts";
import { mutate } from "./dtls-mutations.ts";

/** What an intruder is given. */
export interface DtlsIntruderOptions {
  /** Where its datagrams claim to come from. */
  readonly local: HostPort;
  readonly dtls: DtlsClientOptions;
  readonly now: number;
  readonly random: () => number;
  /** Datagrams of others, to splice with. */
  readonly known: readonly Uint8Array[];
  readonly send: (data: Uint8Array) => void;
  /** Hears what it would send if nobody changed it. */
  readonly onSent: (data: Uint8Array) => void;
  /** Begins to receive. @returns what ends that */
  readonly listen: (receive: (data: Uint8Array) => void) => () => void;
  /** After so many datagrams and ticks it is gone. */
  readonly maxInputs: number;
  /** Changes most of what it sends and receives, not one in seven. */
  readonly isCareless: boolean;
}

/** A real handshake, some of whose datagrams are lost, changed, repeated or reordered, both ways. */
export class DtlsIntruder {
  readonly local: HostPort;
  readonly #options: DtlsIntruderOptions;
  readonly #session: DtlsClientSession;
  readonly #deafen: () => void;
  #inputs = 0;
  #isOver = false;

  constructor(options: DtlsIntruderOptions) {
    this.#options = options;
    this.local = options.local;
    this.#session = new DtlsClientSession(options.dtls, options.now);
    this.#deafen = options.listen((data) => this.#receive(data));
  }

  /** Whether it is past its use: done, refused, or too long at it. */
  get isOver(): boolean {
    return this.#isOver || this.#inputs > this.#options.maxInputs;
  }

  get isEstablished(): boolean {
    return this.#session.isEstablished;
  }

  start(): void {
    this.#take(this.#session.start(this.#options.now));
  }

  tick(now: number): void {
    this.#inputs++;
    this.#take(this.#session.tick(now));
  }

  leave(): void {
    this.#deafen();
  }

  #receive(data: Uint8Array): void {
    this.#inputs++;
    if (this.isOver) return;
    for (const bytes of this.#spoil(data)) this.#take(this.#session.receive(bytes, this.#now()));
  }

  #take({ datagrams, isEstablished, end }: DtlsStep): void {
    for (const datagram of datagrams) {
      this.#options.onSent(datagram);
      for (const bytes of this.#spoil(datagram)) this.#options.send(bytes);
    }
    if (end !== undefined) this.#isOver = true;
    if (!isEstablished) return;
    // A few records, then it is gone without a word.
    this.#isOver = true;
    for (let at = 0; at < 3; at++) this.#take(this.#session.send(new Uint8Array(at), this.#now()));
  }

  /** What becomes of one datagram: itself, mostly. */
  #spoil(data: Uint8Array): readonly Uint8Array[] {
    const { random, known, isCareless } = this.#options;
    if (random() > (isCareless ? 0.7 : 0.15)) return [Uint8Array.from(data)];
    const changed = mutate(data, known, random);
    const choice = random();
    if (choice < 0.4) return [changed];
    if (choice < 0.6) return [changed, Uint8Array.from(data)];
    if (choice < 0.75) return [Uint8Array.from(data), changed];
    if (choice < 0.9) return [Uint8Array.from(data), Uint8Array.from(data)];
    return [];
  }

  #now(): number {
    return this.#options.now;
  }
}
