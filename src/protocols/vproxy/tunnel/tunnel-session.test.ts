import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { hex } from "../../../../test/support/hex.ts";
import {
  carry,
  TARGET,
  TunnelEnd,
  tunnelPair,
} from "../../../../test/support/vproxy-tunnel-end.ts";
import { MisuseError, NetworkError, PolicyError } from "../../../errors.ts";
import { FrameFlag } from "./frames.ts";
import { deflate } from "./gzip.ts";

const REFUSED = new NetworkError("ERR_DIAL_REFUSED", "refused");
const SLOW = new PolicyError("ERR_SLOW_READER", "slow");

describe("a vproxy tunnel pair", () => {
  test("opens streams with odd ids, and announces the server's own target", () => {
    const { client, server } = tunnelPair();
    assert.deepEqual([client.open(), client.open()], [1, 3]);
    carry(client, server);
    assert.deepEqual(server.events(), ["requested 1 example.com:80", "requested 3 example.com:80"]);
    assert.deepEqual(client.said(), ["SYN 1", "SYN 3"]);
    assert.deepEqual(server.said(), ["SYN 1", "SYN 3"]);
    server.accept(1);
    assert.deepEqual(server.said(), [], "the SYN was answered already");
    assert.equal(client.session.streamCount, 2);
    assert.equal(server.session.streamCount, 2);
  });

  test("carries data behind the SYN without waiting for the answer", () => {
    const { client, server } = tunnelPair();
    client.open();
    assert.deepEqual(client.events(), ["accepted 1"]);
    client.write(1, Buffer.from("early"));
    carry(client, server);
    assert.deepEqual(server.events(), ["requested 1 example.com:80", "data 1 early"]);
    server.write(1, Buffer.from("answer"));
    carry(client, server);
    assert.deepEqual(client.events(), ["data 1 answer"], "accepted once");
  });

  test("waits for the answer where it is told to", () => {
    const { client, server } = tunnelPair({ earlyData: false });
    client.open();
    assert.deepEqual(client.events(), []);
    carry(client, server);
    assert.deepEqual(client.events(), ["accepted 1"]);
  });

  test("has no windows", () => {
    const { client, server } = opened();
    assert.equal(client.session.hasWindow(1), false);
    assert.equal(server.session.writable(1), Number.POSITIVE_INFINITY);
    assert.deepEqual(server.session.consumed(1, 5, 0), { events: [], output: [] });
  });

  test("compresses from the size on that it was told", () => {
    const { client } = opened({ compress: 4000 });
    client.write(1, 3999);
    client.write(1, 4000);
    const said = client.said();
    assert.equal(said.length, 2);
    assert.match(said.join(" "), /^PSH 1 3999 PSH-GZIP 1 \d+$/);
  });

  test("cuts data into frames of 16 KiB, compressed only where that was asked for", () => {
    const { client, server } = opened({ compress: true });
    client.write(1, 20_000);
    server.write(1, 20_000);
    const [first, second] = client.said();
    assert.match(`${first} ${second}`, /^PSH-GZIP 1 \d+ PSH-GZIP 1 \d+$/);
    assert.deepEqual(server.said(), ["PSH 1 16384", "PSH 1 3616"]);
    carry(client, server);
    assert.equal(server.log.filter(({ type }) => type === "streamData").length, 2);
  });

  for (const [first, second] of [
    ["client", "server"],
    ["server", "client"],
  ] as const) {
    test(`half-closes each way, the ${first} first`, () => {
      const pair = opened();
      const [one, two] = [pair[first], pair[second]];
      one.write(1, Buffer.from("last"));
      one.finish(1);
      one.finish(1);
      carry(pair.client, pair.server);
      assert.deepEqual(two.events(), ["data 1 last", "finished 1"]);
      assert.equal(one.session.writable(1), 0);
      assert.throws(() => one.write(1, 1), MisuseError);
      two.write(1, Buffer.from("late"));
      carry(pair.client, pair.server);
      assert.deepEqual(one.events(), ["data 1 late"]);
      two.pass(50);
      two.finish(1);
      carry(pair.client, pair.server);
      assert.deepEqual(one.events(), ["finished 1", "closed 1"]);
      assert.deepEqual(two.events(), ["closed 1"]);
      assert.deepEqual(one.said(), ["PSH 1 4", "FIN 1"]);
      assert.deepEqual(two.said(), ["PSH 1 4", "FIN 1"]);
      assert.equal(one.session.streamCount + two.session.streamCount, 0);
    });

    test(`closes both ways at once, the ${first} first`, () => {
      const pair = opened();
      const [one, two] = [pair[first], pair[second]];
      one.close(1);
      one.close(1);
      assert.deepEqual(one.events(), ["closed 1"]);
      carry(pair.client, pair.server);
      assert.deepEqual(two.events(), ["finished 1"]);
      assert.equal(one.session.streamCount, 1, "the peer may still speak");
      two.close(1);
      carry(pair.client, pair.server);
      assert.deepEqual(two.events(), ["closed 1"]);
      assert.deepEqual([one.said(), two.said()], [["FIN 1"], ["FIN 1"]]);
      assert.equal(one.session.streamCount + two.session.streamCount, 0);
    });

    test(`answers data nobody reads any more with a reset, the ${first} first`, () => {
      const pair = opened();
      const [one, two] = [pair[first], pair[second]];
      one.close(1);
      carry(pair.client, pair.server);
      two.write(1, 10);
      carry(pair.client, pair.server);
      assert.deepEqual(one.events(), ["closed 1"]);
      assert.deepEqual(two.events(), ["finished 1", "closed 1 ERR_STREAM_RESET"]);
      assert.deepEqual(one.said(), ["FIN 1", "RST 1"]);
      assert.deepEqual(two.said(), ["PSH 1 10", "RST 1"]);
      assert.equal(one.session.streamCount + two.session.streamCount, 0);
    });

    test(`resets, the ${first} first`, () => {
      const pair = opened();
      const [one, two] = [pair[first], pair[second]];
      one.reset(1, SLOW);
      one.reset(1, SLOW);
      carry(pair.client, pair.server);
      assert.deepEqual(one.events(), ["closed 1 ERR_SLOW_READER"]);
      assert.deepEqual(two.events(), ["closed 1 ERR_STREAM_RESET"]);
      assert.deepEqual([one.said(), two.said()], [["RST 1"], ["RST 1"]]);
    });
  }

  test("survives both ends finishing, closing and resetting at the same time", () => {
    for (const one of ["finish", "close", "reset"] as const) {
      for (const two of ["finish", "close", "reset"] as const) {
        const { client, server } = opened();
        const act = (end: TunnelEnd, what: typeof one): void => {
          if (what === "reset") end.reset(1, SLOW);
          else end[what](1);
        };
        act(client, one);
        act(server, two);
        carry(client, server);
        client.pass(100);
        server.pass(100);
        carry(client, server);
        const counts = [client.session.streamCount, server.session.streamCount];
        assert.deepEqual(counts, [0, 0], `${one} and ${two}`);
      }
    }
  });

  test("ignores commands for a stream that is gone", () => {
    const { client, server } = opened();
    client.reset(1, SLOW);
    carry(client, server);
    for (const end of [client, server]) {
      end.events();
      end.said();
      end.accept(1);
      end.write(1, 10);
      end.finish(1);
      end.close(1);
      end.reset(1, SLOW);
      assert.equal(end.session.writable(1), 0);
      assert.deepEqual([end.events(), end.said()], [[], []]);
    }
  });

  test("ends with a reason, and the peer knows that it was meant", () => {
    const { client, server } = tunnelPair();
    client.end();
    client.end();
    carry(client, server);
    assert.deepEqual(client.said(), ["GOAWAY tunnel is closing"]);
    assert.deepEqual([client.events(), server.events()], [["over"], ["over"]]);
    assert.deepEqual(server.said(), [], "a GOAWAY is never answered");
    for (const end of [client, server]) {
      assert.equal(end.session.isOpen, false);
      assert.equal(end.session.deadline, undefined);
      end.hearSyn(5);
      end.receiveEnd();
      end.pass(1e6);
      assert.deepEqual([end.events(), end.said()], [[], []]);
    }
    assert.throws(() => client.session.open(TARGET, 0), MisuseError);
  });

  test("calls an end with streams on it a loss", () => {
    const { client, server } = opened();
    client.end();
    carry(client, server);
    assert.deepEqual(server.events(), ["over ERR_TUNNEL_LOST"]);
  });

  test("keeps data that came before an end or an error in front of it", () => {
    const { client, server } = opened();
    client.write(1, Buffer.from("data"));
    client.finish(1);
    client.reset(1, SLOW);
    server.receive(Buffer.concat(client.wire));
    assert.deepEqual(server.events(), ["data 1 data", "finished 1", "closed 1 ERR_STREAM_RESET"]);
  });
});

