import type { BindUdp } from "./datagrams.ts";
import type { Logger } from "./logger.ts";
import type { Logins } from "./logins.ts";
import type { OnRequest, OnPacketRequest } from "./request.ts";
import type { Runtime } from "./runtime.ts";

/** What every inbound needs, whatever it speaks. */
export interface InboundOptions {
  /** Its name in logs and routes: `socks 127.0.0.1:1080`. */
  readonly name: string;
  /** Takes every client's wish. */
  readonly onRequest: OnRequest;
  /** Takes wishes for datagrams; without it, or without `bindUdp`, they are refused. */
  readonly onPacketRequest?: OnPacketRequest | undefined;
  readonly bindUdp?: BindUdp | undefined;
  readonly runtime: Runtime;
  readonly logger: Logger;
}

/** Bounds of the handshakes of one inbound. */
export interface HandshakeLimits {
  /** From the connection to the whole request, ms; dripping bytes does not stretch it. @default 10000 */
  readonly handshakeTimeoutMs?: number | undefined;
  /** Handshakes in progress; past it the oldest one is ended. @default 4096 */
  readonly maxHandshakes?: number | undefined;
}

/** What inbounds need whose clients have to say something before they ask. */
export interface HandshakeInboundOptions extends InboundOptions, HandshakeLimits {
  /** Who may enter; everybody when absent. */
  readonly logins?: Logins | undefined;
}

/** {@link HandshakeLimits.handshakeTimeoutMs} when it is not given. */
export const DEFAULT_HANDSHAKE_TIMEOUT_MS = 10_000;
