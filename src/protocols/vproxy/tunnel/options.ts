import type { Target } from "../../../address/target.ts";

/** Which end of the tunnel we are: the client opens streams, the server takes them. */
export type TunnelSide = "client" | "server";

/** Bounds of one tunnel. */
export interface VproxyTunnelLimits {
  /** Streams a server takes at one time; 0: any number. @default 1024 */
  readonly maxStreams: number;
  /** Payload of one DATA frame as it is on the wire, bytes. @default 1 MiB */
  readonly maxFrameBytes: number;
  /** What one compressed frame may become, bytes. @default 4 MiB */
  readonly maxInflatedFrameBytes: number;
  /** What all compressed frames that arrive at once may become, bytes. @default 64 MiB */
  readonly maxInflatedBytes: number;
  /** How long a client waits for the answer to its SYN, ms. @default 15000 */
  readonly synTimeoutMs: number;
  /** How long a stream nobody here uses waits for the peer's end, ms. @default 60000 */
  readonly endingMs: number;
  /** Between our last DATA and a FIN that must not arrive with it, ms. @default 50 */
  readonly finGapMs: number;
  /** How long a GOAWAY has to leave before the connection ends, ms. @default 1000 */
  readonly farewellMs: number;
}

/** What the operator may choose. */
export interface TunnelTuning {
  /**
   * Whether to send large DATA frames compressed, or from how many bytes on, more than 1024; they
   * are always understood. @default false
   */
  readonly compress?: boolean | number | undefined;
  /**
   * Whether a client may write behind its SYN, without waiting for the answer, which says nothing
   * about the target anyway. @default true
   */
  readonly earlyData?: boolean | undefined;
  /** Between looks whether the peer lives, ms; 0: never. @default 10000 for a client, 30000 for a server */
  readonly keepaliveMs?: number | undefined;
  readonly limits?: Partial<VproxyTunnelLimits> | undefined;
}

/** What a tunnel session needs. */
export interface VproxyTunnelOptions extends TunnelTuning {
  /** The wire carries no targets: what a server announces with every stream. */
  readonly target: Target;
  /** What the connection below still holds, bytes: not yet acknowledged where it knows. */
  readonly unsentBytes: () => number;
  /** Of a client, odd. @default 1 */
  readonly firstStreamId?: number | undefined;
}

/** The defaults of every tunnel. */
export const TUNNEL_LIMITS: VproxyTunnelLimits = {
  maxStreams: 1024,
  maxFrameBytes: 1024 * 1024,
  maxInflatedFrameBytes: 4 * 1024 * 1024,
  maxInflatedBytes: 64 * 1024 * 1024,
  synTimeoutMs: 15_000,
  endingMs: 60_000,
  finGapMs: 50,
  farewellMs: 1000,
};
