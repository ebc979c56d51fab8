/**
 * Opens GoDoxy streams, or DTLS sessions, one behind the other in its own process, none of them
 * resumed: `godoxy-opener.ts <agent's port> <target's port> <ca> <cert> <key>`.
 */
import { readFileSync } from "node:fs";
import { GodoxyClient } from "../src/protocols/godoxy/client.ts";
import { encodeHeader } from "../src/protocols/godoxy/header.ts";
import { dialDtls } from "../src/transports/dtls/dial.ts";
import { dialTls } from "../src/transports/tls/dial.ts";
import { bindUdp } from "../src/transports/udp/bind.ts";
import { silentLogger } from "../src/tunnel/logger.ts";
import { systemRuntime } from "../src/tunnel/runtime.ts";

/** What the parent asks for; answered with {@link OpenerResult}. */
export interface OpenerOrder {
  readonly kind: "tls" | "dtls";
  readonly ms: number;
  readonly parallel: number;
}

/** What it gets. */
export interface OpenerResult {
  readonly opensPerSecond?: number;
  readonly error?: string;
}

const [port, targetPort] = process.argv.slice(2, 4).map(Number);
const [ca = "", cert = "", key = ""] = process.argv
  .slice(4)
  .map((path) => readFileSync(path, "utf8"));
const to = { host: "127.0.0.1", port: port ?? 0 };
const target = { network: "tcp", host: "127.0.0.1", port: targetPort ?? 0 } as const;
const identity = { ca, cert, key, serverName: "godoxy.agent" };
const runtime = systemRuntime();
const never = new AbortController().signal;

const client = new GodoxyClient({
  name: "bench",
  description: "bench",
  runtime,
  logger: silentLogger,
  // Without a place to remember it, no session is resumed.
  openTls: async (signal) =>
    await dialTls({ runtime, to, signal, tls: { ...identity, alpn: ["godoxy-agent-stream/1"] } }),
});

process.on("message", (order: OpenerOrder) => {
  openRate(order).then(
    (opensPerSecond) => process.send?.({ opensPerSecond }),
    (error: unknown) => process.send?.({ error: String(error) }),
  );
});

async function openRate({ kind, ms, parallel }: OpenerOrder): Promise<number> {
  const from = performance.now();
  let opens = 0;
  const worker = async (): Promise<void> => {
    while (performance.now() < from + ms) {
      await (kind === "tls" ? openStream() : openSession());
      opens++;
    }
  };
  await Promise.all(Array.from({ length: parallel }, worker));
  return (opens / (performance.now() - from)) * 1_000;
}

/** A stream that reaches the target and ends in order. */
async function openStream(): Promise<void> {
  const metadata = { inbound: "bench", source: "bench" };
  const stream = await client.open(target, { signal: never, metadata });
  const closed = Promise.withResolvers<void>();
  stream.attach({
    onData: () => {},
    onEnd: () => {},
    onDrain: () => {},
    onClose: () => closed.resolve(),
  });
  stream.resume();
  stream.finish();
  await closed.promise;
}

/** A session whose header says where its datagrams would go. */
async function openSession(): Promise<void> {
  const greeting = encodeHeader({ host: target.host, port: String(target.port) });
  const dtls = { ...identity, greeting };
  const session = await dialDtls({ to, runtime, bindUdp, dtls });
  session.close();
}

process.on("disconnect", () => process.exit());
process.send?.({ port: 0 });
