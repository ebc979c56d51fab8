import { MAX_PAYLOAD, REFERENCE_PAYLOAD } from "./codec.ts";
import type { PongOptions } from "./options.ts";

/** Which end of the connection we are: the local dialled and opens streams. */
export type PongRole =
  | { readonly side: "local"; readonly clientId: Uint8Array }
  | { readonly side: "remote" };

/** Who the peer turned out to be. `unknown` until its hello, its first other frame, or a deadline. */
export type PeerKind = "unknown" | "sluice" | "reference";

/** What a session knows of its peer, shared by its parts. Only `session.ts` changes it. */
export class Peer {
  readonly ourSide: PongRole["side"];
  /** What the operator says it is. */
  readonly declared: PongOptions["peer"];
  #kind: PeerKind = "unknown";
  #maxPayload: number = REFERENCE_PAYLOAD;
  #initialWindow: number | undefined;

  constructor(ourSide: PongRole["side"], declared: PongOptions["peer"]) {
    this.ourSide = ourSide;
    this.declared = declared;
  }

  get kind(): PeerKind {
    return this.#kind;
  }

  /** The largest DATA payload to send it. */
  get maxPayload(): number {
    return this.#maxPayload;
  }

  /** What each stream may send it at first; `undefined` while it has no windows. */
  get initialWindow(): number | undefined {
    return this.#initialWindow;
  }

  /** Whether it is a pong-go remote, or may still turn out to be one. */
  get mayBeReferenceRemote(): boolean {
    return this.ourSide === "local" && this.#kind !== "sluice";
  }

  get isReferenceLocal(): boolean {
    return this.ourSide === "remote" && this.#kind === "reference";
  }

  becomeReference(): void {
    this.#kind = "reference";
  }

  becomeSluice(hello: { readonly maxPayload: number; readonly initialWindow: number }): void {
    this.#kind = "sluice";
    this.#maxPayload = Math.max(REFERENCE_PAYLOAD, Math.min(MAX_PAYLOAD, hello.maxPayload));
    this.#initialWindow = hello.initialWindow;
  }
}
