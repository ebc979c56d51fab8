import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { patternBytes } from "../../../../test/support/chunks.ts";
import { assertBytes } from "../../../../test/support/hex.ts";
import { turns } from "../../../../test/support/turns.ts";
import { METADATA, TARGET, WebSocksHouse } from "../../../../test/support/websocks-house.ts";
import { type ErrorCode, NetworkError, PolicyError, TunnelError } from "../../../errors.ts";

describe("a WebSocks client and server", { timeout: 20_000 }, () => {
  test("carry bytes and ends both ways", async () => {
    const house = new WebSocksHouse();
    const { app, target, request } = await house.stream();
    assert.deepEqual(request.target, TARGET);
    assert.equal(request.metadata.user, "alice");
    assert.equal(request.metadata.inbound, "vproxy test");
    assert.equal(app.connection.info.transport, "vproxy");
    app.connection.write([Buffer.from("question")]);
    await target.received(8);
    target.connection.write([Buffer.from("answer")]);
    await app.received(6);
    app.connection.finish();
    await target.ended();
    target.connection.write([Buffer.from(" and more")]);
    target.connection.finish();
    await app.ended();
    assert.equal(app.text, "answer and more");
    await app.closed();
    await target.closed();
    assert.equal(app.closeError, undefined);
    assert.equal(house.client.status().streams, 0);
    assert.equal(house.server.streamCount, 0);
  });

  test("carry targets of every kind, strictly or not", async () => {
    for (const isStrict of [false, true]) {
      const house = new WebSocksHouse({ isStrict });
      for (const host of ["example.com", "192.0.2.1", "2001:db8::1", "a".repeat(255)]) {
        const opening = house.open({ network: "tcp", host, port: 65_535 });
        const request = await house.request();
        assert.deepEqual(request.target, { network: "tcp", host, port: 65_535 });
        request.accept();
        await opening;
      }
    }
  });

  test("carry bulk with backpressure", async () => {
    const house = new WebSocksHouse();
    const { app, target } = await house.stream();
    const bytes = patternBytes(3_000_000);
    let isTaken = true;
    for (let at = 0; at < bytes.byteLength; at += 100_000) {
      isTaken = app.connection.write([bytes.slice(at, at + 100_000)]) && isTaken;
    }
    assert.equal(isTaken, false);
    await target.received(bytes.byteLength);
    assertBytes(target.bytes, bytes);
    await app.until(() => app.events.includes("drain"));
  });

  test("carry a banner that comes first, with what came behind the reply", async () => {
    const house = new WebSocksHouse();
    const { app, target } = await house.stream();
    target.connection.write([Buffer.from("220 ready")]);
    await turns();
    assert.equal(app.text, "");
    await house.passTime(300);
    assert.equal(app.text, "220 ready");
  });

  test("carry it at once where nothing is held", async () => {
    const house = new WebSocksHouse({}, { holdMs: 0 });
    const opening = house.open();
    const request = await house.request();
    // In the very write of the reply.
    request.accept().write([Buffer.from("220 ready")]);
    const stream = await opening;
    const { promise, resolve } = Promise.withResolvers<string>();
    stream.attach({
      onData: (chunk) => resolve(Buffer.from(chunk).toString()),
      onEnd: () => {},
      onDrain: () => {},
      onClose: () => {},
    });
    stream.resume();
    assert.equal(await promise, "220 ready");
  });

  test("carry resets", async () => {
    for (const side of ["app", "target"] as const) {
      const house = new WebSocksHouse();
      const both = await house.stream();
      both[side].connection.reset(new NetworkError("ERR_CONNECTION_RESET", "cut"));
      await both.app.closed();
      await both.target.closed();
      assert.equal(both.app.closeError?.code, "ERR_CONNECTION_RESET");
      assert.equal(both.target.closeError?.code, "ERR_CONNECTION_RESET");
    }
  });

  test("carry the reason of a refusal", async () => {
    for (const [code, seen] of [
      ["ERR_DIAL_REFUSED", "ERR_DIAL_REFUSED"],
      ["ERR_DIAL_HOST_UNREACHABLE", "ERR_DIAL_HOST_UNREACHABLE"],
      ["ERR_DIAL_NETWORK_UNREACHABLE", "ERR_DIAL_NETWORK_UNREACHABLE"],
      ["ERR_DIAL_TIMEOUT", "ERR_DIAL_TIMEOUT"],
      ["ERR_DNS", "ERR_DNS"],
      ["ERR_POLICY_DENIED", "ERR_DNS"],
      ["ERR_SHUTDOWN", "ERR_DIAL_FAILED"],
    ] as readonly (readonly [ErrorCode, ErrorCode])[]) {
      const house = new WebSocksHouse();
      const opening = house.open();
      const failed = assert.rejects(opening, { name: "StreamReset", code: seen });
      (await house.request()).reject(new PolicyError(code, "no"));
      await failed;
      assert.equal(house.client.status().streams, 0);
      assert.equal(house.server.streamCount, 0);
    }
  });

  test("tell the server when the app gave up", async () => {
    const house = new WebSocksHouse();
    const controller = new AbortController();
    const opening = house.open(TARGET, controller.signal);
    const failed = assert.rejects(opening, { code: "ERR_ABORTED" });
    const request = await house.request();
    controller.abort(new TunnelError("ERR_ABORTED", "gave up"));
    await failed;
    await turns();
    assert.ok(request.signal.aborted);
  });

  test("refuse what cannot be asked for before anything is used up", async () => {
    const house = new WebSocksHouse();
    for (const [target, code] of [
      [{ ...TARGET, network: "udp" }, "ERR_COMMAND_UNSUPPORTED"],
      [{ ...TARGET, host: "a".repeat(256) }, "ERR_ADDRESS_UNSUPPORTED"],
      [{ ...TARGET, host: "" }, "ERR_ADDRESS_UNSUPPORTED"],
    ] as const) {
      await assert.rejects(house.open(target), { code });
    }
    assert.equal(house.carriers.length, 0);
    const signal = AbortSignal.abort(new TunnelError("ERR_ABORTED", "before"));
    await assert.rejects(house.client.open(TARGET, { signal, metadata: METADATA }), {
      message: "before",
    });
  });

  test("accept each other a minute apart, and not two", async () => {
    for (const aheadMs of [-60_000, 60_000]) {
      const house = new WebSocksHouse();
      house.clientAheadMs = aheadMs;
      await house.stream();
    }
    for (const aheadMs of [-120_000, 120_000]) {
      const house = new WebSocksHouse();
      house.clientAheadMs = aheadMs;
      house.client.start();
      await turns(20);
      const { state, detail } = house.client.status();
      assert.equal(state, "down");
      assert.match(detail, /our clock is [12] min \d+ s (?:behind|ahead of) the server's/);
      assert.deepEqual(house.refusals, [], "that can change");
      assert.match(house.serverLogs.text, /password is right for a clock 2 minutes/);
    }
  });

  test("survive any order of opening, refusing, writing and ending", async () => {
    const step = fc.constantFrom("open", "refuse", "write", "finish", "reset", "time");
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
        const house = new WebSocksHouse({ pool: { size: 2 } });
        const streams: Awaited<ReturnType<WebSocksHouse["stream"]>>[] = [];
        for (const what of steps) {
          const last = streams.at(-1);
          if (what === "open") streams.push(await house.stream());
          if (what === "refuse") {
            const failed = assert.rejects(house.open(), { code: "ERR_DIAL_REFUSED" });
            (await house.request()).reject(new NetworkError("ERR_DIAL_REFUSED", "no"));
            await failed;
          }
          if (what === "write") last?.app.connection.write([Buffer.from("x")]);
          if (what === "finish") last?.app.connection.finish();
          if (what === "reset")
            streams.pop()?.target.connection.reset(new NetworkError("ERR_CLOSED", "x"));
          if (what === "time") await house.passTime(1_000, 500);
        }
        const closing = house.client.close(0);
        await house.server.close(0);
        await closing;
        await turns(30);
        assert.equal(house.client.status().links, 0);
        assert.equal(house.server.streamCount + house.server.waitingCount, 0);
        house.clock.advance(6_000);
        assert.equal(house.clock.pending, 0, "no timer is left");
      }),
      { numRuns: 30 },
    );
  });
});
