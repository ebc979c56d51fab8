/** Monotonic milliseconds and timers, injected everywhere so that tests own time. */
export interface Clock {
  /** Monotonic milliseconds; only differences mean anything. */
  now(): number;
  /** Runs `callback` once, `delayMs` from now. Disposing the timer cancels it. */
  schedule(delayMs: number, callback: () => void): Timer;
}

/** One pending callback. */
export interface Timer {
  cancel(): void;
}

/** The machine's clock. Its timers do not keep the process alive. */
export const systemClock: Clock = {
  now: () => performance.now(),
  schedule(delayMs, callback) {
    const handle = setTimeout(callback, Math.min(delayMs, MAX_DELAY_MS));
    handle.unref();
    return { cancel: () => clearTimeout(handle) };
  },
};

/**
 * Resolves after `delayMs`.
 *
 * @throws `signal.reason` when `signal` aborts first
 */
export function delay(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(toError(signal.reason));
      return;
    }
    const onAbort = (): void => {
      timer.cancel();
      reject(toError(signal?.reason));
    };
    const timer = clock.schedule(delayMs, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/** A signal that aborts with `reason` after `delayMs`; dispose it when the wait is over. */
export function timeoutAfter(
  clock: Clock,
  delayMs: number,
  reason: () => Error,
): { readonly signal: AbortSignal } & Disposable {
  const controller = new AbortController();
  const timer = clock.schedule(delayMs, () => controller.abort(reason()));
  return { signal: controller.signal, [Symbol.dispose]: () => timer.cancel() };
}

function toError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason));
}

/** Node fires longer timers at once. */
const MAX_DELAY_MS = 2_147_483_647;
