import type { Clock } from "../../clock/clock.ts";
import type { Logger } from "../../tunnel/logger.ts";
import type { ControlMessage } from "./messages.ts";
import { PeerWords } from "./peer-words.ts";

/** What a server tells its client: log lines, and how many partners it has for us. */
export class PeerNotes {
  readonly #words: PeerWords;
  #partners: number | undefined;

  constructor(options: { readonly name: string; readonly logger: Logger; readonly clock: Clock }) {
    this.#words = new PeerWords(options.logger.child({ tunnel: options.name }), options.clock);
  }

  /** For the start-up table. */
  get summary(): string {
    if (this.#partners === undefined) return "logged in";
    return `logged in, ${this.#partners} ${this.#partners === 1 ? "partner" : "partners"}`;
  }

  hear(message: ControlMessage): void {
    if (message.type === "partners") this.#partners = message.count;
    if (message.type !== "log") return;
    const isLoud = message.level === "warn" || message.level === "error";
    this.#words.hear(message, isLoud ? "warn" : "debug");
  }
}
