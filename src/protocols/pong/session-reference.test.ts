import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { patternBytes } from "../../../test/support/chunks.ts";
import { assertBytes, hex } from "../../../test/support/hex.ts";
import { PongEnd, type PongEndOptions, TARGET } from "../../../test/support/pong-end.ts";
import { MisuseError, NetworkError, PolicyError } from "../../errors.ts";
import { FrameType, REFERENCE_MIN_PAYLOAD, REFERENCE_PAYLOAD } from "./codec.ts";
import { PONG_DEFAULTS } from "./options.ts";

const { limits: LIMITS } = PONG_DEFAULTS;
const REFUSED = new NetworkError("ERR_DIAL_REFUSED", "refused");

/** The ways a local comes to know that its remote is a pong-go. */
const WAYS = {
  "found by its silence": {},
  "known as HEAD": { peer: "head" },
  "known as v0.9.4": { peer: "v0.9.4" },
  "met with extensions off": { extensions: false },
} as const satisfies Record<string, PongEndOptions>;

for (const [way, options] of Object.entries(WAYS)) {
  describe(`a pong local and a pong-go remote ${way}`, () => {
    test("opens without waiting for a word, for none ever comes", () => {
      const local = dialled(options);
      local.open();
      assert.deepEqual(local.said(), ["CONNECT 1 example.com:80"]);
      assert.deepEqual(local.events(), ["accepted 1"]);
    });

    test("sends at most 32 frames before the first word or the end of the dial", () => {
      for (const word of ["data", "time"] as const) {
        const local = opened(options);
        assert.equal(local.session.writable(1), 32 * REFERENCE_PAYLOAD);
        for (let frame = 0; frame < 31; frame++) local.write(1, 40);
        local.write(1, local.session.writable(1));
        assert.equal(local.session.writable(1), 0);
        assert.equal(local.said().length, 32);
        assert.throws(() => local.write(1, 1), MisuseError);
        if (word === "data") local.hear("data", 1, 1);
        else local.pass(LIMITS.dialGraceMs);
        const [last] = local.events().slice(-1);
        assert.equal(last, word === "data" ? "data 1 1" : "writable 1");
        assert.equal(local.session.writable(1), Number.POSITIVE_INFINITY);
      }
    });

    test("says that a blocked stream may go on when the first word comes", () => {
      const local = opened(options);
      local.write(1, local.session.writable(1));
      local.hear("data", 1, 1);
      assert.deepEqual(
        local.events().filter((event) => event !== "accepted 1"),
        ["writable 1", "data 1 1"],
      );
    });

    test("refuses names that vanish in pong-go", () => {
      const local = dialled(options);
      local.open({ ...TARGET, host: "x".repeat(125) });
      assert.deepEqual(local.events(), ["closed 1 ERR_ADDRESS_UNSUPPORTED"]);
      assert.deepEqual(local.said(), []);
      local.open({ ...TARGET, host: "x".repeat(124) });
      assert.deepEqual(local.said(), [`CONNECT 3 ${"x".repeat(124)}:80`]);
    });

    test("ends with the remote's CLOSE, and answers nothing", () => {
      const local = opened(options);
      local.hear("data", 1, 10);
      local.hear("close", 1);
      assert.deepEqual(local.events().slice(-3), ["data 1 10", "finished 1", "closed 1"]);
      assert.deepEqual(local.said(), []);
      assert.equal(local.session.deadline, undefined);
    });

    test("ends with the remote's RST and its reason", () => {
      const local = opened(options);
      local.hear("rst", 1, hex("05"));
      assert.deepEqual(local.events(), ["closed 1 ERR_DIAL_REFUSED"]);
      assert.deepEqual([local.said(), local.session.deadline], [[], undefined]);
    });

    test("ignores the RST 16 that answers its CLOSE", () => {
      const local = opened(options);
      local.hear("data", 1, 10);
      local.events();
      local.close(1);
      assert.deepEqual(local.said(), ["CLOSE 1"]);
      assert.deepEqual(local.events(), ["closed 1"]);
      local.hear("rst", 1, hex("10"));
      assert.deepEqual([local.said(), local.events()], [[], []]);
    });

    for (const cut of ["close", "reset"] as const) {
      test(`holds a CLOSE back while the remote may be dialling, on ${cut}`, () => {
        const local = opened(options);
        cutStream(local, cut);
        assert.deepEqual(local.said(), []);
        assert.deepEqual(local.events(), ["closed 1"]);
        assert.equal(local.session.streamCount, 1, "the id is not free");
        cutStream(local, "close");
        cutStream(local, "reset");
        local.finish(1);
        assert.equal(local.session.writable(1), 0);
        local.pass(LIMITS.dialGraceMs - 1);
        assert.deepEqual(local.said(), []);
        local.pass(1);
        assert.deepEqual([local.said(), local.events()], [["CLOSE 1"], []]);
        assert.equal(local.session.streamCount, 0);
        assert.equal(local.session.deadline, undefined);
      });

      test(`lets a held CLOSE go with the remote's first word, on ${cut}`, () => {
        const local = opened(options);
        cutStream(local, cut);
        local.events();
        local.hear("data", 1, 10);
        assert.deepEqual([local.said(), local.events()], [["CLOSE 1"], []]);
        local.hear("rst", 1, hex("10"));
        assert.deepEqual([local.said(), local.events()], [[], []]);
      });

      test(`drops a held CLOSE when the dial failed, on ${cut}`, () => {
        const local = opened(options);
        cutStream(local, cut);
        local.events();
        local.hear("rst", 1, hex("05"));
        assert.deepEqual([local.said(), local.events()], [[], []], "the remote forgot the id");
        assert.equal(local.session.streamCount, 0);
        assert.equal(local.session.deadline, undefined);
      });
    }

    test("never sends RST", () => {
      const local = opened(options);
      local.hear("data", 1, 10);
      local.reset(1, REFUSED);
      assert.deepEqual(local.said(), ["CLOSE 1"]);
    });

    test("understands FINISH, and closes when both sides are done", () => {
      const local = opened(options);
      local.hear("finish", 1);
      local.write(1, 40);
      local.finish(1);
      assert.deepEqual(local.events().slice(-2), ["finished 1", "closed 1"]);
      assert.deepEqual(local.said(), ["DATA 1 40", "CLOSE 1"]);
    });

    test("never sends a payload over 7 bytes in a command frame", () => {
      const local = dialled(options);
      for (let count = 0; count < 6; count++) local.open();
      local.finish(1);
      local.close(3);
      local.reset(5, REFUSED);
      local.hear(0x0a, 7, 1);
      local.hear("connect", 2, hex("01 7f000001 0050"));
      local.hear("finish", 9);
      local.finish(9);
      local.pass(200_000);
      for (const { type, payload } of local.frames()) {
        if (type !== FrameType.connect) assert.ok(payload.byteLength <= 1);
      }
    });
  });
}

