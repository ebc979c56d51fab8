import { lookup as systemLookup } from "node:dns/promises";
import { isIP } from "node:net";
import { type Clock, timeoutAfter } from "../../clock/clock.ts";
import { NetworkError, PolicyError, systemCode, TunnelError } from "../../errors.ts";

/** Finds all addresses of a name, best first. Rejects with a Node system error. */
export type Lookup = (host: string) => Promise<readonly string[]>;

/** Bounds of a {@link Resolver}. */
export interface ResolverOptions {
  readonly clock: Clock;
  /** @default the system's resolver, `getaddrinfo` */
  readonly lookup?: Lookup | undefined;
  /** Waiting for a free place included. @default 5000 */
  readonly timeoutMs?: number | undefined;
  /** Names asked for at one time. @default 32 */
  readonly maxRunning?: number | undefined;
  /** Names that wait for a free place; more are refused. @default 1024 */
  readonly maxWaiting?: number | undefined;
}

/**
 * Resolves names within bounds. Requests for a name that is being asked for share the answer;
 * nothing is remembered afterwards.
 */
export class Resolver {
  readonly #clock: Clock;
  readonly #lookup: Lookup;
  readonly #timeoutMs: number;
  readonly #maxRunning: number;
  readonly #maxWaiting: number;
  readonly #asked = new Map<string, Promise<readonly string[]>>();
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor({
    clock,
    lookup = lookupAll,
    timeoutMs = DEFAULT_TIMEOUT_MS,
    maxRunning = DEFAULT_MAX_RUNNING,
    maxWaiting = DEFAULT_MAX_WAITING,
  }: ResolverOptions) {
    this.#clock = clock;
    this.#lookup = lookup;
    this.#timeoutMs = timeoutMs;
    this.#maxRunning = maxRunning;
    this.#maxWaiting = maxWaiting;
  }

  /**
   * All addresses of a name, best first, at most 16.
   *
   * @throws NetworkError `ERR_DNS`, PolicyError `ERR_LIMIT`, `signal.reason` when aborted
   */
  async resolve(host: string, signal: AbortSignal): Promise<readonly string[]> {
    using deadline = timeoutAfter(this.#clock, this.#timeoutMs, () => {
      const text = `${host}: name server gave no answer within ${this.#timeoutMs} ms`;
      return new NetworkError("ERR_DNS", text);
    });
    const answer = await untilAborted(this.#ask(host), [signal, deadline.signal]);
    const addresses = [...new Set(answer.filter((address) => isIP(address) !== 0))];
    if (addresses.length === 0) throw new NetworkError("ERR_DNS", `${host}: has no address`);
    return addresses.slice(0, MAX_ADDRESSES);
  }

  #ask(host: string): Promise<readonly string[]> {
    const shared = this.#asked.get(host);
    if (shared !== undefined) return shared;
    const asking = this.#run(host).finally(() => this.#asked.delete(host));
    this.#asked.set(host, asking);
    return asking;
  }

  /** A place is held until the system answers, whoever still waits: its thread is busy as long. */
  async #run(host: string): Promise<readonly string[]> {
    if (this.#running < this.#maxRunning) this.#running++;
    else await this.#place();
    try {
      return await this.#lookup(host);
    } catch (thrown) {
      throw thrown instanceof TunnelError ? thrown : lookupError(thrown, host);
    } finally {
      const next = this.#waiting.shift();
      // The place passes on, or becomes free.
      if (next === undefined) this.#running--;
      else next();
    }
  }

  #place(): Promise<void> {
    if (this.#waiting.length >= this.#maxWaiting) {
      const text = `${this.#running + this.#waiting.length} names are being resolved, the limit here`;
      return Promise.reject(new PolicyError("ERR_LIMIT", text));
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}

async function lookupAll(host: string): Promise<readonly string[]> {
  return (await systemLookup(host, { all: true })).map(({ address }) => address);
}

function untilAborted<Value>(
  promise: Promise<Value>,
  signals: readonly AbortSignal[],
): Promise<Value> {
  const signal = AbortSignal.any([...signals]);
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      reject(signal.reason instanceof Error ? signal.reason : new Error(String(signal.reason)));
    };
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}

function lookupError(cause: unknown, host: string): NetworkError {
  const code = systemCode(cause) ?? "";
  if (code === "ENOTFOUND" || code === "ENODATA") {
    const hint = "check the spelling, and which name server the exit asks";
    return new NetworkError("ERR_DNS", `${host}: name does not resolve`, { cause, hint });
  }
  const reason = code === "EAI_AGAIN" ? "name server gave no answer" : `cannot resolve: ${code}`;
  return new NetworkError("ERR_DNS", `${host}: ${reason}`, { cause });
}

/** Less than the patience of a client, more than one retry of a resolver. */
const DEFAULT_TIMEOUT_MS = 5_000;

/** The system resolves a few at a time anyway; more only fills its queue. */
const DEFAULT_MAX_RUNNING = 32;
const DEFAULT_MAX_WAITING = 1024;

/** No honest name has more that matter; each costs a dial. */
const MAX_ADDRESSES = 16;
