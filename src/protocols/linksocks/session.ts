import type { Target } from "../../address/target.ts";
import type { TunnelError } from "../../errors.ts";
import type { Packet } from "../../tunnel/packets.ts";
import type { MuxEvent, MuxSession, Step } from "../../tunnel/session.ts";
import { encodeMessage } from "./codec.ts";
import type { ControlMessage } from "./messages.ts";
import { LINKSOCKS_DEFAULTS, type LinkSocksOptions, type LinkSocksRole } from "./options.ts";

/** One LinkSocks WebSocket after its login. Sans I/O; every chunk in and out is one message. */
export class LinkSocksSession implements MuxSession<ControlMessage> {
  readonly #role: LinkSocksRole;
  readonly #options: LinkSocksOptions;

  constructor(role: LinkSocksRole, options: Partial<LinkSocksOptions> = {}) {
    this.#role = role;
    this.#options = { ...LINKSOCKS_DEFAULTS, ...options };
  }

  /** Says the first words after the login: our hello, unless extensions are off. */
  start(_now: number): Step<MuxEvent<ControlMessage>> {
    return EMPTY;
  }

  /** Sends a message of the client's or server's own. */
  send(message: ControlMessage): Step<MuxEvent<ControlMessage>> {
    return { events: [], output: [encodeMessage(message)] };
  }

  get deadline(): number | undefined {
    return undefined;
  }
  get streamCount(): number {
    return 0;
  }
  get isOpen(): boolean {
    return this.#role.opensStreams && this.#options.maxStreams > 0;
  }
  /** Whether the peer said that it is a Sluice. */
  get isPeerSluice(): boolean {
    return false;
  }
  receive(_chunk: Uint8Array, _now: number): Step<MuxEvent<ControlMessage>> {
    return EMPTY;
  }
  receiveEnd(_now: number): Step<MuxEvent<ControlMessage>> {
    return EMPTY;
  }
  tick(_now: number): Step<MuxEvent<ControlMessage>> {
    return EMPTY;
  }
  open(_target: Target, _now: number): { streamId: number; step: Step<MuxEvent<ControlMessage>> } {
    return { streamId: 1, step: EMPTY };
  }
  openPackets(_now: number): { streamId: number; step: Step<MuxEvent<ControlMessage>> } {
    return { streamId: 1, step: EMPTY };
  }
  accept(_streamId: number, _now: number): Step<MuxEvent<ControlMessage>> {
    return EMPTY;
  }
  write(_streamId: number, _data: Uint8Array, _now: number): Step<MuxEvent<ControlMessage>> {
    return EMPTY;
  }
  finish(_streamId: number, _now: number): Step<MuxEvent<ControlMessage>> {
    return EMPTY;
  }
  close(_streamId: number, _now: number): Step<MuxEvent<ControlMessage>> {
    return EMPTY;
  }
  reset(_streamId: number, _cause: TunnelError, _now: number): Step<MuxEvent<ControlMessage>> {
    return EMPTY;
  }
  consumed(_streamId: number, _byteLength: number, _now: number): Step<MuxEvent<ControlMessage>> {
    return EMPTY;
  }
  sendPacket(_streamId: number, _packet: Packet, _now: number): Step<MuxEvent<ControlMessage>> {
    return EMPTY;
  }
  writable(_streamId: number): number {
    return 0;
  }
  hasWindow(_streamId: number): boolean {
    return false;
  }
  end(_now: number): Step<MuxEvent<ControlMessage>> {
    return EMPTY;
  }
}

const EMPTY: Step<MuxEvent<ControlMessage>> = { events: [], output: [] };
