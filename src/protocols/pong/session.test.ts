import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { hex } from "../../../test/support/hex.ts";
import { carry, PongEnd, pongPair, TARGET } from "../../../test/support/pong-end.ts";
import { MisuseError, NetworkError, PolicyError } from "../../errors.ts";
import { encodeFrame, FrameType } from "./codec.ts";

const REFUSED = new NetworkError("ERR_DIAL_REFUSED", "refused");

describe("a pong session pair", () => {
  test("recognises each other before the first stream", () => {
    const { local, remote } = pongPair();
    assert.deepEqual(local.said(), ["HELLO"]);
    assert.deepEqual(remote.said(), [], "a remote speaks only when spoken to");
    local.now = 25;
    carry(local, remote);
    assert.deepEqual(remote.said(), ["HELLO"]);
    assert.deepEqual(remote.events(), ["ready sluice"]);
    assert.deepEqual(local.events(), ["ready sluice"]);
    assert.equal(local.session.peerKind, "sluice");
    assert.equal(remote.session.peerKind, "sluice");
    assert.equal(local.session.rttMs, 25);
  });

  test("opens a stream and says when the target was reached", () => {
    const { local, remote } = connected();
    const id = local.open();
    assert.equal(id, 1);
    assert.equal(local.open({ network: "tcp", host: "::1", port: 22 }), 3);
    carry(local, remote);
    assert.deepEqual(remote.events(), ["requested 1 example.com:80", "requested 3 [::1]:22"]);
    assert.deepEqual(local.events(), [], "nothing is accepted before the remote says so");
    remote.accept(1);
    remote.accept(1);
    carry(local, remote);
    assert.deepEqual(remote.said(), ["ACCEPTED 1"]);
    assert.deepEqual(local.events(), ["accepted 1"]);
    assert.equal(local.session.streamCount, 2);
    assert.equal(remote.session.streamCount, 2);
  });

  test("refuses a stream with the cause, and never calls it accepted", () => {
    const { local, remote } = connected();
    local.open();
    carry(local, remote);
    remote.events();
    remote.reset(1, REFUSED);
    carry(local, remote);
    assert.deepEqual(remote.said(), ["RST 1 5"]);
    assert.deepEqual(remote.events(), ["closed 1 ERR_DIAL_REFUSED"]);
    assert.deepEqual(local.events(), ["closed 1 ERR_DIAL_REFUSED"]);
    assert.equal(local.session.streamCount + remote.session.streamCount, 0);
  });

  test("carries data both ways, also before the dial is done", () => {
    const { local, remote } = connected();
    local.open();
    local.write(1, 10);
    carry(local, remote);
    assert.deepEqual(remote.events(), ["requested 1 example.com:80", "data 1 10"]);
    remote.accept(1);
    remote.write(1, 20);
    carry(local, remote);
    assert.deepEqual(local.events(), ["accepted 1", "data 1 20"]);
  });

  test("uses large frames once it knows the peer takes them", () => {
    const { local } = opened();
    local.write(1, 200_000);
    assert.deepEqual(local.said(), ["DATA 1 65528", "DATA 1 65528", "DATA 1 65528", "DATA 1 3416"]);
  });

  for (const [first, second] of [
    ["local", "remote"],
    ["remote", "local"],
  ] as const) {
    test(`half-closes each way, the ${first} first`, () => {
      const pair = opened();
      const [one, two] = [pair[first], pair[second]];
      one.write(1, 5);
      one.finish(1);
      one.finish(1);
      carry(pair.local, pair.remote);
      assert.deepEqual(two.events(), ["data 1 5", "finished 1"]);
      assert.equal(one.session.writable(1), 0);
      two.write(1, 7);
      carry(pair.local, pair.remote);
      assert.deepEqual(one.events(), ["data 1 7"]);
      two.finish(1);
      carry(pair.local, pair.remote);
      assert.deepEqual(one.events(), ["finished 1", "closed 1"]);
      assert.deepEqual(two.events(), ["closed 1"]);
      assert.deepEqual(one.said(), ["DATA 1 5", "FINISH 1"]);
      assert.deepEqual(two.said(), ["DATA 1 7", "FINISH 1"]);
      assert.equal(one.session.streamCount + two.session.streamCount, 0);
    });

    test(`closes both ways at once, the ${first} first`, () => {
      const pair = opened();
      const [one, two] = [pair[first], pair[second]];
      one.write(1, 5);
      one.close(1);
      one.close(1);
      assert.deepEqual(one.events(), ["closed 1"]);
      carry(pair.local, pair.remote);
      assert.deepEqual(two.events(), ["data 1 5", "finished 1", "closed 1"]);
      assert.deepEqual(one.said(), ["DATA 1 5", "CLOSE 1"]);
      assert.deepEqual(two.said(), [], "a dead id is never answered");
    });

    test(`closes after a half-close, the ${first} first`, () => {
      const pair = opened();
      const [one, two] = [pair[first], pair[second]];
      one.finish(1);
      carry(pair.local, pair.remote);
      one.close(1);
      carry(pair.local, pair.remote);
      assert.deepEqual(two.events(), ["finished 1", "closed 1"], "the end is told once");
      assert.deepEqual(one.events(), ["closed 1"]);
    });

    test(`resets with a cause, the ${first} first`, () => {
      const pair = opened();
      const [one, two] = [pair[first], pair[second]];
      one.reset(1, new PolicyError("ERR_SLOW_READER", "too slow"));
      one.reset(1, REFUSED);
      carry(pair.local, pair.remote);
      assert.deepEqual(one.events(), ["closed 1 ERR_SLOW_READER"]);
      assert.deepEqual(two.events(), ["closed 1 ERR_STREAM_RESET"]);
      assert.deepEqual(one.said(), ["RST 1 13"]);
      assert.deepEqual(two.said(), []);
    });
  }

  test("survives both ends closing at the same time", () => {
    const { local, remote } = opened();
    local.close(1);
    remote.close(1);
    carry(local, remote);
    assert.deepEqual(local.events(), ["closed 1"]);
    assert.deepEqual(remote.events(), ["closed 1"]);
    assert.deepEqual(local.said(), ["CLOSE 1"]);
    assert.deepEqual(remote.said(), ["CLOSE 1"]);
  });

  test("ignores commands for a stream that is gone", () => {
    const { local, remote } = opened();
    local.close(1);
    carry(local, remote);
    for (const end of [local, remote]) {
      end.events();
      end.said();
      end.accept(1);
      end.write(1, 10);
      end.finish(1);
      end.close(1);
      end.reset(1, REFUSED);
      end.consumed(1, 10);
      assert.equal(end.session.writable(1), 0);
      assert.deepEqual([end.events(), end.said()], [[], []]);
    }
  });

  test("ends with everything on it", () => {
    const { local, remote } = opened();
    local.open();
    carry(local, remote);
    local.events();
    local.said();
    local.end();
    local.end();
    assert.deepEqual(local.events(), ["over"], "the owner knows its streams");
    assert.equal(local.session.isOpen, false);
    assert.equal(local.session.deadline, undefined);
    assert.throws(() => local.session.open(TARGET, 0), MisuseError);
    local.hear("data", 1, 10);
    local.receiveEnd();
    local.pass(1e6);
    assert.deepEqual([local.events(), local.said()], [[], []]);
  });
});

