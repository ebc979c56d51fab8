import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { NetworkError } from "../../src/errors.ts";
import { GodoxyAgent } from "../../src/protocols/godoxy/agent.ts";
import { decodeHeader } from "../../src/protocols/godoxy/header.ts";
import type { PacketChannel } from "../../src/tunnel/packets.ts";
import { type DatagramEnd, datagramPair, DatagramRecorder } from "../support/datagram-pair.ts";
import { LogRecorder } from "../support/log-recorder.ts";
import { manualRuntime, turns } from "../support/test-client.ts";

/** Scenarios in which DTLS itself plays no trick; `transports/dtls` replays those where it does. */
const SCENARIOS = [
  "udp-bad-headers",
  "udp-datagram-sizes",
  "udp-destination-unreachable",
  "udp-echo",
  "udp-header-deadline",
  "udp-health-probe",
  "udp-two-sessions",
];

/**
 * What clients said in the original's UDP sessions, played against our agent. Where we differ:
 * - EMPTY: the original drops empty datagrams to the destination, ours carries them.
 * - LENGTH: the original receives 8155 bytes at most, ours 16384.
 * - DEADLINE: the original counts its ten seconds from the first ClientHello, ours from the end of
 *   the handshake.
 */
describe("GoDoxy's UDP sessions, against the original's recordings", () => {
  for (const name of SCENARIOS) {
    test(`agent does as in ${name}`, async () => {
      for (const [conn, lines] of readSessions(name)) await play(lines, `${name} ${conn}`);
    });
  }
});

async function play(lines: readonly SessionLine[], what: string): Promise<void> {
  const runtime = manualRuntime();
  let channel: PacketChannel | undefined;
  const atTarget: string[] = [];
  const isUnreachable = what.startsWith("udp-destination-unreachable");
  const agent = new GodoxyAgent({
    name: "agent",
    runtime,
    logger: new LogRecorder(),
    onRequest: () => assert.fail("no stream"),
    onPacketRequest: (request) => {
      if (request.target?.host.endsWith(".invalid")) {
        request.reject(new NetworkError("ERR_DNS", "does not resolve"));
        return;
      }
      const accepted = request.accept();
      channel = accepted;
      accepted.attach({
        onPacket: ({ data }) => {
          atTarget.push(latin1(data));
          // The network says so from the second on, and the original hears of it with the third.
          if (isUnreachable && atTarget.length === 3) {
            accepted.close(new NetworkError("ERR_DIAL_REFUSED", "port unreachable"));
          }
        },
        onClose: () => {},
      });
    },
  });
  const [near, far]: [DatagramEnd, DatagramEnd] = datagramPair();
  const client = new DatagramRecorder(near);
  agent.acceptDatagrams(far, { name: "client", key: "key" });
  const started = lines[0]?.at ?? 0;
  const expected: string[] = [];
  const expectedAtTarget: string[] = [];
  const said = lines.filter(({ leg, from }) => leg === "tunnel" && from === "client");
  const { host, port } = headerOf(said);
  for (const { at, from, leg, bytes, isEnd } of lines) {
    runtime.clock.advance(Math.max(0, at - started - runtime.clock.now()));
    const text = latin1(bytes);
    if (leg === "destination" && from === "client") expectedAtTarget.push(text);
    if (leg === "destination" && from === "server") channel?.send({ host, port, data: bytes });
    if (leg === "tunnel" && from === "client") {
      const isExtra = channel !== undefined && (text === "" || bytes.byteLength > 8_155);
      if (isExtra) expectedAtTarget.push(text); // EMPTY, LENGTH
      if (isUnreachable && !isEnd && channel !== undefined) expectedAtTarget.push(text); // no tap there
      if (isEnd) near.close();
      else near.send(bytes);
    }
    if (leg === "tunnel" && from === "server") {
      if (!isEnd) expected.push(text);
      if (isEnd && what.startsWith("udp-header-deadline")) runtime.clock.advance(10_000); // DEADLINE
      if (isEnd) assert.ok(near.isClosed, `${what} at ${at}: the agent closes`);
    }
    await turns(2);
  }
  assert.deepEqual(
    client.events.filter((event) => event !== "close"),
    expected,
    `${what}: to the client`,
  );
  assert.deepEqual(atTarget, expectedAtTarget, `${what}: to the target`);
  near.close();
  assert.equal(agent.sessionCount, 0, what);
  assert.equal(runtime.clock.pending, 0, what);
}

interface SessionLine {
  readonly at: number;
  readonly from: "client" | "server";
  readonly leg: "tunnel" | "destination";
  readonly bytes: Uint8Array;
  /** close_notify. */
  readonly isEnd: boolean;
}

/** The target of the first header that holds one; no address where there is none. */
function headerOf(said: readonly SessionLine[]): { readonly host: string; readonly port: number } {
  const all = Buffer.concat(said.filter(({ isEnd }) => !isEnd).map(({ bytes }) => bytes));
  try {
    const { host, port } = decodeHeader(all.subarray(0, 275));
    return { host, port: Number(port) };
  } catch {
    return { host: "", port: 0 }; // what is refused leads nowhere
  }
}

/** The plaintext of every session of a scenario, with its destination's datagrams. */
function readSessions(name: string): Map<number, SessionLine[]> {
  const path = join(import.meta.dirname, "../vectors/godoxy", `${name}.jsonl`);
  const [, ...lines] = readFileSync(path, "utf8").trim().split("\n");
  const sessions = new Map<number, SessionLine[]>();
  /** Which session a socket to a destination belongs to: that of the client's latest datagram. */
  const owners = new Map<number, SessionLine[]>();
  let latest: SessionLine[] = [];
  for (const line of lines) {
    // Parsing border: our own recordings.
    const raw = JSON.parse(line) as RawLine;
    const { at, from, layer, conn, record } = raw;
    if (layer === "dest-udp" && raw.event === "data") {
      const owner = owners.get(conn) ?? latest;
      owners.set(conn, owner);
      owner.push({ at, from, leg: "destination", bytes: bytesOf(raw), isEnd: false });
    }
    if (layer !== "dtls" || record?.epoch !== 1) continue;
    if (record.type !== APPLICATION_DATA && record.type !== ALERT) continue;
    const session = sessions.get(conn) ?? [];
    sessions.set(conn, session);
    if (from === "client") latest = session;
    const isEnd = record.type === ALERT;
    session.push({ at, from, leg: "tunnel", bytes: bytesOf(raw), isEnd });
  }
  return sessions;
}

/** Bulk data is elided to its beginning: there it is one byte, again and again. */
function bytesOf({ hex = "", hexPrefix, length = 0, sha256 }: RawLine): Uint8Array {
  if (hexPrefix === undefined) return Uint8Array.from(Buffer.from(hex, "hex"));
  const bytes = new Uint8Array(length).fill(Number.parseInt(hexPrefix.slice(0, 2), 16));
  assert.equal(createHash("sha256").update(bytes).digest("hex"), sha256);
  return bytes;
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("latin1");
}

interface RawLine {
  readonly at: number;
  readonly from: "client" | "server";
  readonly layer: string;
  readonly event: string;
  readonly conn: number;
  readonly hex?: string;
  readonly hexPrefix?: string;
  readonly length?: number;
  readonly sha256?: string;
  readonly record?: { readonly type: number; readonly epoch?: number };
}

const APPLICATION_DATA = 23;
const ALERT = 21;
