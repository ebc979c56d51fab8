import type { Timer } from "../../../clock/clock.ts";
import { NetworkError, type TunnelError } from "../../../errors.ts";
import type { Connection } from "../../../tunnel/connection.ts";
import type { Runtime } from "../../../tunnel/runtime.ts";
import { formatHttpDate } from "./http-date.ts";
import { encodeHead } from "./upgrade.ts";

/** One file that may be shown, not read yet. */
export interface WebFile {
  readonly byteLength: number;
  /** Its bytes, in chunks that are given. Ending the iteration early closes the file. */
  read(): AsyncIterable<Uint8Array>;
}

/** An answer over plain HTTP. It ends its connection. */
export interface Page {
  readonly status: keyof typeof REASONS;
  /** Without Date, length and Connection. */
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly body: Uint8Array | WebFile;
}

/** A page of one line. */
export function textPage(
  status: Page["status"],
  text: string,
  fields: Page["fields"] = [],
): Page & { readonly body: Uint8Array } {
  const type = ["Content-Type", "text/plain; charset=utf-8"] as const;
  return { status, fields: [...fields, type, NOSNIFF], body: Buffer.from(`${text}\n`, "utf8") };
}

/** Sends a small page and ends the connection. */
export function closeWith(
  connection: Connection,
  page: Page & { readonly body: Uint8Array },
  unixMs: number,
): void {
  connection.write([encodePageHead(page, unixMs), page.body]);
  connection.close();
}

/**
 * Sends a page, as fast as it is taken, and ends the connection. A page that cannot be sent whole
 * ends in a reset: a part must not look like the whole.
 *
 * @throws TunnelError when the peer left, or takes nothing for half a minute
 */
export async function sendPage(
  connection: Connection,
  page: Page,
  { runtime, unixMs }: { readonly runtime: Runtime; readonly unixMs: number },
): Promise<void> {
  const { body } = page;
  if (body instanceof Uint8Array) {
    closeWith(connection, { ...page, body }, unixMs);
    return;
  }
  const taker = new Taker(connection, runtime);
  connection.write([encodePageHead(page, unixMs)]);
  let left = body.byteLength;
  try {
    for await (const chunk of body.read()) {
      // A file that grew meanwhile: its length was told.
      const part = chunk.subarray(0, left);
      left -= part.byteLength;
      if (!connection.write([part])) await taker.drained();
      taker.throwIfGone();
      if (left === 0) break;
    }
    if (left > 0) throw new NetworkError("ERR_CLOSED", "the file became shorter meanwhile");
  } catch (thrown) {
    const text = thrown instanceof Error ? thrown.message : String(thrown);
    connection.reset(new NetworkError("ERR_CLOSED", `page cut off: ${text}`, { cause: thrown }));
    throw thrown;
  }
  connection.detach();
  connection.close();
}

function encodePageHead({ status, fields, body }: Page, unixMs: number): Uint8Array {
  return encodeHead(`HTTP/1.1 ${status} ${REASONS[status]}`, [
    ["Date", formatHttpDate(unixMs)],
    ...fields,
    ["Content-Length", String(body.byteLength)],
    ["Connection", "close"],
  ]);
}

/** Watches whoever reads a page: does it go on, or has it left? */
class Taker {
  readonly #runtime: Runtime;
  readonly #peer: string;
  #error: TunnelError | undefined;
  #onMove: (() => void) | undefined;

  constructor(connection: Connection, runtime: Runtime) {
    this.#runtime = runtime;
    this.#peer = connection.info.peer;
    connection.attach({
      onData: () => {}, // the next request would be: there is one for each connection
      onEnd: () => {},
      onDrain: () => this.#onMove?.(),
      onClose: (error) => {
        this.#error = error ?? new NetworkError("ERR_CONNECTION_RESET", `${this.#peer} left`);
        this.#onMove?.();
      },
    });
    connection.resume();
  }

  throwIfGone(): void {
    if (this.#error !== undefined) throw this.#error;
  }

  async drained(): Promise<void> {
    this.throwIfGone();
    let timer: Timer | undefined;
    await new Promise<void>((resolve) => {
      this.#onMove = resolve;
      timer = this.#runtime.clock.schedule(STALL_MS, () => {
        const text = `${this.#peer} takes nothing for ${STALL_MS} ms`;
        this.#error = new NetworkError("ERR_SLOW_READER", text);
        resolve();
      });
    });
    timer?.cancel();
    this.#onMove = undefined;
    this.throwIfGone();
  }
}

/** How long who reads a page may take nothing. */
const STALL_MS = 30_000;

/** Browsers shall go by the type. */
export const NOSNIFF: readonly [string, string] = ["X-Content-Type-Options", "nosniff"];

/** Spec: RFC 9110 section 15. */
const REASONS = {
  200: "OK",
  301: "Moved Permanently",
  302: "Found",
  400: "Bad Request",
  401: "Unauthorized",
  404: "Not Found",
  429: "Too Many Requests",
  500: "Internal Server Error",
} as const;
