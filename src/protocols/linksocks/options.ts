import { type Memory, NEW_MEMORY } from "./memory.ts";

/** Bounds of one session. Each has a reason in the README. */
export interface LinkSocksLimits {
  /** Channels open at once, taken and opened together, before Connects are refused. @default 1024 */
  readonly maxStreams: number;
  /** Largest message we read, bytes; the transport should have the same bound. @default 32 MiB */
  readonly maxMessageBytes: number;
  /** What one compressed payload may become, bytes. @default 4 MiB */
  readonly maxInflatedBytes: number;
  /** Bytes of TCP data in one message of ours to another Sluice: few span two reads of the receiver. @default 16 KiB */
  readonly maxPayloadBytes: number;
  /**
   * The same to everybody else: the reference counts messages, not bytes, keeps 1000 of a channel and
   * drops the next. @default 1 MiB
   */
  readonly maxPlainPayloadBytes: number;
  /** Unreadable messages that name no channel, before the link ends. @default 16 */
  readonly maxMalformed: number;
  /** Datagrams kept for an association that is not accepted yet. @default 32 */
  readonly earlyPackets: number;
  /** What each stream of another Sluice may send before we say more, bytes. @default 256 KiB */
  readonly initialWindowBytes: number;
  /** What one stream's window may grow to, bytes. @default 4 MiB */
  readonly maxWindowBytes: number;
  /** What all windows of a link may grow by together, bytes. @default 32 MiB */
  readonly linkWindowBytes: number;
  /** How long an opened channel waits for its ConnectResponse, ms. @default 15000 */
  readonly connectTimeoutMs: number;
  /** How long a quiet half-closed channel lives whose peer cannot half-close, ms. @default 30000 */
  readonly halfCloseGraceMs: number;
  /** How long a provider holds what follows its ConnectResponse, ms. @default 25 */
  readonly firstDataHoldMs: number;
}

/** How a session treats its peer. */
export interface LinkSocksOptions extends LinkSocksLimits {
  /** Whether to recognise another Sluice by its hello in a Log message. @default true */
  readonly extensions: boolean;
  /** Tells the application "connected" before the exit does; its bytes still wait where they would be lost. @default false */
  readonly fastOpen: boolean;
  /** Payloads from this size on are compressed, where that saves a tenth, bytes. @default Infinity */
  readonly compressFromBytes: number;
  /** Makes channel ids: random UUIDs as text, with or without hyphens. No default: a session draws no chance. */
  readonly newId: () => string;
  /** Where data messages live. @default memory that is used once */
  readonly memory: Memory;
}

/** What this end does with channels. */
export interface LinkSocksRole {
  /** We are an exit: the peer may ask for targets. */
  readonly takesStreams: boolean;
  /** We are a SOCKS side: channels may be opened here. */
  readonly opensStreams: boolean;
  /** We lend our network through a server, maybe the reference's, which mixes up what follows closely. */
  readonly isProvider?: boolean;
}

/** What a session cannot do without; the rest has {@link LINKSOCKS_DEFAULTS}. */
export type SessionOptions = Partial<LinkSocksOptions> & Pick<LinkSocksOptions, "newId">;

/** The defaults of every session. */
export const LINKSOCKS_DEFAULTS: Omit<LinkSocksOptions, "newId"> = {
  memory: NEW_MEMORY,
  extensions: true,
  fastOpen: false,
  compressFromBytes: Number.POSITIVE_INFINITY,
  maxStreams: 1024,
  maxMessageBytes: 32 * 1024 * 1024,
  maxInflatedBytes: 4 * 1024 * 1024,
  maxPayloadBytes: 16 * 1024,
  maxPlainPayloadBytes: 1024 * 1024,
  maxMalformed: 16,
  earlyPackets: 32,
  initialWindowBytes: 256 * 1024,
  maxWindowBytes: 4 * 1024 * 1024,
  linkWindowBytes: 32 * 1024 * 1024,
  connectTimeoutMs: 15_000,
  halfCloseGraceMs: 30_000,
  firstDataHoldMs: 25,
};
