import { formatTarget } from "../address/target.ts";
import { type Blame, blameOf, NetworkError, toTunnelError, type TunnelError } from "../errors.ts";
import type { Connection } from "../tunnel/connection.ts";
import type { Outbound, Request } from "../tunnel/request.ts";
import type { Runtime } from "../tunnel/runtime.ts";
import type { Router } from "./router.ts";
import { type Splice, splice, type SpliceResult } from "./splice.ts";

/** One stream, or one association of datagrams, as `sluice streams` shows it. */
export interface StreamInfo {
  /** Counts up from 1, never used twice. */
  readonly id: number;
  /** `refused`: closed without ever having been open. */
  readonly state: "dialling" | "open" | "closed" | "refused";
  /** The inbound's name. */
  readonly from: string;
  /** `host:port` of the client. */
  readonly source: string;
  readonly user: string | undefined;
  /** `host:port` of the target; of many, the latest, and how many others there were. */
  readonly to: string;
  /** The outbound's name, of an association's maybe several; `undefined` before one was chosen. */
  readonly via: string | undefined;
  /** Bytes from the client to the target. */
  readonly bytesUp: number;
  readonly bytesDown: number;
  /** Datagrams each way; absent for a stream of bytes. */
  readonly packetsUp?: number | undefined;
  readonly packetsDown?: number | undefined;
  /** When it was asked for, in the clock's monotonic milliseconds. */
  readonly since: number;
}

/** How a stream ended. */
export interface StreamEnd {
  /** `undefined`: in order, by both sides. */
  readonly error: TunnelError | undefined;
  /** Whose fault the error was. */
  readonly fault: Blame | undefined;
}

/** What a stream needs and whom it tells. */
export interface LiveStreamOptions {
  readonly id: number;
  readonly router: Router;
  readonly runtime: Runtime;
  readonly dialTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly halfClosedTimeoutMs: number;
  onOpened(): void;
  /** Exactly once, last. */
  onClosed(end: StreamEnd): void;
}

/** The life of one request: choose, dial, accept or reject, splice. */
export class LiveStream {
  readonly #request: Request;
  readonly #options: LiveStreamOptions;
  readonly #since: number;
  readonly #dialling = new AbortController();
  #via: string | undefined;
  #state: StreamInfo["state"] = "dialling";
  #splice: Splice | undefined;

  constructor(request: Request, options: LiveStreamOptions) {
    this.#request = request;
    this.#options = options;
    this.#since = options.runtime.clock.now();
  }

  /** A snapshot. */
  get info(): StreamInfo {
    const { target, metadata } = this.#request;
    return {
      id: this.#options.id,
      state: this.#state,
      from: metadata.inbound,
      source: metadata.source,
      user: metadata.user,
      to: formatTarget(target),
      via: this.#via,
      bytesUp: this.#splice?.bytesUp ?? 0,
      bytesDown: this.#splice?.bytesDown ?? 0,
      since: this.#since,
    };
  }

  /** Ends the stream hard: rejects it while it is being dialled, resets it afterwards. */
  abort(error: TunnelError): void {
    if (this.#splice === undefined) this.#dialling.abort(error);
    else this.#splice.abort(error);
  }

  /** Runs to the point where the splice takes over. Never rejects. */
  async run(): Promise<void> {
    const { target, metadata } = this.#request;
    let connection: Connection;
    try {
      const outbound = this.#options.router.choose(target, metadata);
      this.#via = outbound.name;
      connection = await this.#dial(outbound);
    } catch (thrown) {
      this.#refuse(toTunnelError(thrown, "ERR_DIAL_FAILED", formatTarget(target)));
      return;
    }
    this.#join(connection);
  }

  /** Dials with the client's patience and ours; an outbound that ignores the signal is outwaited. */
  #dial(outbound: Outbound): Promise<Connection> {
    const { target, metadata, signal: client } = this.#request;
    const { dialTimeoutMs, runtime } = this.#options;
    const { signal } = this.#dialling;
    return new Promise((resolve, reject) => {
      const settle = (act: () => void): void => {
        timer.cancel();
        client.removeEventListener("abort", onClientGone);
        signal.removeEventListener("abort", onAbort);
        act();
      };
      const onAbort = (): void => settle(() => reject(toTunnelError(signal.reason, ...GONE)));
      const onClientGone = (): void => this.#dialling.abort(toTunnelError(client.reason, ...GONE));
      const timer = runtime.clock.schedule(dialTimeoutMs, () => {
        const text = `${formatTarget(target)} via ${outbound.name}: not open within ${dialTimeoutMs} ms`;
        this.#dialling.abort(new NetworkError("ERR_DIAL_TIMEOUT", text));
      });
      signal.addEventListener("abort", onAbort, { once: true });
      client.addEventListener("abort", onClientGone, { once: true });
      if (client.aborted) onClientGone();
      if (signal.aborted) return;
      Promise.try(() => outbound.dial(target, { signal, metadata })).then(
        (connection) => {
          if (signal.aborted) connection.reset(toTunnelError(signal.reason, ...GONE));
          else settle(() => resolve(connection));
        },
        (thrown: unknown) =>
          settle(() => reject(toTunnelError(thrown, "ERR_DIAL_FAILED", formatTarget(target)))),
      );
    });
  }

  #refuse(error: TunnelError): void {
    this.#close({ error, fault: blameOf(error) });
    this.#request.reject(error);
  }

  #join(target: Connection): void {
    const { runtime, idleTimeoutMs, halfClosedTimeoutMs } = this.#options;
    let client: Connection;
    try {
      client = this.#request.accept();
    } catch (thrown) {
      const error = toTunnelError(thrown, "ERR_CLOSED", "accept");
      target.reset(error);
      this.#close({ error, fault: "ours" });
      return;
    }
    this.#state = "open";
    this.#options.onOpened();
    let early: SpliceResult | undefined;
    const onClose = (result: SpliceResult): void => {
      // A leg may be gone already; the counts are read through the splice.
      if (this.#splice === undefined) early = result;
      else this.#close(endOf(result));
    };
    const { clock } = runtime;
    this.#splice = splice(client, target, { clock, idleTimeoutMs, halfClosedTimeoutMs, onClose });
    if (early !== undefined) this.#close(endOf(early));
  }

  #close(end: StreamEnd): void {
    if (this.#state === "closed" || this.#state === "refused") return;
    this.#state = this.#state === "open" ? "closed" : "refused";
    this.#options.onClosed(end);
  }
}

function endOf({ error, side }: SpliceResult): StreamEnd {
  if (error === undefined) return { error, fault: undefined };
  const blame = blameOf(error);
  // The codes say "target" of the far end of a connection; on this leg that is the client.
  return { error, fault: side === "client" && blame === "target" ? "client" : blame };
}

const GONE = ["ERR_ABORTED", "client gave up"] as const;
