import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { packetPair } from "../../test/support/packet-pair.ts";
import { PacketRecorder } from "../../test/support/packet-recorder.ts";
import { manualRuntime, recordingLogger, turns } from "../../test/support/test-client.ts";
import { parseHostPattern } from "../address/host-pattern.ts";
import type { Target } from "../address/target.ts";
import { MisuseError, NetworkError, PolicyError, TunnelError } from "../errors.ts";
import { createBlockOutbound } from "../outbound/block/block-outbound.ts";
import type { PacketChannel } from "../tunnel/packets.ts";
import type { Metadata, Outbound, PacketRequest } from "../tunnel/request.ts";
import { ExitPolicy } from "./exit-policy.ts";
import { guardOutbound } from "./guarded-outbound.ts";
import { createRelay, type Relay, type RelayLimits, type StreamEvent } from "./relay.ts";
import { type Route, Router } from "./router.ts";

/** A way out whose associations the test settles. */
class Way {
  readonly name: string;
  readonly opens: (PromiseWithResolvers<PacketChannel> & {
    readonly signal: AbortSignal;
    readonly target: Target | undefined;
  })[] = [];

  constructor(name: string) {
    this.name = name;
  }

  get outbound(): Outbound {
    return {
      name: this.name,
      dial: () => assert.fail("no stream was asked for"),
      associate: ({ signal, target }) => {
        const open = Promise.withResolvers<PacketChannel>();
        this.opens.push({ ...open, signal, target });
        return open.promise;
      },
    };
  }

  /** Lets the latest one succeed. @returns the far end */
  async open(): Promise<PacketRecorder> {
    const [near, far] = packetPair();
    (this.opens.at(-1) ?? assert.fail(`${this.name} was not asked`)).resolve(near);
    const recorder = new PacketRecorder(far);
    await turns(1);
    return recorder;
  }

  async fail(error: Error): Promise<void> {
    this.opens.at(-1)?.reject(error);
    await turns(1);
  }
}

/** One client's wish, as an inbound sees it. */
class Asked {
  readonly gone = new AbortController();
  rejected: TunnelError | undefined;
  client: PacketRecorder | undefined;
  readonly request: PacketRequest;

  constructor(metadata: Partial<Metadata>, accept?: () => PacketChannel, target?: Target) {
    this.request = {
      target,
      metadata: { inbound: "socks test", source: "127.0.0.1:5555", ...metadata },
      signal: this.gone.signal,
      accept:
        accept ??
        (() => {
          assert.equal(this.client, undefined, "accepted twice");
          const [near, far] = packetPair();
          this.client = new PacketRecorder(far);
          return near;
        }),
      reject: (error) => {
        assert.equal(this.rejected, undefined, "rejected twice");
        this.rejected = error;
      },
    };
  }

  /** The client's end, once accepted. */
  get far(): PacketRecorder {
    return this.client ?? assert.fail("not accepted");
  }
}

/** A relay with `home` and `direct`, and `tcp`, which carries no datagrams. */
class Bench {
  readonly runtime = manualRuntime();
  readonly clock = this.runtime.clock;
  readonly home = new Way("home");
  readonly direct = new Way("direct");
  readonly log = recordingLogger();
  readonly events: StreamEvent[] = [];
  readonly relay: Relay;

  constructor(routes: readonly Route[] = [], limits: RelayLimits = {}) {
    const plain: Outbound = { name: "tcp", dial: () => assert.fail("no stream was asked for") };
    const ways = [this.home.outbound, this.direct.outbound, plain, createBlockOutbound()];
    this.relay = createRelay({
      router: new Router({
        routes,
        outbounds: new Map(ways.map((way) => [way.name, way])),
        fallback: "home",
      }),
      runtime: this.runtime,
      logger: this.log.logger,
      limits,
      onStream: (event) => void this.events.push(event),
    });
  }