describe("a pong session", () => {
  test("gives a target it cannot name a reason, and stays usable", () => {
    const { local, remote } = connected();
    const long = { ...TARGET, host: "x".repeat(256) };
    assert.equal(local.open(long), 1);
    assert.equal(local.open({ ...TARGET, host: "fe80::1%eth0" }), 3);
    assert.deepEqual(local.events(), [
      "closed 1 ERR_ADDRESS_UNSUPPORTED",
      "closed 3 ERR_ADDRESS_UNSUPPORTED",
    ]);
    assert.deepEqual(local.said(), []);
    local.open();
    carry(local, remote);
    assert.deepEqual(remote.events(), ["requested 5 example.com:80"]);
  });

  test("does not open TCP where UDP was asked for", () => {
    const { local } = connected();
    local.open({ ...TARGET, network: "udp" });
    assert.deepEqual(local.events(), ["closed 1 ERR_COMMAND_UNSUPPORTED"]);
    assert.deepEqual(local.said(), []);
  });

  test("takes names of up to 255 bytes to another Sluice", () => {
    const { local, remote } = connected();
    local.open({ ...TARGET, host: "x".repeat(255) });
    carry(local, remote);
    assert.deepEqual(remote.events(), [`requested 1 ${"x".repeat(255)}:80`]);
  });

  test("ends in order when the connection ends between frames without streams", () => {
    const { local } = connected();
    local.receiveEnd();
    local.receiveEnd();
    assert.deepEqual(local.events(), ["over"]);
  });

  test("reports streams lost with the connection", () => {
    const { remote } = opened();
    remote.receiveEnd();
    assert.deepEqual(remote.events(), ["over ERR_TUNNEL_LOST"]);
  });

  test("reports a connection that ends inside a frame", () => {
    const { remote } = connected();
    remote.receive(hex("0010 0000"));
    remote.receiveEnd();
    assert.deepEqual(remote.events(), ["over ERR_PROTOCOL"]);
  });

  test("ends at a broken frame, with what came before it", () => {
    const { local, remote } = opened();
    const data = encodeFrame({ streamId: 1, type: FrameType.data, payload: new Uint8Array(3) });
    for (const end of [local, remote]) {
      end.receive(Buffer.concat([...data, hex("0006 00000001 00"), ...data]));
      assert.deepEqual(end.events(), ["data 1 3", "over ERR_PROTOCOL"]);
      end.receive(Buffer.concat(data));
      assert.deepEqual([end.events(), end.said()], [[], []]);
    }
  });

  test("ignores a repeated id and goes on with the old stream", () => {
    const { remote } = opened();
    remote.hear("connect", 1, hex("01 7f000001 0050"));
    remote.hear("data", 1, 4);
    assert.deepEqual(remote.events(), ["data 1 4"]);
    assert.deepEqual(remote.said(), []);
  });

  test("answers an unknown type on a live stream with RST 7, and on no other", () => {
    for (const type of [0x02, 0x04, 0x06, 0x0a, 0xff]) {
      const { local, remote } = opened();
      for (const end of [local, remote]) {
        end.hear(type, 1, 3);
        assert.deepEqual(end.said(), ["RST 1 7"]);
        assert.deepEqual(end.events(), ["closed 1 ERR_PROTOCOL"]);
        end.hear(type, 99, 3);
        assert.deepEqual(end.said(), []);
      }
    }
  });

  test("never answers frames for ids that do not live", () => {
    const { local, remote } = connected();
    for (const end of [local, remote]) {
      for (const type of ["data", "finish", "close", "rst", "set"] as const) {
        end.hear(type, 7, 1);
      }
      assert.deepEqual([end.said(), end.events()], [[], []]);
    }
  });

  test("gives id 0 to nobody", () => {
    const { local, remote } = connected();
    for (const end of [local, remote]) {
      for (let type = 0; type < 12; type++) {
        if (type !== FrameType.set) end.hear(type, 0, hex("01 7f000001 0050"));
      }
      assert.deepEqual([end.said(), end.events(), end.session.streamCount], [[], [], 0]);
    }
  });

  test("ends a stream that goes on after its end", () => {
    const { local, remote } = opened();
    for (const end of [local, remote]) {
      end.hear("finish", 1);
      end.hear("finish", 1);
      end.hear("data", 1); // no data at all is not data
      assert.deepEqual(end.events(), ["finished 1"]);
      end.hear("data", 1, 5);
      assert.deepEqual(end.said(), ["RST 1 1"]);
      assert.deepEqual(end.events(), ["closed 1 ERR_PROTOCOL"]);
    }
  });

  test("ignores empty DATA", () => {
    const { remote } = opened();
    remote.hear("data", 1);
    assert.deepEqual(remote.events(), []);
  });

  test("refuses a CONNECT that cannot be read, and lives on", () => {
    const { remote } = connected();
    for (const [payload, id] of [
      ["", 1],
      ["01", 3],
      ["02 7f000001 0050", 5],
      ["03 00 0050", 7],
      ["03 05 6162", 9],
      ["03 02 6100 0050", 11],
      ["04 0000", 13],
    ] as const) {
      remote.hear("connect", id, hex(payload));
      assert.deepEqual(remote.said(), [`RST ${id} 8`], payload);
    }
    assert.deepEqual(remote.events(), []);
    remote.hear("connect", 15, hex("01 7f000001 0050 ffff"));
    assert.deepEqual(remote.events(), ["requested 15 127.0.0.1:80"], "bytes behind are ignored");
  });

  test("refuses commands that nobody offers", () => {
    const { remote } = connected();
    for (const type of ["associate", "relay"] as const) {
      remote.hear(type, 1, hex("01 7f000001 0050"));
      assert.deepEqual(remote.said(), ["RST 1 7"], type);
    }
    remote.hear("bind", 1, hex("01 7f000001 0050"));
    assert.deepEqual([remote.said(), remote.events()], [[], []], "BIND opens nothing at pong-go");
  });

  test("lends nothing to a remote that opens streams", () => {
    const { local } = connected();
    local.hear("connect", 2, hex("01 7f000001 0050"));
    assert.deepEqual(local.said(), ["RST 2 2"]);
    assert.deepEqual([local.events(), local.session.streamCount], [[], 0]);
  });

  test("takes no more streams than its limit, and new ones when old ones end", () => {
    const { local, remote } = connected({}, { limits: { maxStreams: 2 } });
    for (let count = 0; count < 3; count++) local.open();
    carry(local, remote);
    assert.deepEqual(remote.said(), ["RST 5 1"]);
    assert.deepEqual(local.events(), ["closed 5 ERR_STREAM_RESET"]);
    local.close(1);
    local.open();
    carry(local, remote);
    assert.deepEqual(remote.events().at(-1), "requested 7 example.com:80");
  });

  test("rejects a write beyond the window and changes nothing", () => {
    const { local } = opened();
    const room = local.session.writable(1);
    assert.throws(() => local.write(1, room + 1), MisuseError);
    assert.equal(local.session.writable(1), room);
    assert.deepEqual(local.said(), []);
  });
});

