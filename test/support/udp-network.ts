import type { HostPort } from "../../src/address/socks-address.ts";
import type { ManualClock } from "../../src/clock/manual-clock.ts";
import type { BindUdp, DatagramSocket } from "../../src/tunnel/datagrams.ts";
import { turns } from "./turns.ts";

/** How the datagrams of a {@link UdpNetwork} fare. */
export interface UdpWeather {
  /** Of 1. @default 0 */
  readonly loss?: number;
  /** Of 1: those that come twice. @default 0 */
  readonly duplicates?: number;
  /** One way. @default 10 */
  readonly delayMs?: number;
  /** Up to so much is added by chance, so that they overtake each other. @default 0 */
  readonly jitterMs?: number;
}

/** UDP in memory, on a clock that moves when told, with chance that repeats itself. */
export class UdpNetwork {
  readonly bindUdp: BindUdp;
  weather: UdpWeather = {};
  /** Every datagram that was sent, lost ones too. */
  readonly sent: { readonly from: HostPort; readonly to: HostPort; readonly data: Uint8Array }[] =
    [];
  readonly #clock: ManualClock;
  readonly #sockets = new Map<string, (data: Uint8Array, from: HostPort) => void>();
  readonly #random: () => number;
  #nextPort = 40_001;

  constructor(clock: ManualClock, seed = 1) {
    this.#clock = clock;
    this.#random = seededRandom(seed);
    this.bindUdp = async ({ at, connectTo, onDatagram }) => {
      await Promise.resolve();
      const port = at === undefined || at.port === 0 ? this.#nextPort++ : at.port;
      const local = { host: at?.host ?? "192.0.2.1", port };
      this.#sockets.set(nameOf(local), (data, from) => {
        const isStranger = connectTo !== undefined && nameOf(connectTo) !== nameOf(from);
        if (!isStranger) onDatagram(data, from);
      });
      return this.#socket(local);
    };
  }

  /** How many sockets are bound. */
  get bound(): number {
    return this.#sockets.size;
  }

  /** A datagram from anywhere arrives at once. */
  inject(data: Uint8Array, from: HostPort, to: HostPort): void {
    this.#sockets.get(nameOf(to))?.(data, from);
  }

  /** Lets time go by, and everything happen that falls due. */
  async pass(ms: number): Promise<void> {
    const until = this.#clock.now() + ms;
    for (;;) {
      await turns(3);
      const { next } = this.#clock;
      if (next === undefined || next > until) break;
      this.#clock.advance(next - this.#clock.now());
    }
    this.#clock.advance(until - this.#clock.now());
    await turns(3);
  }

  #socket(local: HostPort): DatagramSocket {
    return {
      local,
      dropped: 0,
      send: (data, to) => this.#send(data, local, to),
      close: () => void this.#sockets.delete(nameOf(local)),
    };
  }

  #send(data: Uint8Array, from: HostPort, to: HostPort): void {
    const { loss = 0, duplicates = 0, delayMs = 10, jitterMs = 0 } = this.weather;
    this.sent.push({ from, to, data });
    if (this.#random() < loss) return;
    const copies = this.#random() < duplicates ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      const bytes = Uint8Array.from(data);
      const wait = delayMs + this.#random() * jitterMs;
      this.#clock.schedule(wait, () => this.inject(bytes, from, to));
    }
  }
}

/** Chance that repeats itself (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d_2b_79_f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function nameOf({ host, port }: HostPort): string {
  return `${host} ${port}`;
}
