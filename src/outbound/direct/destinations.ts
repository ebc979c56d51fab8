import { isIP, isIPv4, isIPv6 } from "node:net";
import { normalizeHostName } from "../../address/host-name.ts";
import { formatTarget, type Target } from "../../address/target.ts";
import type { Clock } from "../../clock/clock.ts";
import { NetworkError, toTunnelError, type TunnelError } from "../../errors.ts";
import type { Metadata } from "../../tunnel/request.ts";
import type { DialPolicy } from "./dial-policy.ts";
import type { Resolver } from "./resolver.ts";

/** What {@link Destinations} works with. */
export interface DestinationsOptions {
  readonly clock: Clock;
  readonly resolver: Resolver;
  readonly policy: DialPolicy | undefined;
  readonly metadata: Metadata;
  readonly ipVersion: 4 | 6 | undefined;
  /** Ends the questions that are still open. */
  readonly signal: AbortSignal;
  /** Datagrams to this target are dropped. Called for each one that asks anew. */
  onRefused(target: Target, error: TunnelError): void;
}

type Destination =
  /** `address` is `undefined` where the policy said no. */
  | { readonly state: "known"; readonly address: string | undefined; readonly until: number }
  | { readonly state: "asked"; readonly waiting: ((address: string) => void)[] };

/**
 * The judged addresses of one association's targets. Answers are kept for a while, since datagrams
 * come often; a name that is being resolved holds up its own datagrams alone.
 *
 * Of several addresses the first IPv4 one is taken: no handshake tells which would have worked.
 */
export class Destinations {
  readonly #options: DestinationsOptions;
  readonly #known = new Map<string, Destination>();

  constructor(options: DestinationsOptions) {
    this.#options = options;
  }

  /** Calls `send` with the address, at once or later; never when it is denied or does not resolve. */
  find(host: string, port: number, send: (address: string) => void): void {
    const key = `${host} ${port}`;
    const found = this.#known.get(key);
    if (found?.state === "asked") {
      if (found.waiting.length < MAX_WAITING) found.waiting.push(send);
    } else if (found !== undefined && found.until > this.#options.clock.now()) {
      if (found.address !== undefined) send(found.address);
    } else {
      this.#ask({ network: "udp", host, port }, key, send);
    }
  }

  #ask(target: Target, key: string, send: (address: string) => void): void {
    if (isIP(target.host) !== 0) {
      const address = this.#judge(target, key, [target.host]);
      if (address !== undefined) send(address);
      return;
    }
    const waiting = [send];
    this.#keep(key, { state: "asked", waiting });
    this.#resolve(target).then(
      (addresses) => {
        const address = this.#judge(target, key, addresses);
        if (address !== undefined) for (const each of waiting) each(address);
      },
      (thrown: unknown) => {
        this.#known.delete(key); // the next datagram asks again
        if (this.#options.signal.aborted) return;
        this.#options.onRefused(target, toTunnelError(thrown, "ERR_DNS", target.host));
      },
    );
  }

  async #resolve(target: Target): Promise<readonly string[]> {
    const { policy, metadata, resolver, signal } = this.#options;
    if (normalizeHostName(target.host) === undefined) {
      throw new NetworkError("ERR_ADDRESS_UNSUPPORTED", `${formatTarget(target)} is no host name`);
    }
    const denied = policy?.checkName(target, metadata);
    if (denied !== undefined) throw denied;
    return await resolver.resolve(target.host, signal);
  }

  /** Chooses, and remembers what it chose. */
  #judge(target: Target, key: string, addresses: readonly string[]): string | undefined {
    const { policy, metadata, ipVersion, clock } = this.#options;
    const usable = addresses
      .filter((address) => ipVersion === undefined || isIPv6(address) === (ipVersion === 6))
      .toSorted((one, other) => Number(isIPv4(other)) - Number(isIPv4(one)));
    let refusal: TunnelError | undefined;
    const chosen = usable.find((address) => {
      const denied = policy?.checkAddress(address, target, metadata);
      refusal ??= denied;
      return denied === undefined;
    });
    this.#keep(key, { state: "known", address: chosen, until: clock.now() + KNOWN_MS });
    if (chosen !== undefined) return chosen;
    const text = `${formatTarget(target)} has no IPv${ipVersion} address, and only those are used`;
    this.#options.onRefused(target, refusal ?? new NetworkError("ERR_ADDRESS_UNSUPPORTED", text));
    return undefined;
  }

  #keep(key: string, destination: Destination): void {
    this.#known.delete(key);
    this.#known.set(key, destination);
    const [oldest] = this.#known.keys();
    if (this.#known.size > MAX_KNOWN && oldest !== undefined) this.#known.delete(oldest);
  }
}

/** How long an answer holds: less than most names promise, far more than datagrams are apart. */
const KNOWN_MS = 30_000;

/** Targets one association remembers; the one asked longest ago is forgotten first. */
const MAX_KNOWN = 1_024;

/** Datagrams that wait for one name; what comes beyond is lost, as if the network were slow. */
const MAX_WAITING = 64;
