import dgram from "node:dgram";
import { once } from "node:events";
import net from "node:net";
import { portOf } from "../support/sluice-process.ts";
import { assertBytes } from "../support/hex.ts";
import { PlayedSocket } from "./linksocks-peers.ts";
import type { Line } from "./linksocks-transcript.ts";
import type { Place } from "./linksocks-wire.ts";

/** The targets of a scenario, on ports of this run. */
export class PlayedTargets implements AsyncDisposable {
  readonly #scope = new AsyncDisposableStack();
  /** `host:port` of the recording to the port here. */
  readonly #ports = new Map<string, number>();
  readonly #accepted = new Map<string, PlayedSocket[]>();
  readonly #places = new Map<number, string>();
  readonly #byConn = new Map<number, PlayedSocket>();
  readonly #udp = new Map<string, PlayedUdp>();
  #relay: PlayedUdp | undefined;
  #relayReply: Buffer | undefined;

  /** Starts every target that a transcript's connections name. */
  static async listen(conns: Readonly<Record<number, string>>): Promise<PlayedTargets> {
    const targets = new PlayedTargets();
    for (const [conn, what] of Object.entries(conns)) {
      const [, udp, text = "", port = ""] = /^exit -> (UDP )?target (.+):(\d+)$/.exec(what) ?? [];
      if (port === "") continue;
      const host = text.replaceAll(/[[\]]/g, "");
      const place = `${host}:${port}`;
      targets.#places.set(Number(conn), place);
      if (udp !== undefined) await targets.#listenUdp(host, Number(port));
      else if (!targets.#ports.has(place)) await targets.#listen(host, place);
    }
    return targets;
  }

  /** Where the target of a recorded place is in this run. */
  here({ host, port }: Place): Place {
    if (this.#ports.size === 0) return { host, port }; // ours is not the exit
    const named = NAMES[host.toLowerCase()] ?? host;
    const address = named === "localhost" ? "127.0.0.1" : named;
    const known = this.#ports.get(`${address}:${port}`) ?? this.#ports.get(`::1:${port}`);
    return { host: named, port: known ?? port };
  }

  /** The recorded place of what is here. */
  recorded({ host, port }: Place): Place {
    for (const [place, here] of this.#ports) {
      const at = place.lastIndexOf(":");
      if (here === port) return { host, port: Number(place.slice(at + 1)) };
    }
    return { host, port };
  }

  /** Waits for the connection that the transcript calls `conn`. */
  async accept(conn: number): Promise<PlayedSocket> {
    const place = this.#places.get(conn) ?? "";
    const until = performance.now() + ACCEPT_MS;
    for (;;) {
      const socket = this.#accepted.get(place)?.shift();
      if (socket !== undefined) {
        this.#byConn.set(conn, socket);
        return socket;
      }
      if (performance.now() > until) throw new Error(`nobody came to ${place}`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  /** The connection, accepted before or just now. */
  async connection(conn: number): Promise<PlayedSocket> {
    return this.#byConn.get(conn) ?? (await this.accept(conn));
  }

  async expectDatagram({ conn, bytes }: Line): Promise<void> {
    await this.#udpOf(conn).expect(bytes);
  }

  /** Answers the last datagram, maybe from another port. */
  async answer({ conn, bytes, viaPort }: Line): Promise<void> {
    const target = this.#udpOf(conn);
    if (viaPort === undefined) {
      target.reply(bytes);
      return;
    }
    const key = `127.0.0.1:${viaPort}`;
    const other = this.#udp.get(key) ?? (await this.#listenUdp("127.0.0.1", viaPort));
    other.reply(bytes, target.lastFrom);
  }

  /** Whether these bytes are the answer to UDP ASSOCIATE, whose port is free. */
  isRelayReply(bytes: Buffer): boolean {
    const isIt = bytes.byteLength === 10 && bytes.readUInt16BE(8) !== 0 && bytes[0] === 5;
    if (isIt) this.#relayReply = bytes;
    return isIt;
  }

  /** An application's socket to the relay's port, which its TCP connection was told. */
  async relay(told: Buffer | undefined): Promise<PlayedUdp> {
    if (this.#relay !== undefined) return this.#relay;
    if (this.#relayReply === undefined || told === undefined) throw new Error("no association");
    const relay = await PlayedUdp.bind("127.0.0.1");
    relay.lastFrom = { address: "127.0.0.1", port: told.readUInt16BE(told.byteLength - 2) };
    this.#relay = relay;
    this.#scope.use(relay);
    return relay;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scope.disposeAsync();
  }

  async #listen(host: string, place: string): Promise<void> {
    const accepted: PlayedSocket[] = [];
    const all = new Set<net.Socket>();
    this.#accepted.set(place, accepted);
    const server = net.createServer({ allowHalfOpen: true }, (socket) => {
      all.add(socket);
      accepted.push(new PlayedSocket(socket));
    });
    server.listen(0, host);
    await once(server, "listening");
    this.#ports.set(place, portOf(server));
    this.#scope.defer(async () => {
      for (const socket of all) socket.destroy();
      server.close();
      await once(server, "close");
    });
  }

  async #listenUdp(host: string, port: number): Promise<PlayedUdp> {
    const socket = this.#scope.use(await PlayedUdp.bind(host));
    this.#udp.set(`${host}:${port}`, socket);
    this.#ports.set(`${host}:${port}`, socket.port);
    return socket;
  }

  #udpOf(conn: number): PlayedUdp {
    const found = this.#udp.get(this.#places.get(conn) ?? "");
    if (found === undefined) throw new Error(`connection ${conn} is no UDP target`);
    return found;
  }
}

/** One UDP socket that we play. */
export class PlayedUdp implements AsyncDisposable {
  readonly #socket: dgram.Socket;
  readonly #received: Buffer[] = [];
  lastFrom: { readonly address: string; readonly port: number } | undefined;

  private constructor(socket: dgram.Socket) {
    this.#socket = socket;
    socket.on("message", (data, from) => {
      this.#received.push(data);
      this.lastFrom = from;
    });
  }

  static async bind(host: string): Promise<PlayedUdp> {
    const socket = dgram.createSocket(host.includes(":") ? "udp6" : "udp4");
    socket.bind(0, host);
    await once(socket, "listening");
    return new PlayedUdp(socket);
  }

  get port(): number {
    return this.#socket.address().port;
  }

  send(bytes: Buffer): void {
    this.reply(bytes);
  }

  /** To the last sender, or to another one. */
  reply(bytes: Buffer, to: PlayedUdp["lastFrom"] = this.lastFrom): void {
    if (to !== undefined) this.#socket.send(bytes, to.port, to.address);
  }

  async expect(bytes: Buffer): Promise<void> {
    const until = performance.now() + ACCEPT_MS;
    while (this.#received.length === 0) {
      if (performance.now() > until) throw new Error(`no datagram of ${bytes.byteLength} bytes`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    assertBytes(this.#received.shift() ?? Buffer.alloc(0), bytes, "datagram");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.close();
    await once(this.#socket, "close");
  }
}

/** Names of the recording machine; the second has an IPv6 address only. */
const NAMES: Readonly<Record<string, string>> = { "target.test": "localhost", "six.test": "::1" };

const ACCEPT_MS = 5_000;