for (const [way, options] of Object.entries(WAYS).filter(([name]) => !name.includes("v0.9.4"))) {
  describe(`a pong local whose application ends before a pong-go remote ${way}`, () => {
    test("holds FINISH back, for HEAD takes it for an abort", () => {
      const local = opened(options);
      local.write(1, 40);
      local.finish(1);
      local.finish(1);
      assert.deepEqual(local.said(), ["DATA 1 40"]);
      assert.equal(local.session.writable(1), 0);
      local.hear("data", 1, 100);
      local.hear("close", 1);
      assert.deepEqual(local.events().slice(-3), ["data 1 100", "finished 1", "closed 1"]);
      assert.deepEqual(local.said(), []);
    });

    test("closes when the remote finishes", () => {
      const local = opened(options);
      local.finish(1);
      local.events();
      local.hear("finish", 1);
      assert.deepEqual(local.said(), ["CLOSE 1"]);
      assert.deepEqual(local.events().slice(-2), ["finished 1", "closed 1"]);
    });

    test("closes when the application is gone altogether", () => {
      const local = opened(options);
      local.hear("data", 1, 100);
      local.finish(1);
      local.close(1);
      assert.deepEqual(local.said(), ["CLOSE 1"]);
    });

    test("gives up a remote that stays quiet, and calls it no clean end", () => {
      const local = opened(options);
      local.finish(1);
      local.events();
      local.pass(LIMITS.dialGraceMs + LIMITS.lingerMs - 1);
      assert.deepEqual(local.said(), []);
      local.pass(1);
      assert.deepEqual(local.said(), ["CLOSE 1"]);
      assert.deepEqual(local.events().slice(-1), ["closed 1 ERR_IDLE_TIMEOUT"]);
      assert.equal(local.session.deadline, undefined);
    });

    test("waits as long as the remote goes on", () => {
      const local = opened(options);
      local.hear("data", 1, 1);
      local.finish(1);
      for (let count = 0; count < 10; count++) {
        local.pass(LIMITS.lingerMs - 1);
        local.hear("data", 1, 1);
      }
      assert.deepEqual(local.said(), []);
      assert.equal(local.session.streamCount, 1);
    });
  });
}

