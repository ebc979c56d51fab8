import type { Target } from "../address/target.ts";
import type { TunnelError } from "../errors.ts";
import type { Packet } from "./packets.ts";

/** Everything one input caused. The caller writes all `output` before it acts on `events`. */
export interface Step<Event> {
  readonly events: readonly Event[];
  readonly output: readonly Uint8Array[];
}

/** A protocol core: bytes, commands and time in; events and bytes out. No I/O, no clock. */
export interface Session<Event> {
  receive(chunk: Uint8Array, now: number): Step<Event>;
  /** The peer half-closed. */
  receiveEnd(now: number): Step<Event>;
  /** Runs every timer due at `now`. */
  tick(now: number): Step<Event>;
  /** When `tick` is next due, in the same monotonic milliseconds; `undefined` when never. */
  readonly deadline: number | undefined;
}

/**
 * What a multiplexed session tells its owner. Past tense: it happened, nobody can veto it.
 * `Message` is what the system's own client or server acts on; most have no such thing.
 */
export type MuxEvent<Message = never> =
  /** The peer announced itself; `description` names what it is and can. */
  | { readonly type: "ready"; readonly description: string }
  /** The peer asks for a target: answer with `accept` or `refuse`. */
  | { readonly type: "streamRequested"; readonly streamId: number; readonly target: Target }
  /** Our `open` succeeded, or as much as the protocol ever says about it. */
  | { readonly type: "streamAccepted"; readonly streamId: number }
  | { readonly type: "streamData"; readonly streamId: number; readonly data: Uint8Array }
  /** The peer half-closed the stream. */
  | { readonly type: "streamFinished"; readonly streamId: number }
  /** `writable` grew from zero. */
  | { readonly type: "streamWritable"; readonly streamId: number }
  /** The peer asks for an association: answer with `accept` or `reset`. */
  | { readonly type: "packetsRequested"; readonly streamId: number }
  | { readonly type: "packetReceived"; readonly streamId: number; readonly packet: Packet }
  /** The id is gone. No error: ended in order by both sides, everything delivered. */
  | {
      readonly type: "streamClosed";
      readonly streamId: number;
      readonly error: TunnelError | undefined;
    }
  | { readonly type: "message"; readonly message: Message }
  /** The session is over; its streams are gone with it. */
  | { readonly type: "closed"; readonly error: TunnelError | undefined };

/** A session that carries many streams. Every command returns what it caused. */
export interface MuxSession<Message = never> extends Session<MuxEvent<Message>> {
  /** Opens a stream; `streamAccepted` or `streamClosed` follows. */
  open(
    target: Target,
    now: number,
  ): { readonly streamId: number; readonly step: Step<MuxEvent<Message>> };
  /** The target of a requested stream was reached. */
  accept(streamId: number, now: number): Step<MuxEvent<Message>>;
  /** Sends data; the bytes are given. At most `writable(streamId)` bytes. */
  write(streamId: number, data: Uint8Array, now: number): Step<MuxEvent<Message>>;
  /** Half-closes our side of the stream. */
  finish(streamId: number, now: number): Step<MuxEvent<Message>>;
  /** Ends a stream both ways in order: nobody here reads it any more. */
  close(streamId: number, now: number): Step<MuxEvent<Message>>;
  /** Ends a stream hard (also: refuses a requested one). */
  reset(streamId: number, cause: TunnelError, now: number): Step<MuxEvent<Message>>;
  /** The application took `byteLength` bytes of the stream: the window may move. */
  consumed(streamId: number, byteLength: number, now: number): Step<MuxEvent<Message>>;
  /** Opens an association; `streamAccepted` or `streamClosed` follows. Absent: the wire has none. */
  openPackets?(now: number): { readonly streamId: number; readonly step: Step<MuxEvent<Message>> };
  /** Sends one datagram of an association. */
  sendPacket?(streamId: number, packet: Packet, now: number): Step<MuxEvent<Message>>;
  /** How many bytes the stream may send now; `Infinity` when the wire has no windows. */
  writable(streamId: number): number;
  /** Whether the stream's sender obeys our window, so that it cannot outrun its reader. */
  hasWindow(streamId: number): boolean;
  /** Ends the session in order. */
  end(now: number): Step<MuxEvent<Message>>;
  /** Streams that live now. */
  readonly streamCount: number;
  /** Whether new streams may be opened here. */
  readonly isOpen: boolean;
}
