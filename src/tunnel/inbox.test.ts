import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { NetworkError, type TunnelError } from "../errors.ts";
import type { ConnectionHandler } from "./connection.ts";
import { Inbox } from "./inbox.ts";

describe("inbox", () => {
  test("keeps what arrives until somebody attaches and resumes", () => {
    const { inbox, seen, handler } = record();
    inbox.deliver(bytes("a"));
    inbox.end();
    inbox.attach(handler);
    assert.deepEqual(seen, []);
    assert.equal(inbox.queuedBytes, 1);
    inbox.resume();
    assert.deepEqual(seen, ["a", "end"]);
    assert.equal(inbox.queuedBytes, 0);
  });

  test("delivers at once when nothing stands in the way", () => {
    const { inbox, seen } = flowing();
    inbox.deliver(bytes("a"));
    inbox.deliver(new Uint8Array(0));
    inbox.deliver(bytes("b"));
    assert.deepEqual(seen, ["a", "b"]);
  });

  test("keeps the order when more arrives as soon as something was taken", () => {
    const { seen, handler } = record();
    const late = ["c", "d"];
    const inbox: Inbox = new Inbox(() => {
      const next = late.shift();
      if (next !== undefined) inbox.deliver(bytes(next));
    });
    for (const text of ["a", "b"]) inbox.deliver(bytes(text));
    inbox.attach(handler);
    inbox.resume();
    assert.deepEqual(seen, ["a", "b", "c", "d"]);
  });

  test("stops in the middle of a queue when the handler pauses", () => {
    const { inbox, seen, handler } = record();
    for (const text of ["a", "b", "c"]) inbox.deliver(bytes(text));
    inbox.attach({
      ...handler,
      onData: (chunk) => {
        handler.onData(chunk);
        inbox.pause();
      },
    });
    inbox.resume();
    assert.deepEqual(seen, ["a"]);
    inbox.deliver(bytes("d"));
    inbox.resume();
    assert.deepEqual(seen, ["a", "b"]);
    assert.equal(inbox.queuedBytes, 2);
  });

  test("reports the end once, behind all data", () => {
    const { inbox, seen } = flowing();
    inbox.pause();
    inbox.deliver(bytes("a"));
    inbox.end();
    inbox.end();
    inbox.resume();
    inbox.resume();
    assert.deepEqual(seen, ["a", "end"]);
  });

  test("lets an orderly close wait for a paused reader", () => {
    const { inbox, seen } = flowing();
    inbox.pause();
    inbox.deliver(bytes("a"));
    inbox.end();
    inbox.close(undefined);
    assert.deepEqual(seen, []);
    assert.equal(inbox.isClosed, false);
    inbox.resume();
    assert.deepEqual(seen, ["a", "end", "close"]);
    assert.equal(inbox.isClosed, true);
  });

  test("lets a hard close overtake what waits", () => {
    const { inbox, seen } = flowing();
    inbox.pause();
    inbox.deliver(bytes("a"));
    inbox.end();
    inbox.close(GONE);
    assert.deepEqual(seen, ["close ERR_TUNNEL_LOST"]);
    inbox.resume();
    inbox.deliver(bytes("b"));
    inbox.close(undefined);
    inbox.drained();
    assert.deepEqual(seen, ["close ERR_TUNNEL_LOST"]);
  });

  test("makes an orderly close that still waits a hard one", () => {
    const { inbox, seen } = flowing();
    inbox.pause();
    inbox.deliver(bytes("a"));
    inbox.end();
    inbox.close(undefined);
    inbox.close(GONE);
    assert.deepEqual(seen, ["close ERR_TUNNEL_LOST"]);
  });

  test("keeps a hard close for the next owner", () => {
    const { inbox, seen, handler } = record();
    inbox.close(GONE);
    inbox.attach(handler);
    assert.deepEqual(seen, ["close ERR_TUNNEL_LOST"]);
  });

  test("gives the former owner nothing after it detached", () => {
    const { inbox, seen, handler } = flowing();
    inbox.detach();
    inbox.deliver(bytes("a"));
    inbox.drained();
    assert.deepEqual(seen, []);
    inbox.attach(handler);
    assert.deepEqual(seen, [], "detaching paused it");
    inbox.resume();
    assert.deepEqual(seen, ["a"]);
  });

  test("hands over in the middle of a delivery", () => {
    const { inbox, seen, handler } = record();
    inbox.deliver(bytes("hello|rest"));
    inbox.deliver(bytes("more"));
    inbox.attach({
      ...handler,
      onData: () => {
        inbox.detach();
        inbox.unshift(bytes("rest"));
      },
    });
    inbox.resume();
    assert.deepEqual(seen, []);
    inbox.attach(handler);
    inbox.resume();
    assert.deepEqual(seen, ["rest", "more"]);
  });

  test("keeps the close for the next owner when one detaches at the end", () => {
    const { inbox, seen, handler } = record();
    inbox.end();
    inbox.close(undefined);
    inbox.attach({ ...handler, onEnd: () => inbox.detach() });
    inbox.resume();
    assert.deepEqual(seen, []);
    inbox.attach(handler);
    inbox.resume();
    assert.deepEqual(seen, ["end", "close"]);
  });

  test("delivers bytes put back at the end before the close", () => {
    const { inbox, seen, handler } = record();
    inbox.end();
    inbox.close(undefined);
    inbox.attach({
      ...handler,
      onEnd: () => {
        inbox.detach();
        inbox.unshift(bytes("rest"));
      },
    });
    inbox.resume();
    inbox.attach(handler);
    assert.deepEqual(seen, [], "still paused");
    inbox.resume();
    assert.deepEqual(seen, ["rest", "end", "close"]);
  });

  test("counts each byte as taken once, also when it was put back", () => {
    const { inbox, taken, handler } = record();
    inbox.attach(handler);
    inbox.resume();
    inbox.deliver(bytes("abcdef"));
    assert.deepEqual(taken, [6]);
    inbox.pause();
    inbox.unshift(bytes("ef"));
    inbox.unshift(bytes("cd"));
    inbox.deliver(bytes("gh"));
    assert.equal(inbox.queuedBytes, 6);
    inbox.resume();
    assert.deepEqual(taken, [6, 2]);
  });

  test("reports end and close again to the next owner", () => {
    const { inbox, seen, handler } = flowing();
    inbox.end();
    inbox.close(undefined);
    inbox.detach();
    inbox.attach(handler);
    inbox.resume();
    assert.deepEqual(seen, ["end", "close", "end", "close"]);
  });

  test("counts dropped bytes as taken, but not those that were taken before", () => {
    const { inbox, taken } = flowing();
    inbox.deliver(bytes("abcdef"));
    inbox.pause();
    inbox.unshift(bytes("def"));
    inbox.deliver(bytes("ghij"));
    inbox.discard();
    assert.equal(inbox.queuedBytes, 0);
    inbox.deliver(bytes("klm"));
    assert.deepEqual(taken, [6, 4, 3]);
  });

  test("tells an owner who discards of the close only", () => {
    const { inbox, seen } = flowing();
    inbox.pause();
    inbox.deliver(bytes("a"));
    inbox.discard();
    inbox.deliver(bytes("b"));
    inbox.pause();
    assert.equal(inbox.isPaused, false, "what still comes must go on coming");
    inbox.unshift(bytes("c"));
    inbox.drained();
    inbox.end();
    inbox.close(undefined);
    assert.deepEqual(seen, ["close"]);
  });

  test("goes on discarding for a later owner", () => {
    const { inbox, seen, handler } = record();
    inbox.discard();
    inbox.attach(handler);
    inbox.deliver(bytes("a"));
    inbox.end();
    inbox.close(GONE);
    assert.deepEqual(seen, ["close ERR_TUNNEL_LOST"]);
  });

  test("keeps order and loses nothing under any pausing and putting back", () => {
    const action = fc.oneof(
      fc.record({ do: fc.constant("deliver" as const), text: fc.string({ maxLength: 8 }) }),
      fc.record({
        do: fc.constantFrom("pause" as const, "resume" as const),
        count: fc.constant(0),
      }),
      fc.record({ do: fc.constant("putBack" as const), count: fc.nat(8) }),
    );
    fc.assert(
      fc.property(fc.array(action), (actions) => {
        let sent = 0;
        let received = Buffer.alloc(0);
        let taken = 0;
        const inbox = new Inbox((byteLength) => (taken += byteLength));
        inbox.attach({
          ...DEAF,
          onData: (chunk) => (received = Buffer.concat([received, chunk])),
        });
        const wire: Buffer[] = [];
        for (const step of actions) {
          if (step.do === "deliver") {
            const chunk = Buffer.from(step.text);
            wire.push(Buffer.from(chunk));
            sent += chunk.byteLength;
            inbox.deliver(chunk);
          } else if (step.do === "pause") inbox.pause();
          else if (step.do === "resume") inbox.resume();
          else {
            const at = Math.max(0, received.byteLength - step.count);
            const back = received.subarray(at);
            received = received.subarray(0, at);
            inbox.unshift(back);
          }
          assert.equal(received.byteLength + inbox.queuedBytes, sent);
        }
        inbox.resume();
        assert.deepEqual(received, Buffer.concat(wire));
        assert.equal(taken, sent);
      }),
    );
  });
});

const GONE = new NetworkError("ERR_TUNNEL_LOST", "gone");

const DEAF: ConnectionHandler = {
  onData: () => {},
  onEnd: () => {},
  onDrain: () => {},
  onClose: () => {},
};

interface Recording {
  readonly inbox: Inbox;
  readonly seen: string[];
  readonly taken: number[];
  readonly handler: ConnectionHandler;
}

function record(): Recording {
  const seen: string[] = [];
  const taken: number[] = [];
  const handler = {
    onData: (chunk: Uint8Array) => void seen.push(Buffer.from(chunk).toString()),
    onEnd: () => void seen.push("end"),
    onDrain: () => void seen.push("drain"),
    onClose: (error: TunnelError | undefined) =>
      void seen.push(error === undefined ? "close" : `close ${error.code}`),
  };
  return { inbox: new Inbox((byteLength) => void taken.push(byteLength)), seen, taken, handler };
}

function flowing(): Recording {
  const recording = record();
  recording.inbox.attach(recording.handler);
  recording.inbox.resume();
  return recording;
}

function bytes(text: string): Uint8Array {
  return Buffer.from(text);
}
