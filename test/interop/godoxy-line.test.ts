import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, test } from "node:test";
import { startUdpEcho } from "../support/linksocks-traffic.ts";
import type { Impairment } from "../support/lossy-udp.ts";
import { GodoxyLane } from "./godoxy-lane.ts";
import { echo, echoAtLast } from "./godoxy-traffic.ts";

const harness = process.env["SLUICE_INTEROP_GODOXY"] ?? "";
const CLEAN: Impairment = { loss: 0, duplication: 0, reordering: 0, lateMs: 0 };
const BAD: Impairment = { loss: 0.25, duplication: 0.1, reordering: 0.1, lateMs: 50 };
/** Their client has no second try for its header, and doubles the waits of its handshake for ever. */
const BAD_FOR_THEIRS: Impairment = { ...BAD, loss: 0.1 };

describe("godoxy interop over a bad line", {
  skip: harness === "" && "SLUICE_INTEROP_GODOXY names no harness around GoDoxy's stream package",
}, () => {
  for (const agent of ["theirs", "ours"] as const) {
    const client = agent === "theirs" ? "our client, their agent" : "their client, our agent";

    test(`sessions open on a bad line: ${client}`, { timeout: 120_000 }, async (t) => {
      await using udp = await startUdpEcho();
      const impairment = agent === "theirs" ? BAD : BAD_FOR_THEIRS;
      await using lane = await GodoxyLane.start({ harness, agent, impairment });
      const one = async (): Promise<number> => {
        await using datagrams = await lane.associate({ host: "127.0.0.1", port: udp.port });
        return await echoAtLast(datagrams, 100_000);
      };
      const sent = await Promise.all(Array.from({ length: 12 }, one));
      // Theirs loses headers with everything else. Spec: godoxy 3.5.
      if (agent === "theirs") assert.doesNotMatch(lane.agent.stderr, /invalid stream header/);
      t.diagnostic(`sent ${sent.join(" ")} times; ${JSON.stringify(lane.relay?.fate)}`);
    });

    test(`forged datagrams end no session of ours: ${client}`, async () => {
      await using udp = await startUdpEcho();
      await using lane = await GodoxyLane.start({ harness, agent, impairment: { ...CLEAN } });
      await using datagrams = await lane.associate({ host: "127.0.0.1", port: udp.port });
      const [toOurs, toTheirs] =
        agent === "ours" ? (["server", "clients"] as const) : (["clients", "server"] as const);
      await echo(datagrams, 100);
      for (const forged of FORGED) {
        lane.relay?.forge(forged, toOurs);
        await echo(datagrams, 100);
      }
      // That the forgery is one: theirs falls for it. Spec: godoxy 7, weakness 2.
      lane.relay?.forge(CLOSE_NOTIFY, toTheirs);
      if (agent === "ours") await lane.client.waitFor(/session ended: EOF/, { on: "stderr" });
      await echoAtLast(datagrams, 20_000);
    });
  }

  test("datagrams that do not stop find an agent that was started again: our client", {
    timeout: 120_000,
    skip: process.env["SLUICE_INTEROP_QUICK"] !== undefined && "quick",
  }, async () => {
    await using udp = await startUdpEcho();
    await using lane = await GodoxyLane.start({ harness, agent: "theirs" });
    await using datagrams = await lane.associate({ host: "127.0.0.1", port: udp.port });
    await echo(datagrams, 100);
    await lane.killAgent();
    await lane.startAgent();
    // It knows nothing of the session and says nothing to its datagrams. Spec: godoxy 3.4.
    await echoAtLast(datagrams, 60_000);
  });

  test("our agent says goodbye to sessions when it ends: their client", async () => {
    await using udp = await startUdpEcho();
    await using lane = await GodoxyLane.start({ harness, agent: "ours" });
    await using datagrams = await lane.associate({ host: "127.0.0.1", port: udp.port });
    await echo(datagrams, 100);
    lane.agent.kill();
    await lane.client.waitFor(/session ended: EOF/, { on: "stderr" });
    await lane.agent.exit;
    await lane.startAgent();
    await echoAtLast(datagrams, 20_000);
  });
});

/** A record under epoch 0, which needs no key. */
function plain(type: number, body: string): Buffer {
  const payload = Buffer.from(body, "hex");
  const head = Buffer.from(`${type.toString(16)}fefd0000000000000063`, "hex");
  const length = Buffer.alloc(2);
  length.writeUInt16BE(payload.byteLength);
  return Buffer.concat([head, length, payload]);
}

const CLOSE_NOTIFY = plain(0x15, "0100");
const FORGED: readonly Buffer[] = [
  CLOSE_NOTIFY,
  plain(0x15, "0228"),
  plain(0x15, "0231"),
  plain(0x17, "666f72676564"),
  plain(0x14, "01"),
  plain(0x16, "000000000000000000000000"),
  plain(0x16, "0e0000000005000000000000"),
  Buffer.from(`17fefd00010000000000630020${"00".repeat(32)}`, "hex"),
  Buffer.from(`15fefd0001000000000064001a${"00".repeat(26)}`, "hex"),
  Buffer.from("16fefd", "hex"),
  randomBytes(100),
  Buffer.alloc(0),
];
