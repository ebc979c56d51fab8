import { isIPv6 } from "node:net";
import type { Clock, Timer } from "../../clock/clock.ts";
import { NetworkError, toTunnelError, type TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";

/** Dials one address. */
export type DialAddress = (address: string, signal: AbortSignal) => Promise<Connection>;

/**
 * Dials addresses, a quarter second after each other or at once after a failure, until one
 * answers; the others are given up (RFC 8305). Unlike Node's own, a slow attempt is not cut off
 * when the next one starts, so a far host with two addresses is still reached.
 *
 * @throws the most telling failure when all fail; `signal.reason` when aborted
 */
export function dialFirst(
  addresses: readonly string[],
  dial: DialAddress,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<Connection> {
  const [first] = addresses;
  if (first === undefined) {
    return Promise.reject(new NetworkError("ERR_DNS", "there is no address to dial"));
  }
  if (addresses.length === 1) return dial(first, signal);
  return new Promise((resolve, reject) => {
    const attempts = new AbortController();
    const queue = interleaved(addresses);
    const failures: TunnelError[] = [];
    let running = 0;
    let isSettled = false;
    let timer: Timer | undefined;
    const settle = (act: () => void, reason: unknown): void => {
      isSettled = true;
      timer?.cancel();
      signal.removeEventListener("abort", onAbort);
      act();
      attempts.abort(reason);
    };
    const onAbort = (): void => {
      const reason: unknown = signal.reason;
      const error = reason instanceof Error ? reason : new Error(String(reason));
      settle(() => reject(error), error);
    };
    const startNext = (): void => {
      timer?.cancel();
      const address = queue.shift();
      if (address === undefined) return;
      running++;
      if (queue.length > 0) timer = clock.schedule(ATTEMPT_DELAY_MS, startNext);
      dial(address, attempts.signal).then(onConnected, onFailed);
    };
    const onConnected = (connection: Connection): void => {
      if (isSettled) connection.reset(SUPERSEDED);
      else settle(() => resolve(connection), SUPERSEDED);
    };
    const onFailed = (thrown: unknown): void => {
      running--;
      if (isSettled) return;
      failures.push(toTunnelError(thrown, "ERR_DIAL_FAILED", "dial"));
      if (queue.length > 0) startNext();
      else if (running === 0) settle(() => reject(mostTelling(failures)), SUPERSEDED);
    };
    if (signal.aborted) {
      onAbort();
      return;
    }
    signal.addEventListener("abort", onAbort, { once: true });
    startNext();
  });
}

/** The families in turn, starting with the resolver's favourite. */
function interleaved(addresses: readonly string[]): string[] {
  const isFirstV6 = isIPv6(addresses[0] ?? "");
  const favourite = addresses.filter((address) => isIPv6(address) === isFirstV6);
  const other = addresses.filter((address) => isIPv6(address) !== isFirstV6);
  return favourite
    .flatMap((address, at) => [address, ...other.slice(at, at + 1)])
    .concat(other.slice(favourite.length));
}

/** A machine without IPv6 fails on each IPv6 address; that says nothing about the target. */
function mostTelling(failures: readonly TunnelError[]): TunnelError {
  const [first] = failures;
  const telling = failures.find(({ code }) => !UNREACHABLE.has(code)) ?? first;
  return telling ?? new NetworkError("ERR_DIAL_FAILED", "no address was dialled");
}

const UNREACHABLE: ReadonlySet<string> = new Set([
  "ERR_DIAL_NETWORK_UNREACHABLE",
  "ERR_DIAL_HOST_UNREACHABLE",
]);

const SUPERSEDED = new NetworkError("ERR_ABORTED", "another address answered first");

/** RFC 8305 section 5, "Connection Attempt Delay". */
const ATTEMPT_DELAY_MS = 250;