describe("pong windows", () => {
  const limits = { initialWindowBytes: 1_000, maxWindowBytes: 1_000 };

  test("stop a sender until its reader took a quarter", () => {
    const { local, remote } = opened({}, { limits });
    assert.equal(local.session.writable(1), 1_000);
    local.write(1, 1_000);
    assert.equal(local.session.writable(1), 0);
    carry(local, remote);
    remote.consumed(1, 249);
    assert.deepEqual(remote.said(), []);
    remote.consumed(1, 1);
    carry(local, remote);
    assert.deepEqual(remote.said(), ["WINDOW 1 250"]);
    assert.deepEqual(local.events(), ["writable 1"]);
    assert.equal(local.session.writable(1), 250);
    remote.consumed(1, 750);
    carry(local, remote);
    assert.deepEqual(local.events(), [], "it was writable already");
    assert.equal(local.session.writable(1), 1_000);
  });

  test("work for both directions and for every stream alone", () => {
    const { local, remote } = opened({ limits }, { limits });
    local.open();
    carry(local, remote);
    remote.write(1, 1_000);
    carry(local, remote);
    assert.equal(remote.session.writable(1), 0);
    assert.equal(remote.session.writable(3), 1_000);
    assert.equal(local.session.writable(1), 1_000);
  });

  test("count bytes that left before the hello came", () => {
    const { local, remote } = pongPair({}, { limits });
    local.open();
    local.write(1, 300);
    carry(local, remote);
    assert.equal(local.session.writable(1), 700);
  });

  test("end a stream, and no other, when its sender overruns", () => {
    const { local, remote } = opened({}, { limits });
    local.open();
    carry(local, remote);
    remote.events();
    remote.hear("data", 1, 1_000);
    remote.hear("data", 1, 1);
    remote.hear("data", 3, 1_000);
    assert.deepEqual(remote.said(), ["RST 1 1"]);
    assert.deepEqual(remote.events(), ["data 1 1000", "closed 1 ERR_PROTOCOL", "data 3 1000"]);
  });

  test("end the session when they grow beyond all reason", () => {
    const { local } = opened();
    local.hearExtension({ kind: "window", streamId: 1, increment: 0xffff_ffff });
    assert.deepEqual(local.events(), []);
    local.hearExtension({ kind: "window", streamId: 1, increment: 0xffff_ffff });
    assert.deepEqual(local.events(), ["over ERR_PROTOCOL"]);
  });

  test("are ignored for streams that are gone", () => {
    const { local } = opened();
    local.hearExtension({ kind: "window", streamId: 9, increment: 0xffff_ffff });
    local.hearExtension({ kind: "accepted", streamId: 9 });
    assert.deepEqual(local.events(), []);
  });

  test("take any initial size the peer names", () => {
    const local = new PongEnd("local").start();
    local.hearHello(0xffff_ffff);
    local.open();
    assert.equal(local.session.writable(1), 0xffff_ffff);
    local.write(1, 100);
    local.hearExtension({ kind: "window", streamId: 1, increment: 100 });
    assert.deepEqual(local.events(), ["ready sluice"]);
  });

  test("that start at nothing open with the first grant", () => {
    const local = new PongEnd("local").start();
    local.hearHello(0);
    local.open();
    assert.equal(local.session.writable(1), 0);
    local.hearExtension({ kind: "window", streamId: 1, increment: 5 });
    assert.deepEqual(local.events(), ["ready sluice", "writable 1"]);
  });
});

