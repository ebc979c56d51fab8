import type { MuxEvent, Step } from "../../../tunnel/session.ts";
import { encodeData, encodeFrame, FrameFlag, FrameType } from "./frames.ts";
import { deflate } from "./gzip.ts";

/** A place in what we send: when something left, and how many bytes had then. */
export interface Mark {
  readonly at: number;
  readonly bytes: number;
}

/** What one input to a session causes, collected until the session returns it as a step. */
export class Outgoing {
  readonly #deflate: ((payload: Uint8Array) => Uint8Array | undefined) | undefined;
  #events: MuxEvent[] = [];
  /** In front of everything else of this step. */
  #urgent: Uint8Array[] = [];
  #output: Uint8Array[] = [];
  #totalBytes = 0;
  #givenBytes = 0;

  /** @param compress whether, or from how many bytes on */
  constructor(compress: boolean | number) {
    if (compress === false) return;
    const fromBytes = Number(compress);
    this.#deflate = (payload) => (payload.byteLength < fromBytes ? undefined : deflate(payload));
  }

  /** Bytes that steps have carried away so far. */
  get givenBytes(): number {
    return this.#givenBytes;
  }

  /** Where we stand, behind everything said so far. */
  mark(now: number): Mark {
    return { at: now, bytes: this.#totalBytes };
  }

  event(event: MuxEvent): void {
    this.#events.push(event);
  }

  /** A frame that overtakes those of the same step. */
  urgent(bytes: Uint8Array): void {
    this.#urgent.push(bytes);
    this.#totalBytes += bytes.byteLength;
  }

  syn(streamId: number): void {
    this.#empty(FrameType.headers, 0, streamId);
  }

  rst(streamId: number): void {
    this.#empty(FrameType.headers, FrameFlag.end, streamId);
  }

  fin(streamId: number): void {
    this.#empty(FrameType.data, FrameFlag.end, streamId);
  }

  data(streamId: number, data: Uint8Array): void {
    for (const bytes of encodeData(streamId, data, this.#deflate)) this.#push(bytes);
  }

  ping(payload: Uint8Array, flags: number): void {
    for (const bytes of encodeFrame({ type: FrameType.ping, flags, streamId: 0, payload })) {
      this.urgent(bytes);
    }
  }

  /** Everything so far, which starts anew. */
  step(): Step<MuxEvent> {
    this.#givenBytes = this.#totalBytes;
    const isSilent = this.#urgent.length === 0 && this.#output.length === 0;
    if (isSilent && this.#events.length === 0) return EMPTY_STEP;
    const output = this.#urgent.length === 0 ? this.#output : [...this.#urgent, ...this.#output];
    const step = { events: this.#events, output };
    this.#events = [];
    this.#urgent = [];
    this.#output = [];
    return step;
  }

  #empty(type: number, flags: number, streamId: number): void {
    for (const bytes of encodeFrame({ type, flags, streamId, payload: NO_BYTES })) {
      this.#push(bytes);
    }
  }

  #push(bytes: Uint8Array): void {
    this.#output.push(bytes);
    this.#totalBytes += bytes.byteLength;
  }
}

/** Nothing happened. */
export const EMPTY_STEP: Step<MuxEvent> = { events: [], output: [] };

const NO_BYTES = new Uint8Array(0);