  ask(metadata: Partial<Metadata> = {}, accept?: () => PacketChannel, target?: Target): Asked {
    const asked = new Asked(metadata, accept, target);
    this.relay.onPacketRequest(asked.request);
    return asked;
  }

  /** The log's messages with some of their fields. */
  lines(...names: readonly string[]): string[] {
    return this.log.lines.map(({ message, fields }) =>
      [message, ...names.map((name) => String(fields[name]))].join(" | "),
    );
  }
}

const SPLIT: readonly Route[] = [
  { targets: [parseHostPattern("10.0.0.0/8")], via: "direct" },
  { targets: [parseHostPattern("*.tcp.example")], via: "tcp" },
  { targets: [parseHostPattern("192.0.2.0/24")], via: "block" },
];

describe("relay, one target that the client names", () => {
  const target: Target = { network: "udp", host: "10.0.0.1", port: 53 };

  test("takes the way of its route before it answers, and tells that way of the target", async () => {
    const bench = new Bench(SPLIT);
    const asked = bench.ask({}, undefined, target);
    assert.equal(asked.client, undefined);
    assert.equal(bench.home.opens.length, 0);
    assert.deepEqual(bench.direct.opens[0]?.target, target);
    const far = await bench.direct.open();
    asked.far.send("ping", target.host, target.port);
    assert.deepEqual(far.events, ["ping < 10.0.0.1:53"]);
    assert.equal(bench.relay.streams()[0]?.to, "10.0.0.1:53/udp");
  });

  test("is refused with the reason when the way cannot lead there", async () => {
    const bench = new Bench(SPLIT);
    const asked = bench.ask({}, undefined, target);
    await bench.direct.fail(new PolicyError("ERR_POLICY_DENIED", "10.0.0.1 is denied"));
    assert.equal(asked.rejected?.code, "ERR_POLICY_DENIED");
  });

  test("ends with its way: nobody listens there", async () => {
    const bench = new Bench(SPLIT);
    const asked = bench.ask({}, undefined, target);
    const far = await bench.direct.open();
    far.channel.close(new NetworkError("ERR_DIAL_REFUSED", "nobody listens"));
    await turns(1);
    assert.deepEqual(asked.far.events, ["close ERR_DIAL_REFUSED"]);
    assert.equal(bench.clock.pending, 0);
  });
});

