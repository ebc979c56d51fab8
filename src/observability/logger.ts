import { type Logger as PinoLogger, pino } from "pino";
import type { LogFields, Logger } from "../tunnel/logger.ts";
import { boundFields, boundMessage } from "./log-fields.ts";
import { formatPretty } from "./pretty-line.ts";

/** Where log lines go, and how they look. */
export interface LoggerOptions {
  readonly format: "pretty" | "json";
  readonly level: "debug" | "info" | "warn" | "error";
  /** @default false */
  readonly isColored?: boolean | undefined;
  /** Takes whole lines, each with its end. */
  readonly write: (line: string) => void;
  /** Milliseconds since 1970, for the time of each line. @default the machine's clock */
  readonly wallTime?: (() => number) | undefined;
}

/** A logger that writes one line for each call: JSON, or text for people. */
export function createLogger(options: LoggerOptions): Logger {
  const { format, level, write, isColored = false, wallTime } = options;
  const destination = {
    write: format === "json" ? write : (line: string) => write(toPretty(line, isColored)),
  };
  const time = (): string => `,"time":"${new Date(wallTime?.() ?? wallNow()).toISOString()}"`;
  return new BoundedLogger(
    pino(
      {
        level,
        base: null,
        timestamp: time,
        formatters: { level: (label) => ({ level: label }) },
      },
      destination,
    ),
  );
}

/** Keeps what pino is given within bounds. */
class BoundedLogger implements Logger {
  readonly #pino: PinoLogger;

  constructor(inner: PinoLogger) {
    this.#pino = inner;
  }

  debug(message: string, fields: LogFields = {}): void {
    if (this.#pino.isLevelEnabled("debug")) {
      this.#pino.debug(boundFields(fields), boundMessage(message));
    }
  }

  info(message: string, fields: LogFields = {}): void {
    if (this.#pino.isLevelEnabled("info")) {
      this.#pino.info(boundFields(fields), boundMessage(message));
    }
  }

  warn(message: string, fields: LogFields = {}): void {
    if (this.#pino.isLevelEnabled("warn")) {
      this.#pino.warn(boundFields(fields), boundMessage(message));
    }
  }

  error(message: string, fields: LogFields = {}): void {
    this.#pino.error(boundFields(fields), boundMessage(message));
  }

  child(fields: LogFields): Logger {
    return new BoundedLogger(this.#pino.child(boundFields(fields)));
  }
}

function toPretty(line: string, isColored: boolean): string {
  const { time, level, msg, ...fields }: Record<string, unknown> = { ...Object(JSON.parse(line)) };
  const parsed = { time: String(time), level: String(level), msg: String(msg), fields };
  return `${formatPretty(parsed, { isColored })}\n`;
}

function wallNow(): number {
  return new Date().getTime();
}
