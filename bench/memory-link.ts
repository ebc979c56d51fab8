import type { HostPort } from "../src/address/socks-address.ts";
import type { Clock } from "../src/clock/clock.ts";
import type { BindUdp } from "../src/tunnel/datagrams.ts";

/** A datagram on its way. */
export interface Envelope {
  readonly data: Uint8Array;
  readonly from: HostPort;
  readonly to: HostPort;
}

/** What becomes of a datagram: when each copy arrives, ms; 0: when the link is pumped next. */
export type Fate = (envelope: Envelope) => readonly number[];

type Receive = (envelope: Envelope) => void;

/** UDP between sockets of one process, on a clock that somebody moves. */
export class MemoryLink {
  readonly bindUdp: BindUdp;
  readonly #clock: Clock;
  readonly #fate: Fate;
  readonly #sockets = new Map<string, Receive>();
  #queue: Envelope[] = [];
  #nextPort = 40_000;

  constructor(clock: Clock, fate: Fate) {
    this.#clock = clock;
    this.#fate = fate;
    this.bindUdp = ({ at, connectTo, onDatagram }) => {
      const local = { host: at?.host ?? "192.0.2.1", port: at?.port || this.#nextPort++ };
      const peer = connectTo && nameOf(connectTo);
      this.attach(local, ({ data, from }) => {
        if (peer === undefined || nameOf(from) === peer) onDatagram(data, from);
      });
      return Promise.resolve({
        local,
        dropped: 0,
        send: (data, to) => this.#send({ data, from: local, to }),
        close: () => this.detach(local),
      });
    };
  }

  /** How many sockets are bound. */
  get bound(): number {
    return this.#sockets.size;
  }

  attach(local: HostPort, receive: Receive): void {
    this.#sockets.set(nameOf(local), receive);
  }

  detach(local: HostPort): void {
    this.#sockets.delete(nameOf(local));
  }

  /** Puts a datagram among those that are pumped next, whoever sent it. */
  inject(envelope: Envelope): void {
    this.#queue.push(envelope);
  }

  /** Mixes the datagrams that wait. */
  shuffle(random: () => number): void {
    const queue = this.#queue;
    for (let last = queue.length - 1; last > 0; last--) {
      const other = Math.floor(random() * (last + 1));
      const [one, two] = [queue[last], queue[other]];
      if (one !== undefined && two !== undefined) [queue[last], queue[other]] = [two, one];
    }
  }

  /** Delivers what waits, and what that brings about. */
  pump(): void {
    while (this.#queue.length > 0) {
      const queue = this.#queue;
      this.#queue = [];
      for (const envelope of queue) this.#deliver(envelope);
    }
  }

  #send(envelope: Envelope): void {
    for (const delayMs of this.#fate(envelope)) {
      // What is received is given: copies must not share their bytes.
      const copy = { ...envelope, data: Uint8Array.from(envelope.data) };
      if (delayMs === 0) this.#queue.push(copy);
      else this.#clock.schedule(delayMs, () => this.#deliver(copy));
    }
  }

  #deliver(envelope: Envelope): void {
    this.#sockets.get(nameOf(envelope.to))?.(envelope);
  }
}

function nameOf({ host, port }: HostPort): string {
  return `${host} ${port}`;
}