describe("relay, one way out", () => {
  test("opens it before it answers, carries both ways, and logs one line", async () => {
    const bench = new Bench();
    const asked = bench.ask({ user: "alice" });
    assert.equal(asked.client, undefined);
    const far = await bench.home.open();
    bench.clock.advance(1_000);
    asked.far.send("ping", "name.example", 53);
    asked.far.send("more", "198.51.100.1", 443);
    far.send("pong", "203.0.113.1", 53);
    assert.deepEqual(far.events, ["ping < name.example:53", "more < 198.51.100.1:443"]);
    assert.deepEqual(asked.far.events, ["pong < 203.0.113.1:53"]);
    const info = {
      id: 1,
      state: "open",
      from: "socks test",
      source: "127.0.0.1:5555",
      user: "alice",
      to: "198.51.100.1:443/udp and 1 more",
      via: "home",
      bytesUp: 8,
      bytesDown: 4,
      packetsUp: 2,
      packetsDown: 1,
      since: 0,
    };
    assert.deepEqual(bench.relay.streams(), [info]);
    asked.far.channel.close();
    assert.deepEqual(far.events.at(-1), "close");
    assert.deepEqual(bench.relay.streams(), []);
    const { id, state: _, since: __, ...fields } = info;
    assert.deepEqual(bench.log.lines, [
      {
        level: "info",
        message: "association closed",
        fields: {
          stream: id,
          ...fields,
          durationMs: 1_000,
          reason: "finished",
          code: undefined,
          fault: undefined,
        },
      },
    ]);
    assert.deepEqual(
      bench.events.map(({ type, stream }) => `${type} ${stream.state}`),
      ["opened open", "closed closed"],
    );
    assert.equal(bench.clock.pending, 0);
  });

  test("rejects with the reason why it does not open", async () => {
    const bench = new Bench();
    const asked = bench.ask();
    await bench.home.fail(new NetworkError("ERR_TUNNEL_DOWN", "tunnel is down"));
    assert.equal(asked.rejected?.code, "ERR_TUNNEL_DOWN");
    assert.deepEqual(bench.lines("reason", "fault"), [
      "association refused | tunnel is down | peer",
    ]);
    assert.equal(bench.clock.pending, 0);
  });

  test("rejects what cannot carry datagrams as a command that is not supported", () => {
    for (const via of ["tcp", "block"]) {
      const bench = new Bench();
      const asked = bench.ask({ via });
      assert.equal(asked.rejected?.code, "ERR_COMMAND_UNSUPPORTED");
      assert.match(asked.rejected?.message ?? "", new RegExp(`^${via} carries no datagrams$`));
    }
    const bench = new Bench([
      { targets: [parseHostPattern("a.example")], via: "tcp" },
      { via: "block" },
    ]);
    assert.match(bench.ask().rejected?.message ?? "", /^tcp and block carry no datagrams$/);
  });

  test("rejects a way out that is not there", () => {
    assert.equal(new Bench().ask({ via: "gone" }).rejected?.code, "ERR_TUNNEL_DOWN");
  });

  test("gives up on one that does not open in time, and closes it when it does", async () => {
    const bench = new Bench();
    const asked = bench.ask();
    bench.clock.advance(20_000);
    assert.equal(asked.rejected?.code, "ERR_DIAL_TIMEOUT");
    assert.ok(bench.home.opens[0]?.signal.aborted);
    const late = await bench.home.open();
    assert.deepEqual(late.events, ["close ERR_ABORTED"]);
    assert.equal(bench.clock.pending, 0);
  });

  test("gives up with the client, before and after it asked", async () => {
    const bench = new Bench();
    const asked = bench.ask();
    asked.gone.abort(new TunnelError("ERR_ABORTED", "client left"));
    assert.equal(asked.rejected?.message, "client left");
    assert.ok(bench.home.opens[0]?.signal.aborted);
    const early = new Asked({});
    early.gone.abort(new TunnelError("ERR_ABORTED", "client had left"));
    bench.relay.onPacketRequest(early.request);
    assert.equal(early.rejected?.message, "client had left");
    await turns(1);
    assert.deepEqual(bench.relay.streams(), []);
  });

  test("opens it again when it was lost, but not for every datagram", async () => {
    const bench = new Bench();
    const asked = bench.ask();
    const first = await bench.home.open();
    first.channel.close(new NetworkError("ERR_TUNNEL_LOST", "link lost"));
    for (let count = 0; count < 5; count++) asked.far.send("lost", "a.example", 53);
    assert.equal(bench.home.opens.length, 1);
    bench.clock.advance(1_000);
    asked.far.send("kept", "a.example", 53);
    assert.equal(bench.home.opens.length, 2);
    const second = await bench.home.open();
    assert.deepEqual(second.events, ["kept < a.example:53"]);
    second.channel.close();
    asked.far.send("at once", "a.example", 53);
    const third = await bench.home.open();
    assert.deepEqual(third.events, ["at once < a.example:53"]);
    assert.deepEqual(bench.lines("via", "code"), ["datagrams dropped | home | ERR_TUNNEL_LOST"]);
  });

  test("closes the way out when accepting fails", async () => {
    const bench = new Bench();
    const asked = bench.ask({}, () => {
      throw new MisuseError("answered before");
    });
    const far = await bench.home.open();
    assert.deepEqual(far.events, ["close ERR_MISUSE"]);
    assert.equal(asked.rejected, undefined);
    assert.deepEqual(bench.relay.streams(), []);
    assert.equal(bench.clock.pending, 0);
  });
});

