import type { TunnelError } from "../../src/errors.ts";
import type {
  DatagramConnection,
  DatagramHandler,
  PeerIdentity,
} from "../../src/tunnel/datagram-connection.ts";

/** How the ends of a pair differ from the usual. */
export interface DatagramPairOptions {
  /** @default 16384, as DTLS */
  readonly maxDatagramBytes?: number | undefined;
  /** What the first end calls `local` and the second `peer`, then the other way round. */
  readonly names?: readonly [string, string] | undefined;
}

/** Two ends of a way for datagrams in memory: what one sends the other hears at once. */
export function datagramPair({
  maxDatagramBytes = 16_384,
  names: [a, b] = ["a", "b"],
}: DatagramPairOptions = {}): [DatagramEnd, DatagramEnd] {
  const one = new DatagramEnd({ transport: "memory", local: a, peer: b }, maxDatagramBytes);
  const other = new DatagramEnd({ transport: "memory", local: b, peer: a }, maxDatagramBytes);
  one.peer = other;
  other.peer = one;
  return [one, other];
}

/** One end of a {@link datagramPair}. */
export class DatagramEnd implements DatagramConnection {
  readonly info: DatagramConnection["info"];
  readonly identity: PeerIdentity | undefined = undefined;
  readonly maxDatagramBytes: number;
  dropped = 0;
  peer: DatagramEnd = this;
  #handler: DatagramHandler | undefined;
  #early: Uint8Array[] = [];
  #end: { readonly error: TunnelError | undefined } | undefined;

  constructor(info: DatagramConnection["info"], maxDatagramBytes: number) {
    this.info = info;
    this.maxDatagramBytes = maxDatagramBytes;
  }

  /** Whether it was closed, from either end. */
  get isClosed(): boolean {
    return this.#end !== undefined;
  }

  attach(handler: DatagramHandler): void {
    this.#handler = handler;
    for (const data of this.#early.splice(0)) handler.onDatagram(data);
    if (this.#end !== undefined) queueMicrotask(() => this.#report());
  }

  send(data: Uint8Array): void {
    if (this.#end !== undefined) return;
    if (data.byteLength > this.maxDatagramBytes) this.dropped++;
    else this.peer.#deliver(data);
  }

  /** The other end hears of an orderly end, whatever the reason: the wire knows no other. */
  close(error?: TunnelError): void {
    if (this.#end !== undefined) return;
    this.#finish(error);
    this.peer.#finish(undefined);
  }

  /** Both ends hear of this. */
  fail(error: TunnelError): void {
    this.#finish(error);
    this.peer.#finish(error);
  }

  #deliver(data: Uint8Array): void {
    if (this.#handler === undefined) this.#early.push(data);
    else this.#handler.onDatagram(data);
  }

  #finish(error: TunnelError | undefined): void {
    if (this.#end !== undefined) return;
    this.#end = { error };
    this.#report();
  }

  #report(): void {
    const handler = this.#handler;
    this.#handler = undefined;
    handler?.onClose(this.#end?.error);
  }
}

/** Owns a datagram connection and writes down what it hears. */
export class DatagramRecorder implements DatagramHandler {
  readonly connection: DatagramConnection;
  /** The text of each datagram, then `close` or `close ERR_…`. */
  readonly events: string[] = [];

  /** Becomes the owner. */
  constructor(connection: DatagramConnection) {
    this.connection = connection;
    connection.attach(this);
  }

  onDatagram(data: Uint8Array): void {
    this.events.push(Buffer.from(data).toString("latin1"));
  }

  onClose(error: TunnelError | undefined): void {
    this.events.push(error === undefined ? "close" : `close ${error.code}`);
  }
}
