import { toTunnelError, type TunnelError } from "../errors.ts";

/** What waits for the peer's answer to an open, by stream id. */
export class PendingOpens {
  readonly #pending = new Map<number, Pending>();

  /**
   * Resolves with `channel` once the peer accepts it.
   *
   * @param giveUp ends the channel when `signal` aborts before
   * @throws what `fail` was given; `signal.reason`
   */
  wait<Channel>(
    streamId: number,
    channel: Channel,
    signal: AbortSignal,
    giveUp: (error: TunnelError) => void,
  ): Promise<Channel> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#pending.delete(streamId);
        const error = toTunnelError(signal.reason, "ERR_ABORTED", "open");
        giveUp(error);
        reject(error);
      };
      this.#pending.set(streamId, {
        accept: () => {
          signal.removeEventListener("abort", onAbort);
          resolve(channel);
        },
        fail: (error) => {
          signal.removeEventListener("abort", onAbort);
          reject(error);
        },
      });
      signal.addEventListener("abort", onAbort, { once: true });
      if (signal.aborted) queueMicrotask(onAbort); // the open leaves first
    });
  }

  accept(streamId: number): void {
    this.#take(streamId)?.accept();
  }

  fail(streamId: number, error: TunnelError): void {
    this.#take(streamId)?.fail(error);
  }

  failAll(error: TunnelError): void {
    for (const pending of this.#pending.values()) pending.fail(error);
    this.#pending.clear();
  }

  #take(streamId: number): Pending | undefined {
    const pending = this.#pending.get(streamId);
    this.#pending.delete(streamId);
    return pending;
  }
}

interface Pending {
  accept(): void;
  fail(error: TunnelError): void;
}