describe("a pong local and a v0.9.4 remote", () => {
  test("passes FINISH on and hears the answer to its end, however slow", () => {
    const local = opened({ peer: "v0.9.4" });
    local.hear("data", 1, 1);
    local.finish(1);
    assert.deepEqual(local.said(), ["FINISH 1"]);
    local.events();
    for (let count = 0; count < 3; count++) {
      local.pass(100_000);
      local.hear("data", 1, 10);
    }
    local.hear("close", 1);
    assert.deepEqual(local.events(), [
      "data 1 10",
      "data 1 10",
      "data 1 10",
      "finished 1",
      "closed 1",
    ]);
    assert.deepEqual(local.said(), []);
  });
});

describe("a pong local and a HEAD remote", () => {
  const options = { peer: "head" } as const;

  test("joins small writes, which alone would be dropped", () => {
    const local = opened(options);
    local.write(1, Buffer.from("0123456789"));
    local.write(1, Buffer.from("0123456789"));
    local.write(1, Buffer.from("0123456789"));
    assert.deepEqual(local.said(), []);
    local.write(1, Buffer.from("!"));
    const frames = local.frames();
    assert.equal(frames.length, 1);
    assertBytes(frames[0]?.payload ?? hex(""), Buffer.from("012345678901234567890123456789!"));
  });

  test("waits for company only briefly", () => {
    const local = opened(options);
    local.write(1, 5);
    local.pass(LIMITS.crumbsMs - 1);
    assert.deepEqual(local.said(), []);
    local.pass(1);
    assert.deepEqual(local.said(), ["DATA 1 5"]);
  });

  test("sends what waits before an end", () => {
    for (const end of ["finish", "close"] as const) {
      const local = opened(options);
      local.hear("data", 1, 1);
      local.write(1, 5);
      local[end](1);
      assert.equal(local.said()[0], "DATA 1 5", end);
      local.pass(100);
      assert.equal(local.said().length, 0);
    }
  });

  test("never cuts data so that a tail would be dropped, and keeps the order", () => {
    const local = opened(options);
    local.hear("data", 1, 1);
    const sizes = [1, 30, REFERENCE_PAYLOAD + 1, 29, 2 * REFERENCE_PAYLOAD + 30, 2, 31];
    const bytes = patternBytes(sizes.reduce((sum, size) => sum + size, 0));
    let at = 0;
    for (const size of sizes) {
      local.write(1, bytes.subarray(at, at + size));
      at += size;
    }
    const frames = local.frames();
    assertBytes(
      frames.map(({ payload }) => payload),
      bytes,
    );
    for (const { payload } of frames) {
      assert.ok(payload.byteLength >= REFERENCE_MIN_PAYLOAD, `${payload.byteLength} bytes`);
      assert.ok(payload.byteLength <= REFERENCE_PAYLOAD);
    }
  });

  test("forgets what waits when the stream is reset", () => {
    const local = opened(options);
    local.write(1, 5);
    local.hear("rst", 1, hex("05"));
    local.pass(1_000);
    assert.deepEqual(local.said(), []);
    assert.equal(local.session.deadline, undefined);
  });
});

describe("a pong local that holds its answer back", () => {
  const options = { extensions: false, holdMs: 300 };

  test("accepts with the remote's first word", () => {
    const local = new PongEnd("local", options).start();
    local.open();
    local.pass(299);
    assert.deepEqual(local.events(), ["ready pong-go"]);
    local.hear("data", 1, 1);
    assert.deepEqual(local.events(), ["accepted 1", "data 1 1"]);
    local.pass(1_000);
    assert.deepEqual(local.events(), []);
  });

  test("accepts when nothing was heard in time", () => {
    const local = new PongEnd("local", options).start();
    local.open();
    local.pass(300);
    assert.deepEqual(local.events(), ["ready pong-go", "accepted 1"]);
  });

  test("reports a refused dial as such", () => {
    const local = new PongEnd("local", options).start();
    local.open();
    local.hear("rst", 1, hex("05"));
    local.pass(1_000);
    assert.deepEqual(local.events(), ["ready pong-go", "closed 1 ERR_DIAL_REFUSED"]);
  });
});

