import type { Target } from "../address/target.ts";
import type { TunnelError } from "../errors.ts";
import type { Connection } from "./connection.ts";
import type { PacketChannel } from "./packets.ts";

/** Who asks, and through which door. Travels with a stream from inbound to log line. */
export interface Metadata {
  /** The inbound's name in the configuration or on the command line: `socks 127.0.0.1:1080`. */
  readonly inbound: string;
  /** `host:port` of the asking program or peer. */
  readonly source: string;
  /** The authenticated user or client name; absent without authentication. */
  readonly user?: string | undefined;
  /** Fixes the way out by name: what a forward with `via:` asks for. */
  readonly via?: string | undefined;
}

/**
 * One client's wish to reach a target. Exactly one of `accept` and `reject` is called, once.
 *
 * The inbound sends its own protocol's answer: the SOCKS reply, the HTTP status, the pong RST.
 */
export interface Request {
  readonly target: Target;
  readonly metadata: Metadata;
  /** Aborts when the client gave up before an answer. */
  readonly signal: AbortSignal;
  /** Says yes and hands over the client's connection, paused, for the splice. */
  accept(): Connection;
  /** Says no, with the inbound's closest code, and closes the client's connection. */
  reject(error: TunnelError): void;
}

/** Where inbounds put requests. It never throws and never rejects. */
export type OnRequest = (request: Request) => void;

/** A way out: anything that can open a target; with `associate`, for datagrams too. */
export interface Outbound extends Partial<PacketOpener> {
  /** Its name in routes and logs: `direct`, `block`, `home`. */
  readonly name: string;
  /**
   * Opens a connection to the target, paused and without a handler.
   *
   * @throws TunnelError whose code says what went wrong; `signal.reason` when aborted
   */
  dial(
    target: Target,
    options: { readonly signal: AbortSignal; readonly metadata: Metadata },
  ): Promise<Connection>;
}

/** Opens streams through a tunnel: what every tunnel's dialling end offers. */
export interface StreamOpener extends Partial<PacketOpener> {
  open(
    target: Target,
    options: { readonly signal: AbortSignal; readonly metadata: Metadata },
  ): Promise<Connection>;
}

/** One client's wish for an association. Exactly one of `accept` and `reject` is called, once. */
export interface PacketRequest {
  /** The only target its datagrams may go to, where the client named one. */
  readonly target?: Target | undefined;
  readonly metadata: Metadata;
  /** Aborts when the client gave up before an answer. */
  readonly signal: AbortSignal;
  /** Says yes and hands over the client's end. */
  accept(): PacketChannel;
  reject(error: TunnelError): void;
}

/** Where inbounds put wishes for associations. It never throws and never rejects. */
export type OnPacketRequest = (request: PacketRequest) => void;

/** Opens associations: a way out that carries datagrams. */
export interface PacketOpener {
  /**
   * @throws TunnelError whose code says what went wrong; `signal.reason` when aborted
   */
  associate(options: {
    readonly signal: AbortSignal;
    readonly metadata: Metadata;
    /**
     * The only target there will be, where the client named one. A way out that can tell refuses it
     * at once when it is denied or has no address, and ends when nobody listens there.
     */
    readonly target?: Target | undefined;
  }): Promise<PacketChannel>;
}
