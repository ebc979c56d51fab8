import { seededRandom } from "../test/support/udp-network.ts";

/** What a line does to packets. */
export interface Impairment {
  /** Of 1, each way. */
  readonly loss: number;
  readonly roundTripMs: number;
  readonly seed: number;
}

/** One direction of a bad line: each packet is lost by seeded chance, or arrives half a round trip later. */
export class ImpairedLink {
  readonly #loss: number;
  readonly #delayMs: number;
  readonly #random: () => number;
  readonly #deliver: (packet: Uint8Array) => void;
  #queue: { readonly at: number; readonly packet: Uint8Array }[] = [];
  #first = 0;

  constructor({ loss, roundTripMs, seed }: Impairment, deliver: (packet: Uint8Array) => void) {
    this.#loss = loss;
    this.#delayMs = roundTripMs / 2;
    this.#random = seededRandom(seed);
    this.#deliver = deliver;
  }

  /** A packet enters the line. */
  push(packet: Uint8Array): void {
    if (this.#random() < this.#loss || this.#queue.length - this.#first > MAX_PACKETS) return;
    this.#queue.push({ at: performance.now() + this.#delayMs, packet });
  }

  /** Delivers what is due. */
  run(): void {
    const now = performance.now();
    for (;;) {
      const entry = this.#queue[this.#first];
      if (entry === undefined || entry.at > now) break;
      this.#first++;
      this.#deliver(entry.packet);
    }
    if (this.#first < COMPACT) return;
    this.#queue = this.#queue.slice(this.#first);
    this.#first = 0;
  }
}

/** Far more than any window here: the line loses by chance alone. */
const MAX_PACKETS = 100_000;
const COMPACT = 4_096;
