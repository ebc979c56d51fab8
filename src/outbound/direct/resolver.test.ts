import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { ManualClock } from "../../clock/manual-clock.ts";
import { Resolver } from "./resolver.ts";

const { signal } = new AbortController();

/** A lookup whose answers the test gives. */
class SlowLookup {
  readonly asked: string[] = [];
  readonly #waiting = new Map<string, PromiseWithResolvers<readonly string[]>>();

  readonly lookup = (host: string): Promise<readonly string[]> => {
    this.asked.push(host);
    const answer = Promise.withResolvers<readonly string[]>();
    this.#waiting.set(host, answer);
    return answer.promise;
  };

  answer(host: string, addresses: readonly string[]): void {
    this.#waiting.get(host)?.resolve(addresses);
  }
}

describe("resolver", () => {
  test("returns distinct addresses and drops what is none", async () => {
    const lookup = (): Promise<string[]> => Promise.resolve(["1.1.1.1", "1.1.1.1", "junk", "::1"]);
    const resolver = new Resolver({ clock: new ManualClock(), lookup });
    assert.deepEqual(await resolver.resolve("x", signal), ["1.1.1.1", "::1"]);
  });

  test("reports names without an address, unknown names and silent servers as such", async () => {
    const clock = new ManualClock();
    const failing = (code: string): Resolver =>
      new Resolver({
        clock,
        lookup: () => Promise.reject(Object.assign(new Error("no"), { code })),
      });
    const none = new Resolver({ clock, lookup: () => Promise.resolve([]) });
    const cases = [
      [none, /^x: has no address$/],
      [failing("ENOTFOUND"), /^x: name does not resolve$/],
      [failing("EAI_AGAIN"), /^x: name server gave no answer$/],
      [failing("EAI_FAIL"), /^x: cannot resolve: EAI_FAIL$/],
    ] as const;
    for (const [resolver, message] of cases) {
      await assert.rejects(resolver.resolve("x", signal), { code: "ERR_DNS", message });
    }
    assert.equal(clock.pending, 0);
  });

  test("gives up after its deadline and when the client does", async () => {
    const clock = new ManualClock();
    const resolver = new Resolver({ clock, lookup: new SlowLookup().lookup });
    const late = resolver.resolve("x", signal);
    clock.advance(5_000);
    await assert.rejects(late, {
      code: "ERR_DNS",
      message: "x: name server gave no answer within 5000 ms",
    });
    const controller = new AbortController();
    const aborted = resolver.resolve("y", controller.signal);
    controller.abort(new Error("gone"));
    await assert.rejects(aborted, /gone/);
    assert.equal(clock.pending, 0);
  });

  test("asks once for a name that several wait for, and again afterwards", async () => {
    const slow = new SlowLookup();
    const resolver = new Resolver({ clock: new ManualClock(), lookup: slow.lookup });
    const both = [resolver.resolve("x", signal), resolver.resolve("x", signal)];
    slow.answer("x", ["1.1.1.1"]);
    assert.deepEqual(await Promise.all(both), [["1.1.1.1"], ["1.1.1.1"]]);
    const third = resolver.resolve("x", signal);
    slow.answer("x", ["2.2.2.2"]);
    assert.deepEqual(await third, ["2.2.2.2"]);
    assert.deepEqual(slow.asked, ["x", "x"]);
  });

  test("holds places until the system answers, lets a bounded number wait, refuses more", async () => {
    const slow = new SlowLookup();
    const clock = new ManualClock();
    const resolver = new Resolver({ clock, lookup: slow.lookup, maxRunning: 2, maxWaiting: 1 });
    const a = resolver.resolve("a", signal);
    const b = resolver.resolve("b", signal);
    const c = resolver.resolve("c", signal);
    await assert.rejects(resolver.resolve("d", signal), {
      code: "ERR_LIMIT",
      message: "3 names are being resolved, the limit here",
    });
    clock.advance(5_000);
    for (const late of [a, b, c]) await assert.rejects(late, { code: "ERR_DNS" });
    assert.deepEqual(slow.asked, ["a", "b"], "nobody waits, but the system is still busy");
    slow.answer("a", ["1.1.1.1"]);
    slow.answer("b", ["1.1.1.1"]);
    await turn();
    const e = resolver.resolve("e", signal);
    assert.deepEqual(slow.asked, ["a", "b", "c", "e"]);
    slow.answer("e", ["1.1.1.1"]);
    assert.deepEqual(await e, ["1.1.1.1"]);
  });
});