describe("a vproxy tunnel that ends a stream after its peer", () => {
  test("says FIN at once where nothing was sent for a while", () => {
    const { server } = opened();
    server.write(1, 10);
    server.pass(50);
    server.hearFin(1);
    server.finish(1);
    assert.deepEqual(server.said(), ["PSH 1 10", "FIN 1"]);
  });

  for (const how of ["finish", "close"] as const) {
    test(`waits 50 ms behind its last data on ${how}`, () => {
      const { server } = opened();
      server.hearFin(1);
      server.write(1, 10);
      server.pass(20);
      server.write(1, 5);
      server[how](1);
      assert.deepEqual(server.events(), ["finished 1", "closed 1"], "nothing is left to do here");
      assert.deepEqual(server.said(), ["PSH 1 10", "PSH 1 5"]);
      server.pass(49);
      assert.deepEqual(server.said(), []);
      server.pass(1);
      assert.deepEqual(server.said(), ["FIN 1"]);
      assert.equal(server.session.streamCount, 0);
    });
  }

  test("waits until the peer has the data, however long that takes", () => {
    const { server } = opened();
    server.hearFin(1);
    server.write(1, 10);
    server.unsentBytes = 19;
    server.finish(1);
    server.pass(10_000);
    assert.deepEqual(server.said(), ["PSH 1 10"]);
    server.unsentBytes = 0;
    server.pass(20);
    assert.deepEqual(server.said(), ["FIN 1"]);
  });

  test("does not wait for what other streams sent later", () => {
    const { server } = opened();
    server.hearSyn(3);
    server.hearFin(1);
    server.write(1, 10);
    server.finish(1);
    server.write(3, 1000);
    server.unsentBytes = 1010; // of which stream 3 has 1009
    server.pass(60);
    assert.deepEqual(server.said(), ["SYN 3", "PSH 1 10", "PSH 3 1000"]);
    server.unsentBytes = 1009;
    server.pass(20);
    assert.deepEqual(server.said(), ["FIN 1"]);
  });

  test("lets an RST of the peer overtake it", () => {
    const { server } = opened();
    server.hearFin(1);
    server.write(1, 10);
    server.finish(1);
    server.hearRst(1);
    server.pass(100);
    assert.deepEqual(server.said(), ["PSH 1 10"]);
    assert.deepEqual(server.events(), ["finished 1", "closed 1"]);
    assert.equal(server.session.streamCount, 0);
  });

  test("does not answer what still comes for it", () => {
    const { server } = opened();
    server.hearFin(1);
    server.write(1, 10);
    server.finish(1);
    server.events();
    server.said();
    server.hearData(1, "late");
    server.hearFin(1);
    server.close(1);
    server.finish(1);
    server.reset(1, SLOW);
    assert.deepEqual([server.events(), server.said()], [[], []]);
    server.pass(50);
    assert.deepEqual(server.said(), ["FIN 1"]);
  });
});