describe("the pong hello", () => {
  test("is missed after a while, and the peer taken for pong-go", () => {
    const local = new PongEnd("local").start();
    local.open();
    local.pass(999);
    assert.deepEqual(local.events(), []);
    local.pass(1);
    assert.deepEqual(local.events(), ["ready pong-go", "accepted 1"]);
  });

  test("still counts when it comes late", () => {
    const { local, remote } = pongPair();
    local.open();
    local.pass(1_000);
    assert.deepEqual(local.events(), ["ready pong-go", "accepted 1"]);
    local.write(1, 10);
    local.finish(1);
    assert.deepEqual(local.said().slice(1), ["CONNECT 1 example.com:80", "DATA 1 10"]);
    carry(local, remote);
    assert.deepEqual(local.said(), ["FINISH 1"], "a Sluice understands FINISH");
    assert.deepEqual(local.events(), ["ready sluice"]);
    assert.deepEqual(remote.events().slice(-3), [
      "requested 1 example.com:80",
      "data 1 10",
      "finished 1",
    ]);
  });

  test("that comes late lets a stream go on that waited for a pong-go to dial", () => {
    const local = new PongEnd("local").start();
    local.open();
    local.pass(1_000);
    local.write(1, local.session.writable(1));
    assert.equal(local.session.writable(1), 0);
    local.events();
    local.hearHello(1024 * 1024);
    assert.ok(local.session.writable(1) > 0);
    assert.deepEqual(local.events(), ["ready sluice", "writable 1"]);
  });

  test("that comes late closes what waited for a pong-go to dial", () => {
    const local = new PongEnd("local").start();
    local.open();
    local.pass(1_000);
    local.close(1);
    local.said();
    local.events();
    local.hearHello();
    assert.deepEqual(local.said(), ["CLOSE 1"]);
    assert.deepEqual(local.events(), ["ready sluice"], "its owner let go of it long ago");
    assert.equal(local.session.streamCount, 0);
  });

  test("that comes late does not make streams accepted that were held back", () => {
    const local = new PongEnd("local", { holdMs: 3_000 }).start();
    local.open();
    local.pass(1_000);
    local.hearHello();
    local.pass(60_000);
    assert.deepEqual(
      local.events().filter((event) => event.startsWith("accepted")),
      [],
    );
  });

  test("counts once", () => {
    const { local, remote } = connected();
    local.hearHello(5);
    remote.hearHello(5);
    assert.deepEqual([local.said(), remote.said()], [[], []]);
    local.open();
    assert.ok(local.session.writable(1) > 5);
  });

  test("comes first at a remote, or not at all", () => {
    const remote = new PongEnd("remote").start();
    remote.hear("connect", 1, hex("01 7f000001 0050"));
    remote.hearHello();
    assert.deepEqual(remote.events(), ["ready pong-go", "requested 1 127.0.0.1:80"]);
    assert.deepEqual(remote.said(), []);
  });

  test("is neither said nor heard with extensions off", () => {
    const off = [{ extensions: false }, { peer: "v0.9.4" }, { peer: "head" }] as const;
    for (const options of off) {
      const local = new PongEnd("local", options).start();
      assert.deepEqual(local.said(), []);
      assert.deepEqual(local.events(), ["ready pong-go"]);
      const remote = new PongEnd("remote", options).start();
      for (const end of [local, remote]) {
        end.hearHello();
        end.hearExtension({ kind: "ping", nonce: 1 });
        assert.deepEqual([end.events(), end.said()], [[], []]);
      }
    }
  });

  test("is waited for for ever when the peer is declared a Sluice", () => {
    const local = new PongEnd("local", { peer: "sluice" }).start();
    local.open();
    local.pass(10_000);
    assert.deepEqual(local.events(), []);
    local.hearHello();
    assert.deepEqual(local.events(), ["ready sluice"]);
  });

  test("gates everything else a Sluice says", () => {
    for (const side of ["local", "remote"] as const) {
      const end = new PongEnd(side).start();
      end.said();
      end.hearExtension({ kind: "ping", nonce: 1 });
      end.hearExtension({ kind: "accepted", streamId: 1 });
      end.hearExtension({ kind: "window", streamId: 1, increment: 1 });
      assert.deepEqual([end.events(), end.said()], [[], []]);
    }
  });

  for (const [name, localOptions, remoteOptions] of [
    ["local", { extensions: false }, {}],
    ["remote", {}, { extensions: false }],
    ["both ends", { extensions: false }, { extensions: false }],
  ] as const) {
    test(`switched off at ${name} leaves a session that works`, () => {
      const { local, remote } = pongPair(localOptions, remoteOptions);
      carry(local, remote);
      local.open();
      carry(local, remote);
      local.pass(1_000);
      remote.accept(1);
      assert.deepEqual(local.events(), ["ready pong-go", "accepted 1"]);
      local.write(1, 100_000);
      carry(local, remote);
      remote.write(1, 50_000);
      remote.finish(1);
      carry(local, remote);
      assert.equal(bytesOf(local), 50_000);
      assert.equal(bytesOf(remote), 100_000);
      local.events();
      local.finish(1);
      carry(local, remote);
      assert.deepEqual(local.events(), ["closed 1"]);
      assert.deepEqual(remote.events().slice(-2), ["finished 1", "closed 1"]);
      assert.equal(local.session.streamCount + remote.session.streamCount, 0);
    });
  }
});

