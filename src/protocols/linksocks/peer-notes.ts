import type { Clock } from "../../clock/clock.ts";
import type { Logger } from "../../tunnel/logger.ts";
import type { ControlMessage } from "./messages.ts";

/** What the other side tells about itself: log lines, and how many partners it has for us. */
export class PeerNotes {
  readonly #name: string;
  readonly #logger: Logger;
  readonly #clock: Clock;
  #partners: number | undefined;
  #windowFrom = Number.NEGATIVE_INFINITY;
  #lines = 0;

  constructor(options: { readonly name: string; readonly logger: Logger; readonly clock: Clock }) {
    this.#name = options.name;
    this.#logger = options.logger;
    this.#clock = options.clock;
  }

  /** For the start-up table. */
  get summary(): string {
    if (this.#partners === undefined) return "logged in";
    return `logged in, ${this.#partners} ${this.#partners === 1 ? "partner" : "partners"}`;
  }

  hear(message: ControlMessage): void {
    if (message.type === "partners") this.#partners = message.count;
    if (message.type === "log") this.#log(message.level, message.text);
  }

  /** Its words in our log: cleaned, cut, and not more of them than somebody could read. */
  #log(level: string, text: string): void {
    const now = this.#clock.now();
    if (now - this.#windowFrom >= WINDOW_MS) {
      this.#windowFrom = now;
      this.#lines = 0;
    }
    this.#lines++;
    if (this.#lines > MAX_LINES) return;
    const words = text.replaceAll(CONTROL, "?").slice(0, MAX_CHARACTERS);
    const isLoud = level === "warn" || level === "error";
    this.#logger[isLoud ? "warn" : "debug"]("peer says", { tunnel: this.#name, words });
  }
}

const CONTROL = /\p{Cc}/gu;
const WINDOW_MS = 1000;
const MAX_LINES = 20;
const MAX_CHARACTERS = 500;
