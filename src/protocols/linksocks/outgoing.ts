import type { MuxEvent, Step } from "../../tunnel/session.ts";
import { encodeMessage } from "./codec.ts";
import type { ControlMessage, Message } from "./messages.ts";

/** What a session tells its owner. */
export type LinkSocksEvent = MuxEvent<ControlMessage>;

/** What one input to a session causes, collected until the session returns it as a step. */
export class Outgoing {
  #events: LinkSocksEvent[] = [];
  #output: Uint8Array[] = [];

  event(event: LinkSocksEvent): void {
    this.#events.push(event);
  }

  /** One whole message. */
  bytes(bytes: Uint8Array): void {
    this.#output.push(bytes);
  }

  message(message: Message): void {
    this.#output.push(encodeMessage(message));
  }

  /** Everything so far, which starts anew. */
  step(): Step<LinkSocksEvent> {
    if (this.#events.length === 0 && this.#output.length === 0) return EMPTY_STEP;
    const step = { events: this.#events, output: this.#output };
    this.#events = [];
    this.#output = [];
    return step;
  }
}

/** Nothing happened. */
export const EMPTY_STEP: Step<LinkSocksEvent> = { events: [], output: [] };
