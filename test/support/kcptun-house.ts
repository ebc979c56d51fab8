import { SlabPool } from "../../src/bytes/slab-pool.ts";
import { ManualClock } from "../../src/clock/manual-clock.ts";
import type { TunnelError } from "../../src/errors.ts";
import {
  KcptunClient,
  type KcptunClientOptions,
} from "../../src/protocols/vproxy/kcptun-client.ts";
import {
  KcptunServer,
  type KcptunServerOptions,
} from "../../src/protocols/vproxy/kcptun-server.ts";
import type { Connection } from "../../src/tunnel/connection.ts";
import type { Request } from "../../src/tunnel/request.ts";
import type { Runtime } from "../../src/tunnel/runtime.ts";
import { type Cut, CutLink } from "./cut-link.ts";
import { LogRecorder } from "./log-recorder.ts";
import { TestClient, turns } from "./test-client.ts";

/** Both ends of KcpTun in memory, and a wire between them that can be cut. */
export class KcptunHouse {
  readonly clock: ManualClock = new ManualClock();
  readonly runtime: Runtime = { clock: this.clock, random: () => 0.5, slabs: new SlabPool() };
  readonly client: KcptunClient;
  readonly server: KcptunServer;
  readonly log: LogRecorder = new LogRecorder();
  readonly links: CutLink[] = [];
  readonly requests: Request[] = [];
  readonly states: string[] = [];
  /** How the links of the next dials break. */
  cut: Cut | undefined;
  /** Why the next dials fail. */
  fails: TunnelError | undefined;
  /** What the target does; by default it says everything back, and ends when the other side does. */
  onRequest: (request: Request) => void = (request) => echo(request.accept());
  /** Takes the far end of a link in place of the server. */
  onFar: ((far: Connection) => void) | undefined;

  constructor(
    client: Partial<KcptunClientOptions> = {},
    server: Partial<KcptunServerOptions> = {},
  ) {
    const { runtime, log } = this;
    this.server = new KcptunServer({
      name: "kcptun test",
      runtime,
      logger: log,
      target: { network: "tcp", host: "fixed.test", port: 7 },
      onRequest: (request) => {
        this.requests.push(request);
        this.onRequest(request);
      },
      ...server,
    });
    this.client = new KcptunClient({
      name: "test",
      runtime,
      logger: log,
      dialer: { description: "kcptun+memory", dial: async () => await this.#dial() },
      onStatus: ({ state }) => {
        if (this.states.at(-1) !== state) this.states.push(state);
      },
      ...client,
    });
  }

  /** Opens a stream and writes down what it hears. */
  async open(signal: AbortSignal = new AbortController().signal): Promise<TestClient> {
    const target = { network: "tcp", host: "ignored.test", port: 1 } as const;
    const metadata = { inbound: "test", source: "test" };
    return new TestClient(await this.client.open(target, { signal, metadata }));
  }

  /** Lets time pass, a little at a time, and all that it sets going happen. */
  async pass(ms: number): Promise<void> {
    const until = this.clock.now() + ms;
    while (this.clock.now() < until) {
      await turns(4);
      this.clock.advance(Math.min(STEP_MS, until - this.clock.now()));
    }
    await turns(4);
  }

  async #dial(): Promise<Connection> {
    await turns(1);
    if (this.fails !== undefined) throw this.fails;
    const link = new CutLink(this.runtime, this.cut, "192.0.2.1:5000");
    this.links.push(link);
    if (this.onFar === undefined) this.server.accept(link.far);
    else this.onFar(link.far);
    return link.near;
  }
}

/** How a connection ended so far. */
export function endsOf({ events }: TestClient): string[] {
  return events.filter((event) => event !== "drain");
}

/** Says back what it hears. */
export function echo(connection: Connection): void {
  connection.attach({
    onData: (chunk) => void connection.write([chunk]),
    onEnd: () => connection.finish(),
    onDrain: () => {},
    onClose: () => {},
  });
  connection.resume();
}

const STEP_MS = 50;