describe("the pong keepalive between two Sluice ends", () => {
  test("asks a quiet peer, and goes on with its answer", () => {
    const { local, remote } = connected({ keepaliveMs: 1_000 }, { keepaliveMs: 60_000 });
    for (let round = 0; round < 5; round++) {
      local.pass(1_000);
      assert.deepEqual(local.said(), [`PING ${round}`]);
      local.now += 30;
      carry(local, remote);
      assert.equal(local.session.rttMs, 30);
    }
    assert.deepEqual([local.events(), remote.events()], [[], []]);
  });

  test("notices a black hole on both sides within twice its interval", () => {
    const { local, remote } = opened({ keepaliveMs: 1_000 }, { keepaliveMs: 1_000 });
    for (const end of [local, remote]) {
      end.pass(1_999);
      assert.deepEqual(end.events(), []);
      end.pass(1);
      assert.deepEqual(end.events(), ["over ERR_PEER_SILENT"]);
      assert.equal(end.session.deadline, undefined);
    }
  });

  test("takes any bytes for a sign of life, even half a frame", () => {
    const { remote } = connected({}, { keepaliveMs: 1_000 });
    const wire = Buffer.concat(
      encodeFrame({ streamId: 9, type: FrameType.data, payload: new Uint8Array(9) }),
    );
    for (const byte of wire) {
      remote.pass(1_900);
      remote.receive(Uint8Array.of(byte));
    }
    assert.deepEqual(remote.events(), []);
  });

  test("is off when told so, and toward pong-go, which answers nothing", () => {
    const { local } = connected({ keepaliveMs: 0 });
    local.pass(1e6);
    const reference = new PongEnd("local", { extensions: false }).start();
    reference.pass(1e6);
    assert.deepEqual([local.said(), local.events()], [[], []]);
    assert.deepEqual([reference.said(), reference.events()], [[], ["ready pong-go"]]);
  });
});

