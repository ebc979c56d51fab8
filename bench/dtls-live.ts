import type { HostPort } from "../src/address/socks-address.ts";
import { dialDtls, type DtlsDialOptions } from "../src/transports/dtls/dial.ts";
import type { DatagramConnection } from "../src/tunnel/datagram-connection.ts";

/** A session that sends to a server of echoes, and insists on each echo, once and unchanged. */
export class LiveDtls {
  readonly local: HostPort;
  readonly #connection: DatagramConnection;
  readonly #overheard: Overheard;
  readonly #missing = new Set<string>();
  readonly #problems: string[] = [];
  #count = 0;
  #echoes = 0;
  #isClosed = false;

  private constructor(connection: DatagramConnection, local: HostPort, overheard: Overheard) {
    this.#connection = connection;
    this.local = local;
    this.#overheard = overheard;
    connection.attach({
      onDatagram: (data) => this.#take(Buffer.from(data).toString("latin1")),
      onClose: (error) => {
        if (!this.#isClosed) this.#problems.push(`session ended: ${error?.message ?? "in order"}`);
      },
    });
  }

  static async dial(options: DtlsDialOptions): Promise<LiveDtls> {
    const overheard: Overheard = new Set();
    const found: { local: HostPort } = { local: { host: "", port: 0 } };
    const connection = await dialDtls({
      ...options,
      bindUdp: async (how) => {
        const socket = await options.bindUdp({
          ...how,
          onDatagram: (data, from) => {
            for (const receive of overheard) receive(Uint8Array.from(data));
            how.onDatagram(data, from);
          },
        });
        found.local = socket.local;
        return socket;
      },
    });
    return new LiveDtls(connection, found.local, overheard);
  }

  /** Lets somebody on the path read what comes. @returns what ends that */
  overhear(receive: (data: Uint8Array) => void): () => void {
    this.#overheard.add(receive);
    return () => void this.#overheard.delete(receive);
  }

  send(count: number, random: () => number): void {
    for (let at = 0; at < count; at++) {
      const text = `${this.local.port} ${this.#count++} ${"x".repeat(random() ** 4 * 1_100)}`;
      this.#missing.add(text);
      this.#connection.send(Buffer.from(text, "latin1"));
    }
  }

  /** What went wrong since the last time. */
  check(): readonly string[] {
    const problems = this.#problems.splice(0);
    for (const text of this.#missing) problems.push(`no echo of ${text.slice(0, 40)}`);
    this.#missing.clear();
    return problems;
  }

  /** Echoes since the last time. */
  takeEchoes(): number {
    const echoes = this.#echoes;
    this.#echoes = 0;
    return echoes;
  }

  close(): void {
    this.#isClosed = true;
    this.#connection.close();
  }

  #take(text: string): void {
    if (this.#missing.delete(text)) this.#echoes++;
    else this.#problems.push(`nobody sent ${text.slice(0, 40)}, or it came twice`);
  }
}

type Overheard = Set<(data: Uint8Array) => void>;