describe("relay, several ways out", () => {
  test("answers at once, and sends each target where its route says", async () => {
    const bench = new Bench(SPLIT);
    const asked = bench.ask();
    assert.equal(bench.home.opens.length + bench.direct.opens.length, 0);
    asked.far.send("one", "10.0.0.1", 53);
    asked.far.send("two", "name.example", 53);
    asked.far.send("three", "10.0.0.1", 53);
    const direct = await bench.direct.open();
    const home = await bench.home.open();
    asked.far.send("four", "10.0.0.2", 53);
    assert.deepEqual(direct.events, [
      "one < 10.0.0.1:53",
      "three < 10.0.0.1:53",
      "four < 10.0.0.2:53",
    ]);
    assert.deepEqual(home.events, ["two < name.example:53"]);
    direct.send("from direct", "10.0.0.1", 53);
    home.send("from home", "198.51.100.1", 53);
    assert.equal(asked.far.events.length, 2);
    assert.equal(bench.relay.streams()[0]?.via, "direct, home");
    assert.equal(bench.home.opens.length + bench.direct.opens.length, 2);
  });

  test("drops what a way out cannot carry, with one line", async () => {
    const bench = new Bench(SPLIT);
    const asked = bench.ask();
    for (let port = 1; port <= 10; port++) {
      asked.far.send("x", "a.tcp.example", port);
      asked.far.send("x", "192.0.2.1", port);
    }
    await turns(1);
    assert.deepEqual(bench.lines("via", "to", "code"), [
      "datagrams dropped | tcp | a.tcp.example:1/udp | ERR_COMMAND_UNSUPPORTED",
      "datagrams dropped | block | 192.0.2.1:1/udp | ERR_COMMAND_UNSUPPORTED",
    ]);
    assert.deepEqual(asked.far.events, []);
  });

  test("goes on with the others when one does not open", async () => {
    const bench = new Bench(SPLIT);
    const asked = bench.ask();
    asked.far.send("x", "10.0.0.1", 53);
    asked.far.send("y", "name.example", 53);
    await bench.direct.fail(new Error("out of sockets"));
    const home = await bench.home.open();
    asked.far.send("z", "name.example", 53);
    assert.deepEqual(home.events, ["y < name.example:53", "z < name.example:53"]);
    assert.deepEqual(bench.lines("reason"), ["datagrams dropped | via direct: out of sockets"]);
  });

  test("keeps a bounded number of datagrams while a way out opens", async () => {
    const bench = new Bench(SPLIT);
    const asked = bench.ask();
    for (let count = 0; count < 1_000; count++) asked.far.send("", "name.example", 53);
    asked.far.send("x".repeat(60_000), "name.example", 53);
    const home = await bench.home.open();
    assert.equal(home.events.length, 256);
  });

  test("remembers a bounded number of targets, and serves more", async () => {
    const bench = new Bench(SPLIT);
    const asked = bench.ask();
    asked.far.send("x", "name.example", 1);
    const home = await bench.home.open();
    for (let port = 2; port <= 3_000; port++) asked.far.send("x", "name.example", port);
    assert.equal(home.events.length, 3_000);
    assert.equal(bench.relay.streams()[0]?.to, "name.example:3000/udp and 2999 more");
  });
});