describe("an idle pong connection", () => {
  test("is ended by a remote whose peer says nothing and has no streams", () => {
    const remote = new PongEnd("remote", { idleMs: 5_000 }).start();
    remote.pass(4_999);
    assert.deepEqual(remote.events(), []);
    remote.pass(1);
    assert.deepEqual(remote.events(), ["over"]);
    assert.equal(remote.session.deadline, undefined);
  });

  test("is kept while a stream lives, between two Sluice ends, by a local, and when told so", () => {
    const busy = new PongEnd("remote", { idleMs: 5_000 }).start();
    busy.hear("connect", 1, hex("01 7f000001 0050"));
    const { remote } = connected({ keepaliveMs: 0 }, { keepaliveMs: 0, idleMs: 5_000 });
    const local = new PongEnd("local", { extensions: false, idleMs: 5_000 }).start();
    const patient = new PongEnd("remote", { idleMs: 0 }).start();
    for (const end of [busy, remote, local, patient]) {
      end.pass(1e6);
      assert.ok(!end.events().includes("over"));
    }
  });
});

/** Two ends that know each other, quiet. */
function connected(
  localOptions: ConstructorParameters<typeof PongEnd>[1] = {},
  remoteOptions: ConstructorParameters<typeof PongEnd>[1] = {},
): { local: PongEnd; remote: PongEnd } {
  const { local, remote } = pongPair(localOptions, remoteOptions);
  carry(local, remote);
  for (const end of [local, remote]) {
    end.events();
    end.said();
  }
  return { local, remote };
}

/** The same with stream 1 open and accepted. */
function opened(...options: Parameters<typeof connected>): ReturnType<typeof connected> {
  const { local, remote } = connected(...options);
  local.open();
  carry(local, remote);
  remote.accept(1);
  carry(local, remote);
  for (const end of [local, remote]) {
    end.events();
    end.said();
  }
  return { local, remote };
}

function bytesOf(end: PongEnd): number {
  let sum = 0;
  for (const event of end.log) if (event.type === "streamData") sum += event.data.byteLength;
  return sum;
}
