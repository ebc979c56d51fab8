import type { LogFields, Logger } from "../../src/tunnel/logger.ts";

/** A logger that writes down every line: level, message, and fields as JSON. */
export class LogRecorder implements Logger {
  readonly lines: string[];
  readonly #fields: LogFields;

  constructor(fields: LogFields = {}, lines: string[] = []) {
    this.#fields = fields;
    this.lines = lines;
  }

  get text(): string {
    return this.lines.join("\n");
  }

  debug(message: string, fields?: LogFields): void {
    this.#write("debug", message, fields);
  }

  info(message: string, fields?: LogFields): void {
    this.#write("info", message, fields);
  }

  warn(message: string, fields?: LogFields): void {
    this.#write("warn", message, fields);
  }

  error(message: string, fields?: LogFields): void {
    this.#write("error", message, fields);
  }

  child(fields: LogFields): Logger {
    return new LogRecorder({ ...this.#fields, ...fields }, this.lines);
  }

  #write(level: string, message: string, fields: LogFields = {}): void {
    this.lines.push(`${level} ${message} ${JSON.stringify({ ...this.#fields, ...fields })}`);
  }
}
