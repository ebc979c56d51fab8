import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import {
  KCP_PROFILES,
  type KcpOptions,
  type KcpProfile,
} from "../../src/transports/kcp/kcp-options.ts";
import { kcpDialer } from "../../src/transports/kcp/dial.ts";
import { listenKcp } from "../../src/transports/kcp/listen.ts";
import { bindUdp } from "../../src/transports/udp/bind.ts";
import { toDuplex } from "../../src/tunnel/duplex.ts";
import { silentLogger } from "../../src/tunnel/logger.ts";
import { systemRuntime } from "../../src/tunnel/runtime.ts";
import { type Impairment, LossyUdp } from "../support/lossy-udp.ts";
import { patternHash } from "../support/origin.ts";
import { KcpPeer } from "./kcp-peer.ts";
import { fulfil, type Wish, WISHES, wishFor } from "./kcp-wish.ts";

const MB = 1_000_000;
const BULK = 16 * MB;
const BULK_MS = 90_000;
const SEEDS = [1, 2, 3];

const CLEAN: Impairment = { loss: 0, duplication: 0, reordering: 0, lateMs: 0 };
const BAD: Impairment = { loss: 0.1, duplication: 0.02, reordering: 0.05, lateMs: 30 };

/** Our profiles, and what the peer is told beside each. */
const PROFILES: Readonly<Record<KcpProfile, readonly string[]>> = {
  vproxy: ["-mtu", "1400"],
  fast: ["-normal"],
  normal: ["-window", "256"],
};

const runtime = systemRuntime();
const logger = silentLogger;
const peer = await KcpPeer.build();

if (typeof peer === "string") {
  test("KCP interop", { skip: peer });
} else {
  after(() => peer[Symbol.dispose]());
  describe("our client, a kcp-go server", () => testWishes((how) => askThem(peer, how)));
  describe("a kcp-go client, our server", () => testWishes((how) => letThemAsk(peer, how)));
}

/** One wish, and the way to whoever fulfils it. */
interface How {
  readonly wish: Wish;
  readonly size: number;
  readonly impairment: Impairment;
  readonly seed?: number | undefined;
  readonly options?: KcpOptions | undefined;
  /** Flags of the peer's program. */
  readonly settings?: readonly string[] | undefined;
  /** Sessions at one time. */
  readonly count?: number | undefined;
}

/** @returns the SHA-256 of what each session carried */
type Carry = (how: How) => Promise<readonly string[]>;

function testWishes(carry: Carry): void {
  const expectWhole = async (how: How): Promise<void> => {
    const whole = await patternHash(how.size);
    const expected = Array.from({ length: how.count ?? 1 }, () => whole);
    assert.deepEqual(await carry(how), expected);
  };

  for (const wish of WISHES) {
    test(`${wish} of ${BULK / MB} MB`, { timeout: BULK_MS }, () =>
      expectWhole({ wish, size: BULK, impairment: CLEAN }),
    );
    for (const seed of SEEDS) {
      const title = `${wish} of ${BULK / MB} MB, 10 % lost, some twice, some late, seed ${seed}`;
      test(title, { timeout: BULK_MS }, () =>
        expectWhole({ wish, size: BULK, impairment: BAD, seed }),
      );
    }
  }

  test("carries single bytes", () => expectWhole({ wish: "echo", size: 1, impairment: BAD }));

  test("takes any conversation number", async () => {
    const conv = 0xfedc_ba98;
    await expectWhole({
      wish: "echo",
      size: MB,
      impairment: BAD,
      options: { ...KCP_PROFILES.vproxy, conv },
      settings: ["-conv", String(conv)],
    });
  });

  for (const [profile, settings] of Object.entries(PROFILES)) {
    test(`with the profile ${profile}, and ${settings.join(" ")} there`, async () => {
      const options = KCP_PROFILES[profile as KcpProfile];
      // A congestion window takes every loss for its own fault: slow is right here.
      await expectWhole({ wish: "echo", size: MB / 4, impairment: BAD, options, settings });
    });
  }

  test("with datagrams of very different sizes", async () => {
    const settings = ["-mtu", "576"];
    await expectWhole({ wish: "echo", size: 2 * MB, impairment: BAD, settings });
  });

  test("with small windows on either side", async () => {
    const options = { ...KCP_PROFILES.vproxy, sendWindow: 16, receiveWindow: 16 };
    await expectWhole({ wish: "echo", size: MB / 4, impairment: BAD, options });
    await expectWhole({ wish: "echo", size: MB / 4, impairment: BAD, settings: ["-window", "16"] });
  });

  test("eight sessions at once", { timeout: BULK_MS }, async () => {
    await expectWhole({ wish: "echo", size: MB, impairment: BAD, count: 8 });
  });
}

/** Our end against a server of theirs. */
async function askThem(program: KcpPeer, how: How): Promise<readonly string[]> {
  const { wish, size, impairment, seed, options = KCP_PROFILES.vproxy, settings, count = 1 } = how;
  const { child, port: to } = await program.serve(settings);
  await using _child = child;
  await using link = await LossyUdp.start(to, impairment, seed);
  const { port } = link;
  const dialer = kcpDialer({ host: "127.0.0.1", port, runtime, options, bindUdp, logger });
  const ask = async (): Promise<string> => {
    const stream = toDuplex(await dialer.dial({ signal: AbortSignal.timeout(BULK_MS) }));
    const closed = Promise.withResolvers<void>();
    stream.on("error", closed.reject).once("close", closed.resolve);
    const hash = await wishFor(stream, wish, size);
    stream.end();
    stream.destroySoon();
    await closed.promise;
    return hash;
  };
  return await Promise.all(Array.from({ length: count }, ask));
}

/** Clients of theirs against our end. */
async function letThemAsk(program: KcpPeer, how: How): Promise<readonly string[]> {
  const { wish, size, impairment, seed, options = KCP_PROFILES.vproxy, settings, count = 1 } = how;
  const fulfilled: Promise<void>[] = [];
  await using listener = await listenKcp({
    host: "127.0.0.1",
    port: 0,
    runtime,
    options,
    bindUdp,
    logger,
    onConnection: (connection) => void fulfilled.push(fulfil(toDuplex(connection))),
  });
  await using link = await LossyUdp.start(portOf(listener.address), impairment, seed);
  const ask = (): Promise<string> => program.ask(link.port, wish, { size, settings });
  const hashes = await Promise.all(Array.from({ length: count }, ask));
  assert.equal(fulfilled.length, count);
  await Promise.all(fulfilled);
  return hashes;
}

function portOf(address: string): number {
  return Number(address.slice(address.lastIndexOf(":") + 1));
}
