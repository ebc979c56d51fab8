import { createHash } from "node:crypto";
import { SlabPool } from "../../src/bytes/slab-pool.ts";
import { ManualClock } from "../../src/clock/manual-clock.ts";
import { toTunnelError } from "../../src/errors.ts";
import { encodeMessage, parseMessage } from "../../src/protocols/linksocks/codec.ts";
import { parseHello } from "../../src/protocols/linksocks/extension.ts";
import type { Message } from "../../src/protocols/linksocks/messages.ts";
import {
  LinkSocksServer,
  type LinkSocksServerOptions,
} from "../../src/protocols/linksocks/server.ts";
import type { Connection } from "../../src/tunnel/connection.ts";
import { connectionPair } from "../../src/tunnel/connection-pair.ts";
import type { Outbound, PacketRequest, Request } from "../../src/tunnel/request.ts";
import type { Runtime } from "../../src/tunnel/runtime.ts";
import { LogRecorder } from "./log-recorder.ts";
import { Recorder } from "./recorder.ts";
import { turns } from "./turns.ts";

/** Tokens of every {@link House}. */
export const TOKENS = {
  forward: "forward-token",
  provider: "provider-token",
  connector: "connector-token",
  autonomy: "autonomy-token",
} as const;

/** A LinkSocks server in memory, with a clock moved by hand and peers that follow a script. */
export class LinkSocksHouse {
  readonly clock: ManualClock = new ManualClock();
  readonly logs: LogRecorder = new LogRecorder();
  readonly runtime: Runtime = { clock: this.clock, random: () => 0.5, slabs: new SlabPool() };
  readonly requests: Request[] = [];
  readonly packetRequests: PacketRequest[] = [];
  /** Ways out that are known now. */
  readonly outbounds: Map<string, Outbound> = new Map();
  readonly server: LinkSocksServer;
  /** What is done with every request; by default it goes where its `via` says, if it has one. */
  onRequest: (request: Request) => void = (request) => this.#route(request);
  #peers = 0;

  constructor(options: Partial<LinkSocksServerOptions> = {}) {
    this.server = new LinkSocksServer({
      name: "house",
      clients: [{ name: "alice", token: TOKENS.forward }],
      providers: [
        { name: "office", token: TOKENS.provider, autonomy: false },
        { name: "free", token: TOKENS.autonomy, autonomy: true },
      ],
      connectors: [{ name: "bob", token: TOKENS.connector, provider: "office" }],
      anonymous: false,
      runtime: this.runtime,
      wallTime: () => new Date(Date.UTC(2026, 0, 2, 3, 4, 5) + this.clock.now()),
      logger: this.logs,
      // Between a server and a scripted peer nobody speaks our dialect.
      options: { extensions: false },
      direct: false,
      onRequest: (request) => {
        this.requests.push(request);
        this.onRequest(request);
      },
      onPacketRequest: (request) => void this.packetRequests.push(request),
      outbounds: {
        add: (outbound) => void this.outbounds.set(outbound.name, outbound),
        remove: (name) => void this.outbounds.delete(name),
      },
      ...options,
    });
  }

  /** A peer that asked for this path and query. */
  connect(path: string, name = `peer${++this.#peers}:1`): HousePeer {
    const [near, far] = connectionPair(this.runtime, { names: [name, "house"] });
    this.server.accept(far, path);
    return new HousePeer(near);
  }

  /** A peer that logs in through the URL, and is welcome. */
  async logIn(token: string, query: Readonly<Record<string, string>> = {}): Promise<HousePeer> {
    const search = new URLSearchParams({ token: sha256(token), ...query });
    const peer = this.connect(`/socket?${search.toString()}`);
    await turns();
    return peer;
  }

  /** Joins request and way out, as a relay would, without splicing. */
  #route(request: Request): void {
    const { target, metadata, signal } = request;
    const outbound = this.outbounds.get(metadata.via ?? "");
    if (outbound === undefined) return;
    outbound.dial(target, { signal, metadata }).then(
      (connection) => join(request.accept(), connection),
      (thrown: unknown) => request.reject(toTunnelError(thrown, "ERR_DIAL_FAILED", "dial")),
    );
  }
}

/** One WebSocket of a scripted peer. */
export class HousePeer {
  readonly connection: Connection;
  readonly recorder: Recorder;
  #read = 0;

  constructor(connection: Connection) {
    this.connection = connection;
    this.recorder = new Recorder(connection);
    connection.resume();
  }

  /** Whether the server ended it. */
  get isClosed(): boolean {
    return this.recorder.events.some((event) => event === "end" || event.startsWith("close"));
  }

  say(message: Message): void {
    this.connection.write([encodeMessage(message)]);
  }

  sayBytes(bytes: Uint8Array): void {
    this.connection.write([bytes]);
  }

  /** The messages it heard since the last time, after everything on its way arrived. */
  async heard(): Promise<Message[]> {
    await turns(20);
    const chunks = this.recorder.chunks.slice(this.#read);
    this.#read = this.recorder.chunks.length;
    return chunks.flatMap((chunk): Message[] => {
      const message = parseMessage(chunk);
      if (message.type === "malformed") throw message.error;
      if (message.type === "data") {
        return [{ ...message, payload: Uint8Array.from(message.payload) }];
      }
      return message.type === "log" && parseHello(message) !== undefined ? [] : [message];
    });
  }
}

/** What a URL says of a token. */
export function sha256(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}

/** Passes on what each hears, without backpressure. */
function join(one: Connection, other: Connection): void {
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const) {
    from.attach({
      onData: (chunk) => void to.write([chunk]),
      onEnd: () => to.finish(),
      onDrain: () => {},
      onClose: (error) => {
        if (error === undefined) to.close();
        else to.reset(error);
      },
    });
    from.resume();
  }
}
