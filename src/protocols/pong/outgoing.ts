import type { MuxEvent, Step } from "../../tunnel/session.ts";
import { encodeData, encodeFrame, FrameType, REFERENCE_MIN_PAYLOAD } from "./codec.ts";
import { encodeExtension, type Extension } from "./extension.ts";
import type { Peer } from "./peer.ts";

/** What one input to a session causes, collected until the session returns it as a step. */
export class Outgoing {
  readonly #peer: Peer;
  #events: MuxEvent[] = [];
  #output: Uint8Array[] = [];

  constructor(peer: Peer) {
    this.#peer = peer;
  }

  event(event: MuxEvent): void {
    this.#events.push(event);
  }

  bytes(bytes: Uint8Array): void {
    this.#output.push(bytes);
  }

  frame(streamId: number, type: number, payload: Uint8Array = NO_BYTES): void {
    for (const bytes of encodeFrame({ streamId, type, payload })) this.#output.push(bytes);
  }

  /** An RST with its code. Never with a text: pong-go dies of longer payloads. */
  rst(streamId: number, code: number): void {
    this.frame(streamId, FrameType.rst, Uint8Array.of(code));
  }

  extension(extension: Extension): void {
    this.frame(0, FrameType.set, encodeExtension(extension));
  }

  /** @returns how many frames it took */
  data(streamId: number, data: Uint8Array): number {
    const { maxPayload, kind } = this.#peer;
    const minTail = kind === "sluice" ? 0 : REFERENCE_MIN_PAYLOAD;
    for (const bytes of encodeData(streamId, data, maxPayload, minTail)) this.#output.push(bytes);
    return Math.ceil(data.byteLength / maxPayload);
  }

  /** Everything so far, which starts anew. */
  step(): Step<MuxEvent> {
    if (this.#events.length === 0 && this.#output.length === 0) return EMPTY_STEP;
    const step = { events: this.#events, output: this.#output };
    this.#events = [];
    this.#output = [];
    return step;
  }
}

/** Nothing happened. */
export const EMPTY_STEP: Step<MuxEvent> = { events: [], output: [] };

const NO_BYTES = new Uint8Array(0);
