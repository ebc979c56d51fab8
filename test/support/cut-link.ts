import { NetworkError, type TunnelError } from "../../src/errors.ts";
import type { Connection } from "../../src/tunnel/connection.ts";
import { connectionPair } from "../../src/tunnel/connection-pair.ts";
import type { Runtime } from "../../src/tunnel/runtime.ts";

/** `up`: from the dialling end to the other. */
export type Direction = "up" | "down";

/** Where a link breaks: behind so many bytes of one direction. */
export interface Cut {
  readonly direction: Direction;
  readonly afterBytes: number;
  /** `reset`: both ends learn of it; `end`: both hear an orderly end; `hole`: nobody hears anything. */
  readonly how: "reset" | "end" | "hole";
}

/** Two connections with a wire between them that counts, stops, and breaks where it is told. */
export class CutLink {
  readonly near: Connection;
  readonly far: Connection;
  /** Bytes that went through, by direction. */
  readonly bytes: Record<Direction, number> = { up: 0, down: 0 };
  readonly #middle: Record<Direction, { readonly from: Connection; readonly to: Connection }>;
  #cut: Cut | undefined;
  #isHole = false;

  /** @param name what the far end calls the near one */
  constructor(runtime: Runtime, cut?: Cut, name: string = "link") {
    const [near, nearMiddle] = connectionPair(runtime, { names: ["near", "link"] });
    const [far, farMiddle] = connectionPair(runtime, { names: ["far", name] });
    this.near = near;
    this.far = far;
    this.#cut = cut;
    this.#middle = {
      up: { from: nearMiddle, to: farMiddle },
      down: { from: farMiddle, to: nearMiddle },
    };
    this.#forward("up");
    this.#forward("down");
    this.#breakIfDue();
  }

  /** Stops carrying one direction until {@link resume}. */
  pause(direction: Direction): void {
    this.#middle[direction].from.pause();
  }

  resume(direction: Direction): void {
    this.#middle[direction].from.resume();
  }

  /** From now on everything vanishes. */
  blackHole(): void {
    this.#isHole = true;
  }

  reset(error: TunnelError = CUT): void {
    for (const { from } of Object.values(this.#middle)) from.reset(error);
  }

  #forward(direction: Direction): void {
    const { from, to } = this.#middle[direction];
    from.attach({
      onData: (chunk) => {
        if (this.#isHole) return;
        const left = this.#bytesLeft(direction);
        const part = chunk.subarray(0, left);
        this.bytes[direction] += part.byteLength;
        if (!to.write([part])) from.pause();
        this.#breakIfDue();
      },
      onEnd: () => {
        if (!this.#isHole) to.finish();
      },
      onDrain: () => this.#middle[direction === "up" ? "down" : "up"].from.resume(),
      onClose: (error) => {
        if (this.#isHole) return;
        if (error === undefined) to.close();
        else to.reset(error);
      },
    });
    from.resume();
  }

  #bytesLeft(direction: Direction): number {
    const isHere = this.#cut?.direction === direction;
    return isHere ? (this.#cut?.afterBytes ?? 0) - this.bytes[direction] : Number.MAX_SAFE_INTEGER;
  }

  #breakIfDue(): void {
    const cut = this.#cut;
    if (cut === undefined || this.bytes[cut.direction] < cut.afterBytes) return;
    this.#cut = undefined;
    this.#isHole = true;
    if (cut.how === "hole") return;
    for (const { from } of Object.values(this.#middle)) {
      if (cut.how === "reset") from.reset(CUT);
      else from.close();
    }
  }
}

const CUT = new NetworkError("ERR_CONNECTION_RESET", "the link was cut");
