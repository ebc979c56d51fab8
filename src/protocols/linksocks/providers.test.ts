import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { turns } from "../../../test/support/turns.ts";
import { SlabPool } from "../../bytes/slab-pool.ts";
import { ManualClock } from "../../clock/manual-clock.ts";
import { NetworkError, TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import { connectionPair } from "../../tunnel/connection-pair.ts";
import type { PacketChannel } from "../../tunnel/packets.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import { type ProviderLink, ProviderPool, type ProviderPoolOptions } from "./providers.ts";

const TARGET = { network: "tcp", host: "example.com", port: 80 } as const;
const METADATA = { inbound: "socks", source: "program" };

describe("a pool of providers", () => {
  test("gives each its turn", async () => {
    const { pool, links, ask } = make(3);
    for (let at = 0; at < 6; at++) await ask();
    assert.deepEqual(asked(links), [2, 2, 2]);
    assert.equal(pool.size, 3);
  });

  test("passes over those that take nothing", async () => {
    const { links, ask } = make(3);
    if (links[1]) links[1].isOpen = false;
    for (let at = 0; at < 4; at++) await ask();
    assert.deepEqual(asked(links), [2, 0, 2]);
  });

  test("keeps the order of turns when one leaves", async () => {
    const { pool, links, ask } = make(3);
    await ask();
    if (links[0]) pool.leave(links[0]);
    await ask();
    await ask();
    assert.deepEqual(asked(links), [1, 1, 1]);
    for (const link of links) pool.leave(link);
    assert.equal(pool.size, 0);
  });

  test("prefers the least busy one when told so", async () => {
    const { links, ask } = make(3, { balance: "leaststreams" });
    for (const [at, link] of links.entries()) link.streamCount = [5, 1, 5][at] ?? 0;
    for (let at = 0; at < 4; at++) await ask();
    assert.deepEqual(asked(links), [0, 4, 0]);
    for (const link of links) link.streamCount = 0;
    await ask();
    await ask();
    assert.deepEqual(asked(links), [1, 4, 1], "equals take turns");
  });

  test("asks the next one when a link dies before the target is reached", async () => {
    const { links, ask } = make(2);
    links[0]?.failWith(new NetworkError("ERR_TUNNEL_LOST", "link lost"));
    await ask();
    assert.deepEqual(asked(links), [1, 1]);
  });

  test("gives up after three links that die", async () => {
    const { links, ask } = make(5);
    for (const link of links) link.failWith(new NetworkError("ERR_TUNNEL_LOST", "link lost"));
    await assert.rejects(ask(), { code: "ERR_TUNNEL_LOST" });
    assert.deepEqual(asked(links), [1, 1, 1, 0, 0]);
  });

  test("takes a provider's no for an answer", async () => {
    const { links, ask } = make(2);
    links[0]?.failWith(new NetworkError("ERR_DIAL_REFUSED", "refused"));
    await assert.rejects(ask(), { code: "ERR_DIAL_REFUSED" });
    assert.deepEqual(asked(links), [1, 0]);
  });

  test("waits for the first to join that takes something", async () => {
    const { pool, clock, ask } = make(0);
    let opened = 0;
    const waiting = [ask(), ask()].map((asking) => asking.then(() => opened++));
    const closed = new FakeLink();
    closed.isOpen = false;
    pool.join(closed);
    await turns();
    assert.equal(opened, 0);
    const open = new FakeLink();
    pool.join(open);
    await Promise.all(waiting);
    assert.deepEqual([closed.asked, open.asked], [0, 2]);
    assert.equal(clock.pending, 0);
  });

  test("says who is missing when nobody joins", async () => {
    const { clock, ask } = make(0);
    const failed = assert.rejects(ask(), {
      code: "ERR_TUNNEL_DOWN",
      message: "no available reverse clients",
      hint: /provider "office" is not connected/,
    });
    clock.advance(1_000);
    await failed;
    assert.equal(clock.pending, 0);
  });

  test("lets only so many wait", async () => {
    const { pool, clock, ask } = make(0, { maxWaiting: 1 });
    const first = ask();
    await assert.rejects(ask(), { code: "ERR_LIMIT" });
    const failed = assert.rejects(first, { code: "ERR_SHUTDOWN" });
    pool.close(new TunnelError("ERR_SHUTDOWN", "shutting down"));
    await failed;
    assert.equal(clock.pending, 0);
  });

  test("stops waiting with who asked", async () => {
    const { pool, clock } = make(0);
    const patience = new AbortController();
    const dialling = pool.dial(TARGET, { signal: patience.signal, metadata: METADATA });
    const failed = assert.rejects(dialling, { code: "ERR_ABORTED" });
    patience.abort(new TunnelError("ERR_ABORTED", "gone"));
    await failed;
    assert.equal(clock.pending, 0);
    await assert.rejects(pool.dial(TARGET, { signal: patience.signal, metadata: METADATA }));
  });

  test("carries datagrams the same way", async () => {
    const { pool, links } = make(2);
    const { signal } = new AbortController();
    for (let at = 0; at < 2; at++) await pool.associate({ signal, metadata: METADATA });
    assert.deepEqual(asked(links), [1, 1]);
  });
});

class FakeLink implements ProviderLink {
  isOpen = true;
  streamCount = 0;
  asked = 0;
  #error: TunnelError | undefined;

  failWith(error: TunnelError): void {
    this.#error = error;
  }

  open(): Promise<Connection> {
    this.asked++;
    if (this.#error !== undefined) return Promise.reject(this.#error);
    const runtime = { clock: new ManualClock(), random: () => 0, slabs: new SlabPool() };
    return Promise.resolve(connectionPair(runtime)[0]);
  }

  associate(): Promise<PacketChannel> {
    this.asked++;
    const info = { transport: "test", local: "-", peer: "-" };
    return Promise.resolve({ info, attach: () => {}, send: () => {}, close: () => {} });
  }
}

function make(
  count: number,
  options: Partial<ProviderPoolOptions> = {},
): {
  readonly pool: ProviderPool;
  readonly links: readonly FakeLink[];
  readonly clock: ManualClock;
  readonly ask: () => Promise<Connection>;
} {
  const clock = new ManualClock();
  const runtime: Runtime = { clock, random: () => 0, slabs: new SlabPool() };
  const pool = new ProviderPool({ name: "office", runtime, waitMs: () => 1_000, ...options });
  const links = Array.from({ length: count }, () => new FakeLink());
  for (const link of links) pool.join(link);
  const { signal } = new AbortController();
  return { pool, links, clock, ask: () => pool.dial(TARGET, { signal, metadata: METADATA }) };
}

function asked(links: readonly FakeLink[]): number[] {
  return links.map((link) => link.asked);
}
