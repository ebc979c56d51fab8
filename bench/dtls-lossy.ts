import { ManualClock } from "../src/clock/manual-clock.ts";
import { dialDtls } from "../src/transports/dtls/dial.ts";
import { listenDtls } from "../src/transports/dtls/listen.ts";
import type { DatagramConnection } from "../src/tunnel/datagram-connection.ts";
import { type Runtime, systemRuntime } from "../src/tunnel/runtime.ts";
import type { DtlsCertificates } from "./dtls-certificates.ts";
import { MemoryLink } from "./memory-link.ts";
import { seededRandom } from "./seeded-random.ts";

/** A line, and the seed that all of its chance comes from. */
export interface LossyLine {
  readonly seed: number;
  /** Of 1: how many datagrams are lost. */
  readonly loss: number;
  /** Of 1: how many arrive twice. */
  readonly duplicates: number;
  /** Each datagram takes up to this long, so that they overtake each other. */
  readonly delayMs: number;
}

/** How a handshake went. */
export interface LossyHandshake {
  /** How long it took on the clock of the line; absent when it failed. */
  readonly tookMs: number | undefined;
  readonly error: unknown;
  /** Datagrams of both ends, lost ones too. */
  readonly datagrams: number;
  /** Whether the greeting arrived, once. */
  readonly isGreeted: boolean;
}

/** One handshake between `dialDtls` and `listenDtls` over a bad line, on a clock of its own. */
export async function shakeHandsOver(
  line: LossyLine,
  { ca, server, client }: DtlsCertificates,
): Promise<LossyHandshake> {
  const { loss, duplicates, delayMs } = line;
  const random = seededRandom(line.seed);
  const clock = new ManualClock();
  const runtime: Runtime = { ...systemRuntime(), clock };
  let datagrams = 0;
  const link = new MemoryLink(clock, () => {
    datagrams++;
    const copies = random() < loss ? 0 : random() < duplicates ? 2 : 1;
    return Array.from({ length: copies }, () => 1 + random() * delayMs);
  });
  const heard: string[] = [];
  const at = { host: "192.0.2.2", port: 8890 };
  const { bindUdp } = link;
  const listener = await listenDtls({
    at,
    runtime,
    bindUdp,
    dtls: { ca, ...server },
    onConnection: (connection) => {
      const onDatagram = (data: Uint8Array): void => void heard.push(Buffer.from(data).toString());
      connection.attach({ onDatagram, onClose: () => {} });
    },
  });
  const greeting = Buffer.from(GREETING);
  const dtls = { ca, ...client, serverName: "godoxy.agent", greeting };
  const dialled = dialDtls({ to: at, runtime, bindUdp, dtls });
  const { connection, tookMs, error } = await settled(dialled, clock);
  // The record that came with the last flight may be lost; the next four datagrams bring it again.
  for (let again = 0; again < 4; again++) connection?.send(new Uint8Array(0));
  clock.advance(AFTERWARDS_MS);
  const isGreeted = heard.filter((text) => text === GREETING).length === 1;
  connection?.close();
  await listener.close();
  return { tookMs, error, datagrams, isGreeted };
}

async function settled(
  dialled: Promise<DatagramConnection>,
  clock: ManualClock,
): Promise<{
  readonly connection: DatagramConnection | undefined;
  readonly tookMs: number | undefined;
  readonly error: unknown;
}> {
  const outcome: { connection?: DatagramConnection; error?: unknown; isSettled?: boolean } = {};
  const done = dialled
    .then(
      (connection) => (outcome.connection = connection),
      (error: unknown) => (outcome.error = error),
    )
    .finally(() => (outcome.isSettled = true));
  while (outcome.isSettled !== true) {
    // Promises first: what they do sets timers.
    for (let turn = 0; turn < 8; turn++) await Promise.resolve();
    const { next } = clock;
    if (next !== undefined && outcome.connection === undefined) clock.advance(next - clock.now());
  }
  await done;
  const { connection, error } = outcome;
  return { connection, error, tookMs: connection && clock.now() };
}

const GREETING = "greeting";
const AFTERWARDS_MS = 2_000;
