import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { TunnelError } from "../../src/errors.ts";
import type {
  DtlsClientOptions,
  DtlsServerOptions,
} from "../../src/transports/dtls/dtls-options.ts";
import type { DatagramConnection, DatagramHandler } from "../../src/tunnel/datagram-connection.ts";

/** A certificate or key of the golden vectors, PEM. */
export function vectorPem(
  agent: "agent-a" | "agent-b",
  file: `${"ca" | "client" | "server"}.${"pem" | "key"}`,
): string {
  const folder = join(import.meta.dirname, "..", "vectors", "godoxy", "certs");
  return readFileSync(join(folder, agent, file), "utf8");
}

/** A server with the certificates of the golden vectors, at a time when they are valid. */
export const VECTOR_SERVER: DtlsServerOptions = {
  cert: vectorPem("agent-a", "server.pem"),
  key: vectorPem("agent-a", "server.key"),
  ca: vectorPem("agent-a", "ca.pem"),
  unixMs,
};

/** Its client. */
export const VECTOR_CLIENT: DtlsClientOptions = {
  cert: vectorPem("agent-a", "client.pem"),
  key: vectorPem("agent-a", "client.key"),
  ca: vectorPem("agent-a", "ca.pem"),
  serverName: "godoxy.agent",
  unixMs,
};

/** Owns a datagram connection and writes down all it hears; with `echoes` it answers the same. */
export class DatagramRecorder implements DatagramHandler {
  readonly connection: DatagramConnection;
  readonly datagrams: Uint8Array[] = [];
  /** `close`, or `close` and the error's code. */
  readonly events: string[] = [];
  error: TunnelError | undefined;
  readonly #echoes: boolean;

  constructor(connection: DatagramConnection, echoes = false) {
    this.connection = connection;
    this.#echoes = echoes;
    connection.attach(this);
  }

  /** What arrived, as text. */
  get texts(): string[] {
    return this.datagrams.map((data) => Buffer.from(data).toString("latin1"));
  }

  say(text: string): void {
    this.connection.send(Buffer.from(text, "latin1"));
  }

  onDatagram(data: Uint8Array): void {
    this.datagrams.push(data);
    if (this.#echoes) this.connection.send(Uint8Array.from(data));
  }

  onClose(error: TunnelError | undefined): void {
    this.error = error;
    this.events.push(error === undefined ? "close" : `close ${error.code}`);
  }
}

function unixMs(): number {
  return Date.UTC(2026, 10, 20, 17);
}
