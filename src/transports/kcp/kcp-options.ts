import { SEGMENT_HEADER_BYTES } from "./segment.ts";

/** Ready-made parameters: `vproxy` for that system, the others for ends of our own. */
export type KcpProfile = "fast" | "normal" | "vproxy";

/** How one KCP session behaves. Nothing but `conv` must be equal at both ends. */
export interface KcpOptions {
  /** Names the conversation; unsigned 32-bit. */
  readonly conv: number;
  /** The largest datagram we send; larger ones are understood. */
  readonly mtuBytes: number;
  /** Segments in flight at most. */
  readonly sendWindow: number;
  /** Segments that may wait here for their predecessors, and as many for a paused reader. */
  readonly receiveWindow: number;
  /** Whether a retransmission timeout grows by half instead of doubling, and has no extra eighth. */
  readonly noDelay: boolean;
  /** The clock: acknowledgements wait this long at most; timeouts are looked at this often. */
  readonly intervalMs: number;
  /** Acknowledgements of later segments after which one is sent again at once; 0: never. */
  readonly fastResend: number;
  /** Transmissions of one segment after which only its timeout sends it again. */
  readonly fastLimit: number;
  /** Whether losses and round trips limit what is in flight (a congestion window). */
  readonly congestion: boolean;
  /** Whether what is in flight stays near what a round trip delivers; losses alone do not count. */
  readonly limitsToDelivery: boolean;
  readonly initialRtoMs: number;
  readonly minRtoMs: number;
  readonly maxRtoMs: number;
  /** What a timeout adds to the smoothed round trip at least. */
  readonly rtoSlackMs: number;
  /** Transmissions of one segment after which the peer counts as gone. */
  readonly deadLink: number;
  /** Silence of a peer that owes acknowledgements after which it counts as gone; 0: `deadLink` alone decides. */
  readonly silentMs: number;
  /** The first wait before a peer without room is asked for some; grows by half each time. */
  readonly probeMs: number;
  readonly maxProbeMs: number;
  /** Unacknowledged bytes after which `writableBytes` is 0; no hard limit, the writer obeys it. */
  readonly maxQueuedBytes: number;
  /** Bytes that arrived and wait here: what would exceed them is dropped like a lost segment. */
  readonly maxReceivedBytes: number;
  /** Segments that may leave at once; more would overrun the peer's socket. */
  readonly burstSegments: number;
  /** Segments that may leave per millisecond in the long run. */
  readonly segmentsPerMs: number;
  /** Received segments that are acknowledged without waiting for the clock. */
  readonly ackEverySegments: number;
  /** Understand builds of vproxy that send stray bytes behind each PUSH; see the README. */
  readonly skipsStrayBytes: boolean;
}

/** Payload bytes of a full segment. */
export function segmentPayloadBytes({ mtuBytes }: KcpOptions): number {
  return mtuBytes - SEGMENT_HEADER_BYTES;
}

const FAST: KcpOptions = {
  conv: 0,
  mtuBytes: 1400,
  sendWindow: 1024,
  receiveWindow: 1024,
  noDelay: true,
  intervalMs: 5,
  fastResend: 2,
  fastLimit: 5,
  congestion: false,
  limitsToDelivery: true,
  initialRtoMs: 200,
  minRtoMs: 30,
  maxRtoMs: 60_000,
  rtoSlackMs: 10,
  deadLink: 20,
  silentMs: 0,
  probeMs: 7000,
  maxProbeMs: 120_000,
  maxQueuedBytes: 1_572_864,
  maxReceivedBytes: 4_194_304,
  burstSegments: 256,
  segmentsPerMs: 128,
  ackEverySegments: 32,
  skipsStrayBytes: false,
};

/** The parameters of each profile; override single ones with `{ ...KCP_PROFILES.vproxy, … }`. */
export const KCP_PROFILES: Readonly<Record<KcpProfile, KcpOptions>> = {
  fast: FAST,
  normal: {
    ...FAST,
    noDelay: false,
    intervalMs: 10,
    congestion: true,
    limitsToDelivery: false,
    minRtoMs: 100,
  },
  // Spec: vproxy, 2.2 ("fast4").
  vproxy: { ...FAST, mtuBytes: 1250, fastResend: 1 },
};
