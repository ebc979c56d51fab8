import assert from "node:assert/strict";
import type { Target } from "../../src/address/target.ts";
import { SlabPool } from "../../src/bytes/slab-pool.ts";
import { ManualClock } from "../../src/clock/manual-clock.ts";
import type { TunnelError } from "../../src/errors.ts";
import {
  VproxyClient,
  type VproxyClientOptions,
} from "../../src/protocols/vproxy/websocks/client.ts";
import {
  VproxyServer,
  type VproxyServerOptions,
} from "../../src/protocols/vproxy/websocks/server.ts";
import type { Connection } from "../../src/tunnel/connection.ts";
import { connectionPair } from "../../src/tunnel/connection-pair.ts";
import type { Metadata, Request } from "../../src/tunnel/request.ts";
import type { Runtime } from "../../src/tunnel/runtime.ts";
import { LogRecorder } from "./log-recorder.ts";
import { Recorder } from "./recorder.ts";
import { turns } from "./turns.ts";

/** A client and a server of WebSocks joined in memory, with a clock that moves only when told. */
export class WebSocksHouse {
  readonly clock: ManualClock = new ManualClock();
  readonly runtime: Runtime = {
    clock: this.clock,
    random: (): number => this.random,
    slabs: new SlabPool(),
  };
  readonly clientLogs: LogRecorder = new LogRecorder();
  readonly serverLogs: LogRecorder = new LogRecorder();
  readonly client: VproxyClient;
  readonly server: VproxyServer;
  readonly requests: Request[] = [];
  readonly states: string[] = [];
  readonly refusals: TunnelError[] = [];
  /** Both ends of every carrier, ours of the client first. */
  readonly carriers: (readonly [Connection, Connection])[] = [];
  random = 0.5;
  /** How far the clock of the client is ahead. */
  clientAheadMs = 0;
  /** What a carrier fails with; absent: it does not. */
  fails: TunnelError | undefined;
  /** Whether carriers lead nowhere, so that nothing answers. */
  isSilent = false;
  /** Carriers being made, and the most there were. */
  dialling = 0;
  mostDialling = 0;

  constructor(
    client: Partial<VproxyClientOptions> = {},
    server: Partial<VproxyServerOptions> = {},
  ) {
    this.server = new VproxyServer({
      name: "vproxy test",
      users: new Map([
        ["alice", "pasSw0rD"],
        ["bob", "secret"],
      ]),
      onRequest: (request) => void this.requests.push(request),
      runtime: this.runtime,
      logger: this.serverLogs,
      unixMs: () => this.unixMs,
      ...server,
    });
    this.client = new VproxyClient({
      name: "test",
      description: "vproxy+memory",
      host: "server.example",
      port: 8_443,
      openCarrier: async (signal) => await this.#openCarrier(signal),
      user: "alice",
      password: "pasSw0rD",
      runtime: this.runtime,
      logger: this.clientLogs,
      unixMs: () => this.unixMs + this.clientAheadMs,
      onStatus: ({ state }) => void this.states.push(state),
      onRefused: (error) => void this.refusals.push(error),
      ...client,
    });
  }

  /** The wall clock. */
  get unixMs(): number {
    return START_UNIX_MS + this.clock.now();
  }

  /** Opens; the answer is the test's business. */
  open(target: Target = TARGET, signal: AbortSignal = NEVER): Promise<Connection> {
    return this.client.open(target, { signal, metadata: METADATA });
  }

  /** The next request that came in. */
  async request(): Promise<Request> {
    for (let turn = 0; turn < 50 && this.requests.length === 0; turn++) await turns(1);
    return this.requests.shift() ?? assert.fail("no request came in");
  }

  /** A whole stream: both its ends are read. */
  async stream(): Promise<{ app: Recorder; target: Recorder; request: Request }> {
    const opening = this.open();
    const request = await this.request();
    const target = new Recorder(request.accept());
    target.connection.resume();
    const app = new Recorder(await opening);
    app.connection.resume();
    return { app, target, request };
  }

  /** A connection of somebody else to the server, which is read. */
  visit(peer = "192.0.2.7:5000"): Recorder {
    const [near, far] = connectionPair(this.runtime, { names: [peer, "server:8443"] });
    this.server.accept(far);
    const recorder = new Recorder(near);
    near.resume();
    return recorder;
  }

  /** Moves time on in small steps, so that everything that waits gets its turn. */
  async passTime(ms: number, stepMs = 50): Promise<void> {
    for (let left = ms; left > 0; left -= stepMs) {
      this.clock.advance(Math.min(stepMs, left));
      await turns(3);
    }
  }

  async #openCarrier(signal: AbortSignal): Promise<Connection> {
    this.dialling++;
    this.mostDialling = Math.max(this.mostDialling, this.dialling);
    await turns(2);
    this.dialling--;
    signal.throwIfAborted();
    if (this.fails !== undefined) throw this.fails;
    const port = 10_000 + this.carriers.length;
    const names = [`192.0.2.1:${port}`, "server:8443"] as const;
    const pair = connectionPair(this.runtime, { names });
    this.carriers.push(pair);
    if (!this.isSilent) this.server.accept(pair[1]);
    return pair[0];
  }
}

/** What every stream of a house asks for, unless told otherwise. */
export const TARGET: Target = { network: "tcp", host: "example.com", port: 80 };

/** Who asks. */
export const METADATA: Metadata = { inbound: "test", source: "127.0.0.1:1" };

/** The middle of a minute. */
export const START_UNIX_MS: number = Date.UTC(2026, 10, 20, 16, 26, 30);

const NEVER = new AbortController().signal;
