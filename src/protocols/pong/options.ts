/** Bounds of one pong session. */
export interface PongLimits {
  /** Streams a remote takes on one connection. @default 1024 */
  readonly maxStreams: number;
  /** What each stream may send before its first window update, bytes. @default 256 KiB */
  readonly initialWindowBytes: number;
  /** What a window grows to while it is taken at once, bytes: less costs throughput. @default 4 MiB */
  readonly eagerWindowBytes: number;
  /** What a window may grow to, where the round trip needs it, bytes. @default 4 MiB */
  readonly maxWindowBytes: number;
  /** What all windows of a connection may grow by together, bytes. @default 32 MiB */
  readonly linkWindowBytes: number;
  /** DATA frames on a stream whose reference remote may still be dialling. @default 32 */
  readonly earlyFrames: number;
  /** When a reference remote's dial is surely over, ms. @default 11000 */
  readonly dialGraceMs: number;
  /** How long a remote waits for a quiet local to answer FINISH with CLOSE, ms. @default 60000 */
  readonly closeWaitMs: number;
  /** How long a local whose application ended waits for a quiet reference remote, ms. @default 60000 */
  readonly lingerMs: number;
  /** How long a remote keeps a stream whose local ended and whose target is quiet, ms. @default 120000 */
  readonly halfClosedMs: number;
  /** How long data under 31 bytes waits for company toward pong-go HEAD, ms. @default 5 */
  readonly crumbsMs: number;
}

/** How a session treats its peer. */
export interface PongOptions {
  /** Whether to recognise another Sluice by SET frames on stream 0. @default true */
  readonly extensions: boolean;
  /** What the peer is known to be; `auto` finds out. @default "auto" */
  readonly peer: "auto" | "sluice" | "v0.9.4" | "head";
  /** Quiet time before a ping; twice that without an answer ends the link; 0: off. @default 15000 */
  readonly keepaliveMs: number;
  /** How long a local waits for the peer's hello before it takes it for a pong-go. @default 1000 */
  readonly helloWaitMs: number;
  /** How long the answer to an application waits for a sign of life from the target, toward peers that never confirm a dial; 0: answer at once. @default 0 */
  readonly holdMs: number;
  /** A remote ends a connection on which nothing was said for this long and no stream lives, unless the peer is a Sluice, which keeps its own; 0: never. @default 120000 */
  readonly idleMs: number;
  readonly limits: PongLimits;
}

/** The defaults of every session. */
export const PONG_DEFAULTS: PongOptions = {
  extensions: true,
  peer: "auto",
  keepaliveMs: 15_000,
  helloWaitMs: 1000,
  holdMs: 0,
  idleMs: 120_000,
  limits: {
    maxStreams: 1024,
    initialWindowBytes: 256 * 1024,
    eagerWindowBytes: 4 * 1024 * 1024,
    maxWindowBytes: 4 * 1024 * 1024,
    linkWindowBytes: 32 * 1024 * 1024,
    earlyFrames: 32,
    dialGraceMs: 11_000,
    closeWaitMs: 60_000,
    lingerMs: 60_000,
    halfClosedMs: 120_000,
    crumbsMs: 5,
  },
};
