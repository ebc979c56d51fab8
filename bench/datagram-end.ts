/**
 * One end of the datagram measurements, in its own process: the origin, and the client. A sender has
 * at most {@link WINDOW} datagrams on the way that were not reported as received, so that no queue runs
 * over; what is lost all the same is given up. The first byte says what a datagram is.
 */
import dgram from "node:dgram";
import { once } from "node:events";

/** What the parent asks for. */
export type DatagramOrder =
  /** Sends (`up`) or has sent (`down`) through the origin's or a relay's port, until `stop`. */
  | {
      readonly kind: "flood";
      readonly direction: "up" | "down";
      readonly port: number;
      readonly bytes: number;
    }
  | { readonly kind: "stop" }
  /** How many datagrams were received so far. */
  | { readonly kind: "count" }
  | { readonly kind: "echo"; readonly port: number; readonly count: number };

/** What it answers; only what was asked for is there. */
export interface DatagramResult {
  readonly received?: number;
  /** When that was, in this process's milliseconds. */
  readonly at?: number;
  /** Milliseconds of each echo. */
  readonly times?: readonly number[];
  readonly error?: string;
}

const Kind = { data: 0x44, report: 0x4b, echo: 0x45, ask: 0x41, stop: 0x53 } as const;
const WINDOW = 256;
const REPORT_EVERY = 32;
const STALLED_MS = 30;
const ECHO_BYTES = 64;
const ECHO_LOST_MS = 500;
let received = 0;

/** Sends as fast as reports come. */
class Sender {
  readonly #send: (data: Uint8Array) => void;
  readonly #datagram: Uint8Array;
  readonly #timer: NodeJS.Timeout;
  #sent = 0;
  #reported = 0;
  #reportedBefore = 0;

  constructor(bytes: number, send: (data: Uint8Array) => void) {
    this.#send = send;
    this.#datagram = new Uint8Array(bytes).fill(Kind.data);
    this.#timer = setInterval(() => {
      // Nothing was reported for long: what is on the way is lost.
      if (this.#reported === this.#reportedBefore) this.#reported = this.#sent;
      this.#reportedBefore = this.#reported;
      this.#pump();
    }, STALLED_MS);
    this.#pump();
  }

  report(): void {
    this.#reported = Math.min(this.#sent, this.#reported + REPORT_EVERY);
    this.#pump();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#sent = Number.POSITIVE_INFINITY;
  }

  #pump(): void {
    while (this.#sent - this.#reported < WINDOW) {
      this.#sent++;
      this.#send(this.#datagram);
    }
  }
}

async function bound(): Promise<dgram.Socket> {
  const size = 4 * 1024 * 1024;
  const socket = dgram.createSocket({ type: "udp4", recvBufferSize: size, sendBufferSize: size });
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  return socket;
}

function onReceived(answer: (data: Uint8Array) => void): void {
  received++;
  if (received % REPORT_EVERY === 0) answer(Uint8Array.of(Kind.report));
}

// ---- the origin ----

const origin = await bound();
const senders = new Map<string, Sender>();
origin.on("message", (data, { address, port }) => {
  const name = `${address} ${port}`;
  const answer = (bytes: Uint8Array): void => origin.send(bytes, port, address);
  switch (data[0]) {
    case Kind.data:
      onReceived(answer);
      break;
    case Kind.report:
      senders.get(name)?.report();
      break;
    case Kind.echo:
      answer(data);
      break;
    case Kind.ask:
      senders.get(name)?.stop();
      senders.set(name, new Sender(data.readUInt16BE(1), answer));
      break;
    case Kind.stop:
      senders.get(name)?.stop();
      senders.delete(name);
      break;
    default:
      break;
  }
});

// ---- the client ----

let stop = (): void => {};

async function flood({ direction, port, bytes }: DatagramOrder & { kind: "flood" }): Promise<void> {
  const socket = await bound();
  const send = (data: Uint8Array): void => socket.send(data, port, "127.0.0.1");
  // The first one opens whatever is between.
  send(Uint8Array.of(Kind.echo));
  await once(socket, "message", { signal: AbortSignal.timeout(10_000) });
  const sender = direction === "up" ? new Sender(bytes, send) : undefined;
  socket.on("message", (data) => {
    if (data[0] === Kind.report) sender?.report();
    else if (data[0] === Kind.data) onReceived(send);
  });
  if (direction === "down") send(Uint8Array.of(Kind.ask, bytes >> 8, bytes & 0xff));
  stop = () => {
    sender?.stop();
    for (let copy = 0; copy < 3; copy++) send(Uint8Array.of(Kind.stop));
    setTimeout(() => socket.close(), 200);
    stop = () => {};
  };
}

async function echoes(port: number, count: number): Promise<readonly number[]> {
  const socket = await bound();
  const message = new Uint8Array(ECHO_BYTES).fill(Kind.echo);
  const times: number[] = [];
  for (let lost = 0; times.length < count && lost < 20; ) {
    const sentAt = performance.now();
    socket.send(message, port, "127.0.0.1");
    const timeout = times.length === 0 ? 10_000 : ECHO_LOST_MS;
    const isBack = await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(false), timeout);
      socket.once("message", () => {
        clearTimeout(timer);
        resolve(true);
      });
    });
    if (isBack) times.push(performance.now() - sentAt);
    else lost++;
  }
  socket.close();
  return times.slice(times.length / 10);
}

async function obey(order: DatagramOrder): Promise<DatagramResult> {
  if (order.kind === "count") return { received, at: performance.now() };
  if (order.kind === "echo") return { times: await echoes(order.port, order.count) };
  if (order.kind === "flood") await flood(order);
  else stop();
  return {};
}

process.on("message", (order: DatagramOrder) => {
  obey(order).then(
    (result) => process.send?.(result),
    (thrown: unknown) => process.send?.({ error: String(thrown) }),
  );
});
process.on("disconnect", () => process.exit());
process.send?.({ port: origin.address().port });
