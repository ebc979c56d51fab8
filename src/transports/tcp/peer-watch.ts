import type net from "node:net";
import type { Clock, Timer } from "../../clock/clock.ts";
import { NetworkError } from "../../errors.ts";
import { readTcpInfo, type TcpInfo } from "./tcp-info.ts";

/** How a socket finds out that its peer is gone. */
export interface PeerWatchOptions {
  readonly clock: Clock;
  /** Longest silence on an idle connection before the kernel asks, ms; 0: it never asks. */
  readonly keepaliveMs: number;
  /** How long the peer may owe an acknowledgement, ms; `undefined`: as long as the kernel lets it. */
  readonly ackTimeoutMs?: number | undefined;
  /** @default the kernel's own knowledge */
  readonly read?: (socket: net.Socket) => TcpInfo | undefined;
}

/**
 * Makes a dead peer known: on an idle connection by the kernel's keepalive, within twice
 * `keepaliveMs`; with data in flight, when nothing is acknowledged for `ackTimeoutMs` (Linux), at
 * most half as long again later. A peer that lives but does not read acknowledges probes.
 *
 * Not `TCP_USER_TIMEOUT`: that takes a peer with a closed window for dead.
 *
 * @param onDead called at most once, with what to say
 */
export function watchPeer(
  socket: net.Socket,
  options: PeerWatchOptions,
  onDead: (error: NetworkError) => void,
): void {
  const { clock, keepaliveMs, ackTimeoutMs, read = readTcpInfo } = options;
  if (keepaliveMs > 0) {
    const { intervalMs, count } = keepaliveProbes(keepaliveMs);
    socket.setKeepAlive(true, keepaliveMs, intervalMs, count);
  }
  if (ackTimeoutMs === undefined || ackTimeoutMs <= 0 || read(socket) === undefined) return;
  const debt = new AckDebt(ackTimeoutMs);
  const peer = socket.remoteAddress ?? "peer";
  let timer: Timer;
  const look = (): void => {
    const info = read(socket);
    if (info === undefined) return; // closed
    if (debt.isOverdue(info, clock.now())) {
      const text = `${peer} acknowledged nothing for ${ackTimeoutMs} ms with data on its way`;
      const hint = "the network in between, or the other machine, is gone";
      onDead(new NetworkError("ERR_PEER_SILENT", text, { hint }));
      return;
    }
    timer = clock.schedule(ackTimeoutMs / 2, look);
  };
  timer = clock.schedule(ackTimeoutMs / 2, look);
  socket.once("close", () => timer.cancel());
}

/** For how long a peer owes an acknowledgement. Pure. */
export class AckDebt {
  readonly #timeoutMs: number;
  #since: number | undefined;

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  /** Whether nothing was acknowledged for the whole timeout, though something was owed all along. */
  isOverdue({ isOwed, lastAckMs }: TcpInfo, now: number): boolean {
    if (!isOwed) {
      this.#since = undefined;
      return false;
    }
    if (this.#since === undefined || now - this.#since >= lastAckMs) this.#since = now;
    return now - this.#since >= this.#timeoutMs;
  }
}

/** Probes that are over before twice the keepalive is: the kernel counts in whole seconds. */
function keepaliveProbes(keepaliveMs: number): { intervalMs: number; count: number } {
  const seconds = Math.max(1, Math.floor(keepaliveMs / 6000));
  const count = Math.max(1, Math.min(10, Math.floor((0.8 * keepaliveMs) / 1000 / seconds)));
  return { intervalMs: seconds * 1000, count };
}