describe("a vproxy tunnel server", () => {
  test("takes any id that is not in use, and early data", () => {
    const server = new TunnelEnd("server");
    for (const id of [2, 0, 0x7fff_ffff, 1]) {
      server.hearSyn(id);
      server.hearData(id, "x");
    }
    assert.deepEqual(server.said(), ["SYN 2", "SYN 0", "SYN 2147483647", "SYN 1"]);
    assert.equal(server.session.streamCount, 4);
    assert.equal(server.session.isOpen, false, "it opens none itself");
    assert.throws(() => server.open(), MisuseError);
  });

  test("takes an id again that was used before", () => {
    const { server } = opened();
    server.hearRst(1);
    server.hearSyn(1);
    assert.deepEqual(server.said(), ["RST 1", "SYN 1"]);
    assert.deepEqual(server.events(), ["closed 1 ERR_STREAM_RESET", "requested 1 example.com:80"]);
  });

  test("ignores a repeated SYN, empty data, and whatever no stream is known for", () => {
    const { server } = opened();
    server.hearSyn(1);
    server.hear("data", 1);
    server.hear("data", 1, FrameFlag.gzip);
    server.hearData(9, "x");
    server.hear("data", 9, FrameFlag.gzip, hex("00"));
    server.hearFin(9);
    server.hearRst(9);
    assert.deepEqual([server.events(), server.said()], [[], []]);
    server.hearData(1, "alive");
    assert.deepEqual(server.events(), ["data 1 alive"]);
  });

  test("refuses soon after the SYN only when the SYN-ACK is read", () => {
    const server = new TunnelEnd("server");
    server.hearSyn(1);
    server.hearSyn(3);
    server.unsentBytes = 18;
    server.reset(1, REFUSED);
    assert.deepEqual(server.said(), ["SYN 1", "SYN 3"], "KcpTun would hang with both at once");
    assert.deepEqual(server.events().at(-1), "closed 1 ERR_DIAL_REFUSED");
    server.pass(60);
    assert.deepEqual(server.said(), []);
    server.unsentBytes = 0;
    server.reset(3, REFUSED);
    assert.deepEqual(server.said(), ["RST 3"]);
    server.pass(20);
    assert.deepEqual(server.said(), ["RST 1"]);
  });

  test("takes no more streams than it may, and says so in a way the reference understands", () => {
    const { client, server } = tunnelPair({}, { limits: { maxStreams: 2 } });
    for (let at = 0; at < 3; at++) client.open();
    carry(client, server);
    assert.deepEqual(server.events(), [
      "requested 1 example.com:80",
      "requested 3 example.com:80",
      "closed 5 ERR_LIMIT",
    ]);
    server.pass(50);
    assert.deepEqual(server.said(), ["SYN 1", "SYN 3", "SYN 5", "RST 5"]);
    carry(client, server);
    assert.equal(client.events().at(-1), "closed 5 ERR_STREAM_RESET");
    assert.equal(server.session.streamCount, 2);
    client.reset(1, SLOW);
    client.open();
    carry(client, server);
    assert.equal(server.events().at(-1), "requested 7 example.com:80");
  });

  test("keeps no memory of a flood of streams", () => {
    const server = new TunnelEnd("server", { limits: { maxStreams: 10 } });
    for (let id = 0; id < 100_000; id++) server.hearSyn(id);
    assert.equal(server.session.streamCount, 20);
    server.pass(50);
    assert.equal(server.session.streamCount, 10);
  });

  test("takes any number where nothing limits it", () => {
    const server = new TunnelEnd("server", { limits: { maxStreams: 0 } });
    for (let id = 0; id < 5000; id++) server.hearSyn(id);
    assert.equal(server.session.streamCount, 5000);
  });

  test("delivers PSH-FIN, plain and compressed", () => {
    const { server } = opened();
    server.hear("data", 1, FrameFlag.end, Buffer.from("plain"));
    server.hearSyn(3);
    const text = deflate(Buffer.alloc(2000, "ab")) ?? Buffer.alloc(0);
    server.hear("data", 3, FrameFlag.end | FrameFlag.gzip, text);
    assert.deepEqual(server.events(), [
      "data 1 plain",
      "finished 1",
      "requested 3 example.com:80",
      `data 3 ${"ab".repeat(20)}`,
      "finished 3",
    ]);
  });

  test("resets a stream with data behind its FIN", () => {
    const { server } = opened();
    server.hearFin(1);
    server.hearData(1, "more");
    assert.deepEqual(server.events(), ["finished 1", "closed 1 ERR_PROTOCOL"]);
    assert.deepEqual(server.said(), ["RST 1"]);
  });

  test("takes a second FIN for the close that it is at the reference", () => {
    const { server } = opened();
    server.hearFin(1);
    server.hearFin(1);
    assert.deepEqual(server.events(), ["finished 1", "closed 1 ERR_STREAM_RESET"]);
    assert.deepEqual(server.said(), [], "the peer has forgotten the stream");
  });

  test("answers PINGs with their first eight bytes, in front of data, on any id", () => {
    const { server } = opened();
    server.hear("ping", 0, 0, hex("0102030405060708"));
    server.hear("ping", 0, 0, hex("0102"));
    server.hear("ping", 7, 0, hex("01020304050607080900"));
    server.hear("ping", 0, 1, hex("000000000000ffff"));
    assert.deepEqual(server.said(), ["PONG 102030405060708", "PONG 102030405060708"]);
  });
});