describe("a pong remote and a pong-go local", () => {
  test("recognises it by its first frame, and says nothing that it does not know", () => {
    const remote = asked();
    assert.equal(remote.session.peerKind, "reference");
    remote.accept(1);
    remote.write(1, 40);
    assert.deepEqual(remote.said(), ["DATA 1 40"]);
    assert.deepEqual(remote.events(), ["writable 1"]);
  });

  test("refuses with the code alone", () => {
    const remote = asked();
    remote.reset(1, REFUSED);
    assert.deepEqual(remote.said(), ["RST 1 5"]);
    assert.deepEqual(remote.events(), ["closed 1 ERR_DIAL_REFUSED"]);
  });

  test("ends an answer with FINISH and waits for the local's CLOSE", () => {
    const remote = asked();
    remote.accept(1);
    remote.write(1, 40);
    remote.events();
    remote.finish(1);
    assert.deepEqual(remote.said(), ["DATA 1 40", "FINISH 1"]);
    assert.deepEqual(remote.events(), []);
    remote.hear("close", 1);
    assert.deepEqual(remote.events(), ["finished 1", "closed 1"]);
    assert.deepEqual([remote.said(), remote.session.deadline], [[], undefined]);
  });

  test("falls back to CLOSE when the local's does not come", () => {
    const remote = asked();
    remote.finish(1);
    remote.said();
    remote.pass(LIMITS.closeWaitMs);
    assert.deepEqual(remote.said(), ["CLOSE 1"]);
    assert.deepEqual(remote.events(), ["closed 1"]);
  });

  test("goes on hearing an application that still sends", () => {
    const remote = asked();
    remote.finish(1);
    for (let count = 0; count < 5; count++) {
      remote.pass(LIMITS.closeWaitMs - 1);
      remote.hear("data", 1, 10);
    }
    remote.hear("finish", 1);
    assert.deepEqual(remote.events().slice(-3), ["data 1 10", "finished 1", "closed 1"]);
    remote.said();
    remote.hear("close", 1);
    assert.deepEqual([remote.said(), remote.events()], [[], []]);
    assert.equal(remote.session.streamCount, 0);
  });

  test("keeps the id until the local answered a close, and hears nothing more on it", () => {
    const remote = asked();
    remote.write(1, 40);
    remote.close(1);
    remote.close(1);
    assert.deepEqual(remote.said(), ["DATA 1 40", "FINISH 1"]);
    assert.deepEqual(remote.events(), ["closed 1"]);
    remote.hear("data", 1, 10);
    remote.hear("finish", 1);
    remote.reset(1, REFUSED);
    assert.equal(remote.session.streamCount, 1);
    remote.hear("close", 1);
    assert.deepEqual([remote.said(), remote.events()], [[], []]);
    assert.equal(remote.session.streamCount, 0);
  });

  test("sends FINISH once when a close follows it", () => {
    const remote = asked();
    remote.finish(1);
    remote.close(1);
    assert.deepEqual(remote.said(), ["FINISH 1"]);
    remote.pass(LIMITS.closeWaitMs);
    assert.deepEqual(remote.said(), ["CLOSE 1"]);
    assert.deepEqual(remote.events(), ["closed 1"]);
    assert.equal(remote.session.deadline, undefined);
  });

  test("half-closes toward the target and sends the answer behind it", () => {
    const remote = asked();
    remote.accept(1);
    remote.hear("finish", 1);
    assert.deepEqual(remote.events(), ["writable 1", "finished 1"]);
    remote.write(1, 40);
    remote.finish(1);
    assert.deepEqual(remote.said(), ["DATA 1 40", "FINISH 1"]);
    assert.deepEqual(remote.events(), ["closed 1"]);
    remote.hear("close", 1);
    assert.deepEqual(remote.said(), []);
    assert.equal(remote.session.streamCount, 0);
  });

  test("ends a half-closed stream whose target stays quiet, and calls it no clean end", () => {
    const remote = asked();
    remote.hear("finish", 1);
    remote.events();
    remote.pass(LIMITS.halfClosedMs);
    assert.deepEqual(remote.said(), ["RST 1 28"]);
    assert.deepEqual(remote.events(), ["closed 1 ERR_IDLE_TIMEOUT"]);
  });

  test("lets a half-closed stream live as long as its target goes on", () => {
    const remote = asked();
    remote.accept(1);
    remote.hear("finish", 1);
    for (let count = 0; count < 5; count++) {
      remote.pass(LIMITS.halfClosedMs - 1);
      remote.write(1, 40);
    }
    assert.equal(remote.session.streamCount, 1);
    assert.deepEqual(new Set(remote.said()), new Set(["DATA 1 40"]));
    remote.pass(LIMITS.halfClosedMs);
    assert.deepEqual(remote.said(), ["RST 1 28"]);
  });

  test("passes the local's CLOSE on, in order and in the middle of a dial", () => {
    const remote = asked();
    remote.hear("data", 1, 10);
    remote.hear("close", 1);
    assert.deepEqual(remote.events(), ["data 1 10", "finished 1", "closed 1"]);
    remote.accept(1);
    assert.deepEqual([remote.said(), remote.events()], [[], []]);
  });

  test("passes a reset of the target on as RST 12", () => {
    const remote = asked();
    remote.write(1, 40);
    remote.reset(1, new NetworkError("ERR_CONNECTION_RESET", "reset"));
    assert.deepEqual(remote.said(), ["DATA 1 40", "RST 1 12"]);
  });

  test("never sends a payload over 7 bytes in a command frame", () => {
    const remote = asked();
    for (let id = 3; id < 20; id += 2) remote.hear("connect", id, hex("01 7f000001 0050"));
    remote.accept(3);
    remote.reset(3, new PolicyError("ERR_SLOW_READER", "a long text that stays here"));
    remote.finish(5);
    remote.close(7);
    remote.hear(0x0a, 9, 200);
    remote.hear("finish", 11);
    remote.hear("data", 11, 1);
    remote.hear("relay", 21, 1);
    remote.pass(200_000);
    for (const { payload } of remote.frames()) assert.ok(payload.byteLength <= 1);
  });

  test("cuts data into frames that every pong-go takes", () => {
    const remote = asked();
    remote.accept(1);
    remote.write(1, 3 * REFERENCE_PAYLOAD + 5);
    assert.deepEqual(
      remote.frames().map(({ payload }) => payload.byteLength),
      [REFERENCE_PAYLOAD, REFERENCE_PAYLOAD, REFERENCE_PAYLOAD - 26, REFERENCE_MIN_PAYLOAD],
    );
  });

  test("keeps a stream whose data outran every window, for it knows none", () => {
    const remote = asked();
    remote.hear("data", 1, 60_000);
    for (let count = 0; count < 10; count++) remote.hear("data", 1, 60_000);
    assert.equal(remote.session.streamCount, 1);
    assert.equal(remote.session.hasWindow(1), false);
    remote.consumed(1, 660_000);
    assert.deepEqual(remote.said(), []);
  });
});

/** A local that knows its remote for a pong-go. */
function dialled(options: PongEndOptions): PongEnd {
  const local = new PongEnd("local", options).start();
  local.pass(PONG_DEFAULTS.helloWaitMs);
  local.said();
  assert.deepEqual(local.events(), ["ready pong-go"]);
  return local;
}

/** The same with stream 1 open. */
function opened(options: PongEndOptions): PongEnd {
  const local = dialled(options);
  local.open();
  local.said();
  local.events();
  return local;
}

/** A remote whose pong-go local opened stream 1. */
function asked(options: PongEndOptions = {}): PongEnd {
  const remote = new PongEnd("remote", options).start();
  remote.hear("connect", 1, hex("01 7f000001 0050"));
  assert.deepEqual(remote.events(), ["ready pong-go", "requested 1 127.0.0.1:80"]);
  assert.deepEqual(remote.said(), []);
  return remote;
}

function cutStream(local: PongEnd, cut: "close" | "reset"): void {
  if (cut === "close") local.close(1);
  else local.reset(1, new NetworkError("ERR_ABORTED", "gave up"));
}