describe("relay of associations", () => {
  test("ends one after five silent minutes", async () => {
    const bench = new Bench();
    const asked = bench.ask();
    const far = await bench.home.open();
    bench.clock.advance(299_999);
    far.send("y", "198.51.100.1", 53);
    bench.clock.advance(299_999);
    asked.far.send("x", "198.51.100.1", 53);
    bench.clock.advance(300_000);
    assert.deepEqual(asked.far.events.at(-1), "close ERR_IDLE_TIMEOUT");
    assert.deepEqual(far.events.at(-1), "close");
    assert.deepEqual(bench.lines("reason", "fault"), [
      "association closed | no datagram came or went for 300000 ms | ours",
    ]);
    assert.equal(bench.clock.pending, 0);
  });

  test("kills one by its id, in either state", async () => {
    const bench = new Bench();
    const waiting = bench.ask();
    assert.equal(bench.relay.kill(1), true);
    assert.equal(waiting.rejected?.message, "killed by the operator");
    const asked = bench.ask();
    const far = await bench.home.open();
    assert.equal(bench.relay.kill(2), true);
    assert.deepEqual(asked.far.events, ["close ERR_CLOSED"]);
    assert.deepEqual(far.events, ["close ERR_CLOSED"]);
    assert.equal(bench.relay.kill(2), false);
  });

  test("refuses more than the limit, apart from streams", async () => {
    const bench = new Bench([], { maxAssociations: 2, maxStreams: 0 });
    bench.ask();
    const asked = bench.ask();
    const refused = bench.ask();
    assert.equal(refused.rejected?.code, "ERR_LIMIT");
    assert.match(refused.rejected?.hint ?? "", /maxAssociations/);
    await bench.home.open();
    asked.far.channel.close();
    assert.equal(bench.ask().rejected, undefined);
  });

  test("closes: refuses new ones, and waits only for those that still talk", async () => {
    const bench = new Bench(SPLIT);
    const silent = bench.ask();
    const busy = bench.ask();
    let isClosed = false;
    const closing = bench.relay.close(10_000).then(() => (isClosed = true));
    assert.equal(bench.ask().rejected?.code, "ERR_SHUTDOWN");
    for (let second = 0; second < 9; second++) {
      busy.far.send("x", "name.example", 53);
      bench.clock.advance(999);
    }
    assert.deepEqual(silent.far.events, ["close"]);
    await turns(1);
    assert.equal(isClosed, false);
    busy.far.send("x", "name.example", 53);
    bench.clock.advance(1_009);
    await closing;
    assert.deepEqual(bench.relay.streams(), []);
    assert.equal(bench.clock.pending, 0);
  });

  test("tells the client's own failure apart", async () => {
    const bench = new Bench();
    const asked = bench.ask();
    const far = await bench.home.open();
    asked.far.channel.close(new NetworkError("ERR_CONNECTION_RESET", "reset by peer"));
    assert.deepEqual(far.events, ["close ERR_CONNECTION_RESET"]);
    assert.deepEqual(bench.lines("reason", "fault"), [
      "association closed | reset by peer | client",
    ]);
  });
});

describe("guarded way out", () => {
  test("drops denied datagrams, with one line for each target", async () => {
    const home = new Way("home");
    const { logger, lines } = recordingLogger();
    const policy = new ExitPolicy({ deny: [parseHostPattern("evil.example")] });
    const guarded = guardOutbound(home.outbound, policy, logger);
    const metadata = { inbound: "serve", source: "192.0.2.1:1", user: "alice" };
    const { signal } = new AbortController();
    const opening = guarded.associate?.({ signal, metadata });
    const far = await home.open();
    const packets = new PacketRecorder((await opening) ?? assert.fail("no associate"));
    for (let round = 0; round < 3; round++) {
      packets.send("x", "evil.example", 53);
      packets.send("x", "127.0.0.1", 53);
      packets.send("y", "good.example", 53);
    }
    assert.deepEqual(
      far.events,
      ["y", "y", "y"].map((text) => `${text} < good.example:53`),
    );
    assert.deepEqual(
      lines.map(({ fields }) => `${String(fields["to"])} ${String(fields["code"])}`),
      ["evil.example:53/udp ERR_POLICY_DENIED", "127.0.0.1:53/udp ERR_POLICY_DENIED"],
    );
    far.send("answer", "198.51.100.1", 53);
    assert.deepEqual(packets.events, ["answer < 198.51.100.1:53"]);
    assert.equal(packets.channel.info.transport, "memory");
    packets.channel.close(new PolicyError("ERR_CLOSED", "enough"));
    assert.deepEqual(far.events.at(-1), "close ERR_CLOSED");
  });

  test("carries no datagrams where what it guards does not", () => {
    assert.equal(guardOutbound(createBlockOutbound(), new ExitPolicy()).associate, undefined);
  });
});
