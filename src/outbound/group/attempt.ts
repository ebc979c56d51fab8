import { toTunnelError, type TunnelError } from "../../errors.ts";

/** How an attempt may end before it succeeds. */
export interface AttemptOptions<Opened> {
  /** Aborts it; whoever ignores the signal is outwaited. */
  readonly signal: AbortSignal;
  /** Gets rid of what was opened too late. */
  discard(late: Opened, reason: TunnelError): void;
}

/**
 * Opens something, and gives up as soon as the signal says so.
 *
 * @throws what `open` throws; `signal.reason` when aborted
 */
export function attempt<Opened>(
  open: (signal: AbortSignal) => Promise<Opened>,
  options: AttemptOptions<Opened>,
): Promise<Opened> {
  const { signal } = options;
  return new Promise((resolve, reject) => {
    const reasonOf = (): TunnelError => toTunnelError(signal.reason, "ERR_ABORTED", "open");
    const onAbort = (): void => reject(reasonOf());
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) {
      onAbort();
      return;
    }
    Promise.try(() => open(signal)).then(
      (opened) => {
        signal.removeEventListener("abort", onAbort);
        if (signal.aborted) options.discard(opened, reasonOf());
        else resolve(opened);
      },
      (thrown: unknown) => {
        signal.removeEventListener("abort", onAbort);
        reject(toTunnelError(thrown, "ERR_DIAL_FAILED", "open"));
      },
    );
  });
}