describe("a vproxy tunnel client", () => {
  test("takes data with the SYN-ACK and in front of it", () => {
    const client = new TunnelEnd("client", { earlyData: false });
    client.open();
    client.hearData(1, "early");
    client.hearSyn(1);
    client.hearSyn(1);
    client.hearData(1, "later");
    assert.deepEqual(client.events(), ["data 1 early", "accepted 1", "data 1 later"]);
  });

  test("takes an end or an RST in place of the SYN-ACK for a refusal", () => {
    const client = new TunnelEnd("client", { earlyData: false });
    client.open();
    client.open();
    client.hearFin(1);
    client.hearRst(3);
    assert.deepEqual(client.events(), ["closed 1 ERR_STREAM_RESET", "closed 3 ERR_STREAM_RESET"]);
    assert.deepEqual(client.said(), ["SYN 1", "SYN 3", "RST 3"]);
    assert.equal(client.session.streamCount, 0);
  });

  test("reads on where it finished or closed before the SYN-ACK", () => {
    const client = new TunnelEnd("client");
    client.open();
    client.finish(1);
    client.hearSyn(1);
    client.hearData(1, "answer");
    client.open();
    client.close(3);
    client.hearSyn(3);
    client.hearFin(3);
    assert.deepEqual(client.events(), ["accepted 1", "data 1 answer", "accepted 3", "closed 3"]);
    assert.deepEqual(client.said(), ["SYN 1", "FIN 1", "SYN 3", "FIN 3"]);
  });

  test("waits 15 s for an answer to its SYN", () => {
    const client = new TunnelEnd("client", { earlyData: false, keepaliveMs: 0 });
    client.open();
    client.pass(5000);
    client.open();
    client.hearSyn(3);
    client.events();
    client.pass(9999);
    assert.deepEqual(client.events(), []);
    client.pass(1);
    assert.deepEqual(client.events(), ["closed 1 ERR_DIAL_TIMEOUT"]);
    assert.deepEqual(client.said(), ["SYN 1", "SYN 3", "RST 1"]);
    client.pass(1e6);
    assert.equal(client.session.streamCount, 1, "the answered one lives");
  });

  test("waits 60 s for the end of a stream nobody uses", () => {
    const client = new TunnelEnd("client", { keepaliveMs: 0 });
    client.open();
    client.hearSyn(1);
    client.close(1);
    client.pass(59_999);
    assert.equal(client.session.streamCount, 1);
    client.pass(1);
    assert.equal(client.session.streamCount, 0);
    assert.deepEqual(client.said(), ["SYN 1", "FIN 1", "RST 1"]);
    assert.deepEqual(client.events(), ["accepted 1", "closed 1"], "told once");
  });

  test("takes no stream of a server", () => {
    const client = new TunnelEnd("client");
    client.hearSyn(2);
    client.hearData(2, "x");
    assert.deepEqual([client.events(), client.said()], [[], []]);
  });

  test("opens no stream with a negative id", () => {
    const client = new TunnelEnd("client", { firstStreamId: 0x7fff_fffd });
    assert.deepEqual([client.open(), client.open()], [0x7fff_fffd, 0x7fff_ffff]);
    assert.equal(client.session.isOpen, false);
    assert.equal(client.session.isExhausted, true);
    assert.throws(() => client.open(), MisuseError);
    client.hearSyn(0x7fff_ffff);
    assert.equal(client.session.streamCount, 2, "those there are live on");
  });
});

