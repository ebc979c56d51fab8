import dgram from "node:dgram";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";

/** What happens to datagrams on their way; shares are of 1. */
export interface Impairment {
  /** Share that vanishes. */
  readonly loss: number;
  /** Share that arrives twice. */
  readonly duplication: number;
  /** Share that arrives later than those behind it. */
  readonly reordering: number;
  /** How much later: up to this. */
  readonly lateMs: number;
}

/** What became of the datagrams of both directions. */
export interface Fate {
  carried: number;
  lost: number;
  duplicated: number;
  late: number;
}

/**
 * A UDP relay on loopback that treats datagrams badly: the n-th datagram of a direction always has
 * the same fate for the same seed. Every address that sends to it has a port of its own behind it,
 * as with a NAT.
 */
export class LossyUdp implements AsyncDisposable {
  readonly fate: Fate = { carried: 0, lost: 0, duplicated: 0, late: 0 };
  readonly #front: dgram.Socket;
  readonly #backs = new Map<number, dgram.Socket>();
  readonly #impairment: Impairment;
  readonly #toPort: number;
  readonly #seed: number;
  #isOver = false;

  private constructor(front: dgram.Socket, toPort: number, impairment: Impairment, seed: number) {
    this.#front = front;
    this.#toPort = toPort;
    this.#impairment = impairment;
    this.#seed = seed;
  }

  /** Starts it in front of a port of loopback. */
  static async start(toPort: number, impairment: Impairment, seed: number = 1): Promise<LossyUdp> {
    const front = await bound();
    const relay = new LossyUdp(front, toPort, impairment, seed);
    const up = relay.#chance(0);
    front.on("message", (data, { port }) => {
      relay.#treat(up, () => relay.#back(port).send(data, toPort, LOOPBACK, ignore));
    });
    return relay;
  }

  /** Where clients send to. */
  get port(): number {
    return this.#front.address().port;
  }

  /** Sends bytes that neither end sent: to the server in every client's name, or the reverse. */
  forge(data: Uint8Array, towards: "server" | "clients"): void {
    for (const [clientPort, back] of this.#backs) {
      if (towards === "server") back.send(data, this.#toPort, LOOPBACK, ignore);
      else this.#front.send(data, clientPort, LOOPBACK, ignore);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    const sockets = [this.#front, ...this.#backs.values()];
    await Promise.all(
      sockets.map(async (socket) => {
        socket.close();
        await once(socket, "close");
      }),
    );
  }

  /** The socket that speaks for a client. */
  #back(clientPort: number): dgram.Socket {
    const known = this.#backs.get(clientPort);
    if (known !== undefined) return known;
    const back = dgram.createSocket({ type: "udp4", recvBufferSize: BUFFER_BYTES });
    this.#backs.set(clientPort, back);
    const down = this.#chance(this.#backs.size);
    back.on("error", ignore);
    back.on("message", (data, { port }) => {
      if (port !== this.#toPort) return;
      this.#treat(down, () => this.#front.send(data, clientPort, LOOPBACK, ignore));
    });
    return back;
  }

  #treat(chance: () => number, deliver: () => void): void {
    const { loss, duplication, reordering, lateMs } = this.#impairment;
    // Four draws for each, so that no fate depends on the one before.
    const [lost, twice, late, how] = [chance(), chance(), chance(), chance()];
    if (lost < loss) {
      this.fate.lost += 1;
      return;
    }
    this.fate.carried += 1;
    if (late < reordering) {
      this.fate.late += 1;
      void sleep(1 + how * lateMs).then(() => {
        if (!this.#isOver) deliver();
      });
    } else {
      deliver();
    }
    if (twice >= duplication) return;
    this.fate.duplicated += 1;
    deliver();
  }

  /** Uniform in [0, 1): xorshift32, for each direction its own. */
  #chance(direction: number): () => number {
    let state = (this.#seed * 0x9e37_79b1 + direction * 0x85eb_ca6b) >>> 0 || 1;
    return () => {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      state >>>= 0;
      return state / 0x1_0000_0000;
    };
  }
}

async function bound(): Promise<dgram.Socket> {
  const socket = dgram.createSocket({ type: "udp4", recvBufferSize: BUFFER_BYTES });
  socket.on("error", ignore);
  socket.bind(0, LOOPBACK);
  await once(socket, "listening");
  return socket;
}

/** A datagram that does not leave is one more lost. */
function ignore(): void {}

const LOOPBACK = "127.0.0.1";
const BUFFER_BYTES = 4 * 1024 * 1024;
