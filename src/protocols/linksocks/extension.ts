import type { Log } from "./messages.ts";

/**
 * How two Sluice ends of one WebSocket recognise each other, and what they then may say.
 *
 * Right after the login each end sends its hello in a Log message, which the reference takes for
 * text. Nothing more is sent before the peer's own hello arrived, and the reference never sends one
 * nor passes one on: it never sees the message types 0x20 (Finish) and 0x21 (Window).
 *
 * Which channels are extended is decided once, by whoever opens them: an opener that knows the
 * peer's hello sends, as one pair with nothing between, a Window for the new channel and its
 * Connect. That Window marks the channel and is the opener's first grant to the exit; the exit's
 * first grant is the window of its hello. A Connect without the mark is a channel as the reference
 * knows it, for its whole life, whatever was heard since. As the opener's hello came before on the
 * same WebSocket, both ends agree however hellos cross.
 *
 * On an extended channel each side sends at most what it was granted, counted before compression;
 * Window adds to the grant as the application consumes. Finish half-closes; after both Finishes the
 * channel is gone without another word. Disconnect still ends both ways at once, in order or not.
 */
export interface Hello {
  /** What the sender grants at first on channels that it takes, bytes. */
  readonly windowBytes: number;
}

/** Our hello. */
export function helloOf({ windowBytes }: Hello): Log {
  return { type: "log", level: "debug", text: `${PREFIX}${windowBytes}` };
}

/** A peer's hello; `undefined` for all other logs, and for versions we do not know. */
export function parseHello({ text }: Log): Hello | undefined {
  if (!text.startsWith(PREFIX)) return undefined;
  const [, digits] = /^(\d{1,10})(?:,|$)/.exec(text.slice(PREFIX.length)) ?? [];
  const windowBytes = Number(digits);
  const isSane = windowBytes >= 1 && windowBytes <= MAX_SEND_WINDOW;
  return isSane ? { windowBytes } : undefined;
}

/** What all grants of a channel that are not used yet may add up to, bytes. */
export const MAX_SEND_WINDOW = 0x7fff_ffff;

const PREFIX = "sluice_hello:version=1,window=";