describe("a vproxy tunnel that fails", () => {
  for (const [what, id, flags, type, payload, reason] of [
    ["a second handshake", 0, 0, 4, "", "invalid frame type: 4"],
    ["WINDOW_UPDATE", 0, 0, 8, "00000001", "invalid frame type: 8"],
    ["HEADERS with payload", 1, 0, 1, "78", "invalid frame type with payload len: type=1, len=1"],
    ["an id with the top bit", 0x8000_0001, 0, 1, "", "invalid streamId: -2147483647"],
    ["no gzip where it says so", 1, 4, 0, "6869", "decompress data failed"],
  ] as const) {
    test(`tells the peer why on ${what}`, () => {
      const { server } = opened();
      server.unsentBytes = 50;
      server.hear(type, id, flags, hex(payload));
      assert.deepEqual(server.said(), [`GOAWAY ${reason}`]);
      assert.deepEqual(server.events(), ["closed 1 ERR_PROTOCOL"]);
      server.hearSyn(3);
      server.write(1, 10);
      server.pass(999);
      assert.deepEqual([server.events(), server.said()], [[], []], "the GOAWAY has to leave");
      server.pass(1);
      assert.deepEqual(server.events(), ["over ERR_PROTOCOL"]);
    });
  }

  test("ends as soon as its GOAWAY has left", () => {
    const { server } = opened();
    server.unsentBytes = 50;
    server.hear(8);
    server.pass(100);
    assert.deepEqual(server.events(), ["closed 1 ERR_PROTOCOL"]);
    server.unsentBytes = 0;
    server.pass(20);
    assert.deepEqual(server.events(), ["over ERR_PROTOCOL"]);
  });

  test("ends at once when the connection or its owner does", () => {
    for (const how of ["receiveEnd", "end"] as const) {
      const { server } = opened();
      server.unsentBytes = 50;
      server.hear(8);
      server.events();
      server.said();
      server[how]();
      assert.deepEqual([server.events(), server.said()], [["over ERR_PROTOCOL"], []]);
    }
  });

  test("stops at a GOAWAY of the peer and answers nothing", () => {
    const { client } = opened();
    const goaway = hex("000019 07 00 00000000 ffffffffffffffff 736572766572206973206c656176696e67");
    client.receive(Buffer.concat([goaway, hex("000000 01 00 00000001")]));
    assert.deepEqual([client.events(), client.said()], [["over ERR_TUNNEL_LOST"], []]);
    const over = client.log.at(-1);
    const message = over?.type === "closed" ? over.error?.message : undefined;
    assert.equal(message, "peer shut the tunnel down: server is leaving");
  });

  test("takes a GOAWAY without a reason", () => {
    const client = new TunnelEnd("client");
    client.hear("goaway", 0, 0, hex("00"));
    assert.deepEqual(client.events(), ["over ERR_TUNNEL_LOST"]);
  });

  test("tells an orderly end of the connection from others", () => {
    const idle = new TunnelEnd("server");
    idle.receiveEnd();
    assert.deepEqual(idle.events(), ["over"]);
    const busy = opened().server;
    busy.receiveEnd();
    assert.deepEqual(busy.events(), ["over ERR_TUNNEL_LOST"]);
    const cut = new TunnelEnd("server");
    cut.receive(hex("0000"));
    cut.receiveEnd();
    assert.deepEqual(cut.events(), ["over ERR_PROTOCOL"]);
  });

  test("inflates no more at once than a link may hold", () => {
    const { server } = opened({}, { limits: { maxInflatedBytes: 100_000 } });
    const payload = deflate(new Uint8Array(60_000)) ?? Buffer.alloc(0);
    server.hear("data", 1, FrameFlag.gzip, payload);
    server.hear("data", 1, FrameFlag.gzip, payload);
    assert.equal(server.said().length, 0, "one after the other is fine");
    const header = Buffer.from([0, 0, payload.byteLength, 0, FrameFlag.gzip, 0, 0, 0, 1]);
    server.receive(Buffer.concat([header, payload, header, payload]));
    assert.deepEqual(server.said(), ["GOAWAY decompress data failed"]);
  });

  test("inflates no frame beyond 4 MiB", () => {
    const { server } = opened();
    const payload = deflate(new Uint8Array(4 * 1024 * 1024)) ?? Buffer.alloc(0);
    server.hear("data", 1, FrameFlag.gzip, payload);
    assert.deepEqual(server.said(), []);
    const bomb = deflate(new Uint8Array(4 * 1024 * 1024 + 1)) ?? Buffer.alloc(0);
    server.hear("data", 1, FrameFlag.gzip, bomb);
    assert.deepEqual(server.said(), ["GOAWAY decompress data failed"]);
  });

  test("takes DATA of a mebibyte, and none beyond", () => {
    const { server } = opened();
    server.hear("data", 1, 0, new Uint8Array(1024 * 1024));
    assert.deepEqual(server.said(), []);
    server.hear("data", 1, 0, new Uint8Array(1024 * 1024 + 1));
    assert.deepEqual(server.said(), ["GOAWAY frame of 1048577 bytes exceeds 1048576"]);
  });
});

