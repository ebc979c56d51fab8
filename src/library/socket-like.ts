import type { Duplex } from "node:stream";
import type { Clock, Timer } from "../clock/clock.ts";

/** A duplex with what Node's HTTP client also wants of a socket. */
export interface SocketLike extends Duplex {
  setKeepAlive(): this;
  setNoDelay(): this;
  ref(): this;
  unref(): this;
  /** Emits `timeout` when nothing was read or written for `timeoutMs`; 0 turns it off. */
  setTimeout(timeoutMs: number, onTimeout?: () => void): this;
}

/** Adds the methods of a socket; those about TCP do nothing, because there is none. */
export function toSocketLike(duplex: Duplex, clock: Clock): SocketLike {
  let timer: Timer | undefined;
  let timeoutMs = 0;
  const rearm = (): void => {
    timer?.cancel();
    timer = undefined;
    if (timeoutMs > 0 && !duplex.destroyed) {
      timer = clock.schedule(timeoutMs, () => void duplex.emit("timeout"));
    }
  };
  const push = duplex.push.bind(duplex);
  const write = duplex.write.bind(duplex);
  duplex.once("close", () => timer?.cancel());
  const nothing = (): SocketLike => socket;
  const socket: SocketLike = Object.assign(duplex, {
    setKeepAlive: nothing,
    setNoDelay: nothing,
    ref: nothing,
    unref: nothing,
    setTimeout: (ms: number, onTimeout?: () => void): SocketLike => {
      timeoutMs = ms;
      if (onTimeout !== undefined) {
        if (ms > 0) duplex.once("timeout", onTimeout);
        else duplex.off("timeout", onTimeout);
      }
      rearm();
      return socket;
    },
    push: (...args: Parameters<Duplex["push"]>): boolean => {
      if (timer !== undefined) rearm();
      return push(...args);
    },
    write: (...args: Parameters<Duplex["write"]>): boolean => {
      if (timer !== undefined) rearm();
      return write(...args);
    },
  });
  return socket;
}
