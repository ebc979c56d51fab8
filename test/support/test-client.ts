import assert from "node:assert/strict";
import { SlabPool } from "../../src/bytes/slab-pool.ts";
import { ManualClock } from "../../src/clock/manual-clock.ts";
import type { Connection } from "../../src/tunnel/connection.ts";
import { connectionPair } from "../../src/tunnel/connection-pair.ts";
import type { LogFields, Logger } from "../../src/tunnel/logger.ts";
import type { Runtime } from "../../src/tunnel/runtime.ts";

/** Owns a connection, reads on, and writes down all it hears. */
export class TestClient {
  readonly connection: Connection;
  readonly chunks: Uint8Array[] = [];
  /** `end`, `drain`, `close`, or `close` and the error's code. */
  readonly events: string[] = [];

  /** Attaches and resumes. */
  constructor(connection: Connection) {
    this.connection = connection;
    connection.attach({
      onData: (chunk) => void this.chunks.push(chunk),
      onEnd: () => void this.events.push("end"),
      onDrain: () => void this.events.push("drain"),
      onClose: (error) =>
        void this.events.push(error === undefined ? "close" : `close ${error.code}`),
    });
    connection.resume();
  }

  /** Everything received so far. */
  get bytes(): Uint8Array {
    return Buffer.concat(this.chunks);
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString("latin1");
  }

  /** Writes bytes or text, and lets it arrive. */
  async send(...chunks: readonly (Uint8Array | string)[]): Promise<void> {
    this.connection.write(chunks.map((chunk) => Buffer.from(chunk)));
    await turns();
  }
}

/** A runtime whose time stands still until told. */
export function manualRuntime(): Runtime & { readonly clock: ManualClock } {
  return { clock: new ManualClock(), random: () => 0.5, slabs: new SlabPool() };
}

/** A client on one end, the connection an inbound would accept on the other. */
export function memoryClient(runtime: Runtime, name = "192.0.2.1:5000"): [TestClient, Connection] {
  const [near, far] = connectionPair(runtime, { names: [name, "127.0.0.1:1080"] });
  return [new TestClient(near), far];
}

/** Lets what was set going in memory happen: everything there takes turns of the event loop. */
export async function turns(count = 8): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Waits for a condition that real sockets bring about; fails with `what` after some seconds. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + UNTIL_MS;
  while (!condition()) {
    assert.ok(performance.now() < deadline, `${what}: not within ${UNTIL_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** One recorded log line. */
export interface LogLine {
  readonly level: "debug" | "info" | "warn" | "error";
  readonly message: string;
  readonly fields: LogFields;
}

/** A logger that keeps its lines. */
export function recordingLogger(): { readonly logger: Logger; readonly lines: LogLine[] } {
  const lines: LogLine[] = [];
  const make = (bound: LogFields): Logger => {
    const at = (level: LogLine["level"]) => (message: string, fields?: LogFields) =>
      void lines.push({ level, message, fields: { ...bound, ...fields } });
    return {
      debug: at("debug"),
      info: at("info"),
      warn: at("warn"),
      error: at("error"),
      child: (fields) => make({ ...bound, ...fields }),
    };
  };
  return { logger: make({}), lines };
}

const UNTIL_MS = 10_000;