describe("a vproxy tunnel's keep-alive", () => {
  test("asks after 10 s, gives up 5 s later, and says so", () => {
    const client = new TunnelEnd("client");
    client.pass(9999);
    assert.deepEqual(client.said(), []);
    client.pass(1);
    assert.deepEqual(client.said(), ["PING 1"]);
    client.pass(4999);
    assert.deepEqual(client.said(), []);
    client.pass(1);
    assert.deepEqual(client.said(), ["GOAWAY keepalive response timeout"]);
    client.pass(20);
    assert.deepEqual(client.events(), ["over ERR_PEER_SILENT"]);
  });

  test("asks every 30 s at a server", () => {
    const server = new TunnelEnd("server");
    server.pass(29_999);
    assert.deepEqual(server.said(), []);
    server.pass(1);
    assert.deepEqual(server.said(), ["PING 1"]);
  });

  test("goes on for as long as the peer answers, and measures", () => {
    const { client, server } = tunnelPair();
    const said: string[] = [];
    for (let at = 0; at < 100; at++) {
      client.pass(1000);
      server.pass(1000);
      carry(client, server);
      said.push(...client.said(), ...server.said());
    }
    assert.equal(said.filter((it) => it.startsWith("GOAWAY")).length, 0);
    assert.deepEqual(said.slice(0, 4), ["PING 1", "PONG 1", "PING 2", "PONG 2"]);
    assert.equal(client.session.rttMs, 0);
  });

  test("does not ask while it hears something, or has something to say", () => {
    const client = new TunnelEnd("client");
    client.pass(6000);
    client.hear("ping", 0, 1, hex("0000000000000000"));
    client.pass(4000);
    assert.deepEqual(client.said(), [], "heard 4 s ago");
    client.unsentBytes = 1;
    client.pass(10_000);
    assert.deepEqual(client.said(), [], "the link is busy");
    client.unsentBytes = 0;
    client.pass(10_000);
    assert.deepEqual(client.said(), ["PING 1"]);
  });

  test("takes any sign of life for an answer", () => {
    const client = new TunnelEnd("client");
    client.open();
    client.pass(12_000);
    client.hearSyn(1);
    client.pass(8000);
    assert.deepEqual(client.said(), ["SYN 1", "PING 1", "PING 2"]);
  });

  test("survives two lost answers once it has worked", () => {
    const client = new TunnelEnd("client");
    const answer = (id: number): void =>
      client.hear("ping", 0, 1, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, id));
    for (const id of [1, 2, 3]) {
      client.pass(10_000);
      answer(id);
    }
    client.pass(34_999);
    const expected = ["PING 1", "PING 2", "PING 3", "PING 4", "PING 5", "PING 6"];
    assert.deepEqual(client.said(), expected, "two of them were lost");
    client.pass(1);
    assert.deepEqual(client.said(), ["GOAWAY keepalive response timeout"]);
  });

  test("earns nothing by answers nobody asked for", () => {
    const client = new TunnelEnd("client");
    client.hear("ping", 0, 1, hex("0000000000000001"));
    client.pass(10_001);
    client.hear("ping", 0, 1, hex("0000000000000002"));
    assert.equal(client.session.rttMs, undefined);
    client.pass(15_000);
    assert.deepEqual(client.said(), ["PING 1", "PING 2", "GOAWAY keepalive response timeout"]);
  });

  test("can be switched off", () => {
    const client = new TunnelEnd("client", { keepaliveMs: 0 });
    assert.equal(client.session.deadline, undefined);
  });
});

/** A pair with stream 1 open, and nothing left to tell. */
function opened(...tuning: Parameters<typeof tunnelPair>): ReturnType<typeof tunnelPair> {
  const pair = tunnelPair(...tuning);
  pair.client.open();
  carry(pair.client, pair.server);
  pair.client.pass(100);
  pair.server.pass(100);
  for (const end of [pair.client, pair.server]) {
    end.events();
    end.said();
  }
  return pair;
}
