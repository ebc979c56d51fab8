/** Bounds of an agent. */
export interface GodoxyAgentLimits {
  /** From the accepted connection to its whole header, ms. @default 10000 */
  readonly headerTimeoutMs: number;
  /** From the header to an open target, ms; then the client is let go. @default 10000 */
  readonly dialTimeoutMs: number;
  /** TCP streams at one time, those without a header included. @default 8192 */
  readonly maxStreams: number;
  /** The same of one client's key. @default 4096 */
  readonly maxStreamsPerKey: number;
  /** UDP sessions at one time, those without a header included. @default 4096 */
  readonly maxSessions: number;
  /** The same of one client's key. @default 1024 */
  readonly maxSessionsPerKey: number;
  /** Ends a UDP session on which no datagram came or went for this long, ms; 0: never. @default 180000 */
  readonly sessionIdleMs: number;
}

/** What an agent does when it is not told otherwise. */
export const DEFAULT_AGENT_LIMITS: GodoxyAgentLimits = {
  headerTimeoutMs: 10_000,
  dialTimeoutMs: 10_000,
  maxStreams: 8_192,
  maxStreamsPerKey: 4_096,
  maxSessions: 4_096,
  maxSessionsPerKey: 1_024,
  sessionIdleMs: 180_000,
};

/** Bounds of a client. */
export interface GodoxyClientLimits {
  /** From the wish to a connection whose header left: name, connect, handshake, ms. @default 10000 */
  readonly dialTimeoutMs: number;
  /** TCP streams at one time, those being dialled included. @default 4096 */
  readonly maxStreams: number;
  /** UDP sessions at one time, over all associations. @default 1024 */
  readonly maxSessions: number;
  /** Targets of one association; the one that was silent longest makes room. @default 64 */
  readonly maxSessionsPerAssociation: number;
  /** Datagrams that wait for their session's handshake. @default 32 */
  readonly maxQueuedDatagrams: number;
  /** Bytes of them. @default 65536 */
  readonly maxQueuedBytes: number;
  /** Ends a UDP session on which no datagram came or went for this long, ms; 0: never. @default 120000 */
  readonly sessionIdleMs: number;
  /** A UDP session whose datagrams went unanswered for this long is replaced, ms; 0: never. @default 30000 */
  readonly sessionAnswerMs: number;
  /** How long a target whose session failed gets no new one, ms. @default 1000 */
  readonly sessionRetryMs: number;
  /** How long a health probe may take, ms. @default 5000 */
  readonly probeTimeoutMs: number;
  /** How often the agent is asked anew what it can do, ms; 0: only when told to. @default 60000 */
  readonly probeIntervalMs: number;
}

/** What a client does when it is not told otherwise. */
export const DEFAULT_CLIENT_LIMITS: GodoxyClientLimits = {
  dialTimeoutMs: 10_000,
  maxStreams: 4_096,
  maxSessions: 1_024,
  maxSessionsPerAssociation: 64,
  maxQueuedDatagrams: 32,
  maxQueuedBytes: 65_536,
  sessionIdleMs: 120_000,
  sessionAnswerMs: 30_000,
  sessionRetryMs: 1_000,
  probeTimeoutMs: 5_000,
  probeIntervalMs: 60_000,
};

/** Connections a client opens ahead of their use. */
export interface GodoxyPoolOptions {
  /** How many; 0: none. @default 0 */
  readonly size: number;
  /** An older one is closed and replaced: agents wait 10 s for a header, ms. @default 8000 */
  readonly maxAgeMs: number;
  /** Without a stream for this long, none are held ready any more, ms. @default 60000 */
  readonly warmMs: number;
}

/** A pool that holds nothing. */
export const DEFAULT_POOL: GodoxyPoolOptions = { size: 0, maxAgeMs: 8_000, warmMs: 60_000 };

/** The longest datagram a peer of the original receives: its buffer of 8192 less the record's 37. */
export const ORIGINAL_DATAGRAM_BYTES = 8_155;
