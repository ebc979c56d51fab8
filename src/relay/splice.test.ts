import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import net from "node:net";
import { once } from "node:events";
import { setImmediate as turn } from "node:timers/promises";
import { describe, test } from "node:test";
import fc from "fast-check";
import { SlabPool } from "../bytes/slab-pool.ts";
import { ManualClock } from "../clock/manual-clock.ts";
import { NetworkError, type TunnelError } from "../errors.ts";
import { dialTcp } from "../transports/tcp/dial.ts";
import { listenTcp } from "../transports/tcp/listen.ts";
import type { Connection, ConnectionHandler, ConnectionInfo } from "../tunnel/connection.ts";
import { connectionPair } from "../tunnel/connection-pair.ts";
import { type Runtime, systemRuntime } from "../tunnel/runtime.ts";
import { type Splice, splice, type SpliceOptions, type SpliceResult } from "./splice.ts";

function manualRuntime(): Runtime & { readonly clock: ManualClock } {
  return { clock: new ManualClock(), random: () => 0, slabs: new SlabPool() };
}

/** A connection whose every call is recorded and whose events the test makes. */
class StubConnection implements Connection {
  readonly info: ConnectionInfo = { transport: "stub", local: "-", peer: "-" };
  pendingBytes = 0;
  isFull = false;
  readonly calls: string[] = [];
  written = 0;
  handler: ConnectionHandler | undefined;

  attach(handler: ConnectionHandler): void {
    this.handler = handler;
  }
  detach(): void {
    this.handler = undefined;
  }
  pause(): void {
    this.calls.push("pause");
  }
  resume(): void {
    this.calls.push("resume");
  }
  unshift(): void {
    this.calls.push("unshift");
  }
  write(chunks: readonly Uint8Array[]): boolean {
    for (const chunk of chunks) this.written += chunk.byteLength;
    return !this.isFull;
  }
  finish(): void {
    this.calls.push("finish");
  }
  close(): void {
    this.calls.push("close");
  }
  reset(cause: TunnelError): void {
    this.calls.push(`reset ${cause.code}`);
  }
}

interface Stubs {
  readonly clock: ManualClock;
  readonly client: StubConnection;
  readonly target: StubConnection;
  readonly results: SpliceResult[];
  readonly running: Splice;
}

function stubs(options: Partial<SpliceOptions> = {}): Stubs {
  const clock = new ManualClock();
  const client = new StubConnection();
  const target = new StubConnection();
  const results: SpliceResult[] = [];
  const running = splice(client, target, {
    clock,
    onClose: (result) => results.push(result),
    ...options,
  });
  client.calls.length = 0;
  target.calls.length = 0;
  return { clock, client, target, results, running };
}

const bytes = (length: number): Uint8Array => new Uint8Array(length).fill(7);

describe("splice", () => {
  test("counts each way and reports once when both legs are gone", () => {
    const { client, target, results, running, clock } = stubs();
    client.handler?.onData(bytes(5));
    target.handler?.onData(bytes(70));
    assert.deepEqual([running.bytesUp, running.bytesDown], [5, 70]);
    assert.deepEqual([client.written, target.written], [70, 5]);
    client.handler?.onEnd();
    assert.deepEqual(target.calls, ["finish"]);
    target.handler?.onData(bytes(30));
    target.handler?.onEnd();
    assert.deepEqual(client.calls, ["finish"]);
    client.handler?.onClose(undefined);
    assert.equal(results.length, 0);
    target.handler?.onClose(undefined);
    assert.deepEqual(results, [{ bytesUp: 5, bytesDown: 100, error: undefined, side: undefined }]);
    assert.equal(clock.pending, 0);
  });

  test("stops reading one leg while the other is full, and only that one", () => {
    const { client, target } = stubs();
    target.isFull = true;
    client.handler?.onData(bytes(9));
    assert.deepEqual(client.calls, ["pause"]);
    target.handler?.onData(bytes(9));
    assert.deepEqual(target.calls, []);
    target.handler?.onDrain();
    assert.deepEqual(client.calls, ["pause", "resume"]);
  });

  test("keeps a hard end hard and blames the leg that said so", () => {
    for (const [first, side] of [
      ["client", "client"],
      ["target", "target"],
    ] as const) {
      const { client, target, results, clock } = stubs();
      const [dying, other] = first === "client" ? [client, target] : [target, client];
      const error = new NetworkError("ERR_CONNECTION_RESET", "reset");
      dying.handler?.onClose(error);
      assert.deepEqual(other.calls, ["reset ERR_CONNECTION_RESET"]);
      other.handler?.onClose(new NetworkError("ERR_ABORTED", "later and less telling"));
      assert.deepEqual(results, [{ bytesUp: 0, bytesDown: 0, error, side }]);
      assert.equal(clock.pending, 0);
    }
  });

  test("lets a leg that has said everything flush in its own time", () => {
    const { client, target } = stubs();
    client.handler?.onEnd();
    target.handler?.onEnd();
    target.handler?.onClose(undefined);
    // Not `close`, whose patience is bounded: the client may read the rest slowly.
    assert.deepEqual(client.calls, ["finish", "finish"]);
  });

  test("closes a leg whose counterpart went in order without waiting for it", () => {
    const { client, target } = stubs();
    target.handler?.onClose(undefined);
    assert.deepEqual(client.calls, ["close"]);
  });

  test("never ends an idle stream unless told to", () => {
    const quiet = stubs();
    assert.equal(quiet.clock.pending, 0);
    const { clock, client, target, results } = stubs({ idleTimeoutMs: 1_000 });
    clock.advance(900);
    client.handler?.onData(bytes(1));
    clock.advance(1_000);
    assert.equal(results.length, 0);
    clock.advance(250);
    assert.equal(results[0]?.error?.code, "ERR_IDLE_TIMEOUT");
    assert.equal(results[0]?.error?.message, "no byte moved for 1000 ms");
    assert.equal(results[0]?.side, undefined);
    assert.deepEqual(client.calls, ["reset ERR_IDLE_TIMEOUT"]);
    assert.deepEqual(target.calls, ["reset ERR_IDLE_TIMEOUT"]);
    client.handler?.onClose(undefined);
    target.handler?.onClose(undefined);
    assert.equal(results.length, 1);
    assert.equal(clock.pending, 0);
  });

  test("ends a half-closed stream on which nothing moves for two minutes", () => {
    const { clock, client, target, results } = stubs();
    client.handler?.onEnd();
    for (let minute = 0; minute < 10; minute++) {
      clock.advance(60_000);
      if (minute % 2 === 0) target.handler?.onData(bytes(1));
      else client.pendingBytes++; // a slow reader takes bytes: that counts
    }
    assert.equal(results.length, 0);
    clock.advance(150_000);
    assert.equal(
      results[0]?.error?.message,
      "no byte moved for 120000 ms after one side had finished",
    );
    assert.equal(clock.pending, 0);
  });

  test("reports even when a leg never says that it is gone", () => {
    const { clock, client, results } = stubs();
    client.handler?.onClose(undefined);
    clock.advance(150_000);
    assert.equal(results.length, 1);
    assert.equal(clock.pending, 0);
  });

  test("aborts both legs and reports at once", () => {
    const { clock, client, target, results, running } = stubs();
    client.handler?.onEnd();
    const error = new NetworkError("ERR_SHUTDOWN", "bye");
    running.abort(error);
    running.abort(error);
    assert.deepEqual(client.calls, ["reset ERR_SHUTDOWN"]);
    assert.equal(target.calls.at(-1), "reset ERR_SHUTDOWN");
    assert.deepEqual(results, [{ bytesUp: 0, bytesDown: 0, error, side: undefined }]);
    assert.equal(clock.pending, 0);
  });

  test("takes legs that are gone before it starts", async () => {
    const runtime = manualRuntime();
    const [client] = connectionPair(runtime);
    const [target, far] = connectionPair(runtime);
    far.reset(new NetworkError("ERR_CONNECTION_RESET", "early"));
    await turn();
    const result = await new Promise<SpliceResult>((onClose) => {
      splice(client, target, { clock: runtime.clock, onClose });
    });
    assert.equal(result.error?.message, "early");
    assert.equal(result.side, "target");
  });

  test("carries any bytes in any chunks both ways, then the ends", async () => {
    const chunks = fc.array(fc.uint8Array({ minLength: 1, maxLength: 2_000 }), { maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(chunks, chunks, async (up, down) => {
        const runtime = manualRuntime();
        const [browser, client] = connectionPair(runtime);
        const [target, server] = connectionPair(runtime);
        const ended = new Promise<SpliceResult>((onClose) => {
          splice(client, target, { clock: runtime.clock, onClose });
        });
        const [toServer, toBrowser] = [collect(server), collect(browser)];
        for (const chunk of up) browser.write([chunk.slice()]);
        browser.finish();
        for (const chunk of down) server.write([chunk.slice()]);
        assert.deepEqual(await toServer, Buffer.concat(up));
        server.finish();
        assert.deepEqual(await toBrowser, Buffer.concat(down));
        const { bytesUp, bytesDown, error } = await ended;
        assert.deepEqual(
          [bytesUp, bytesDown, error],
          [Buffer.concat(up).byteLength, Buffer.concat(down).byteLength, undefined],
        );
        assert.equal(runtime.clock.pending, 0);
      }),
      { numRuns: 40 },
    );
  });
});

/** All bytes up to the other end's end. */
function collect(connection: Connection): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Uint8Array[] = [];
    connection.attach({
      onData: (chunk) => chunks.push(chunk),
      onEnd: () => resolve(Buffer.concat(chunks)),
      onDrain: () => {},
      onClose: (error) => reject(error ?? new Error("closed without an end")),
    });
    connection.resume();
  });
}

describe("splice over TCP", () => {
  /** A relay in front of a plain `net` server; both are the test's to break. */
  async function relayed(
    onServed: (socket: net.Socket) => void,
  ): Promise<{ socket: net.Socket; ended: Promise<SpliceResult> } & AsyncDisposable> {
    const runtime = systemRuntime();
    const server = net.createServer({ allowHalfOpen: true }, onServed).listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    assert.ok(address !== null && typeof address === "object");
    const to = { host: "127.0.0.1", port: address.port };
    const { promise: ended, resolve: onClose } = Promise.withResolvers<SpliceResult>();
    const listener = await listenTcp({ runtime, at: { host: "127.0.0.1", port: 0 } }, (client) => {
      void dialTcp({ runtime, to }).then((target) =>
        splice(client, target, { clock: runtime.clock, onClose }),
      );
    });
    const port = Number(/\d+$/.exec(listener.address)?.[0]);
    const socket = net.connect({ host: "127.0.0.1", port, allowHalfOpen: true });
    socket.on("error", () => {}); // looked at through `once`
    return {
      socket,
      ended,
      [Symbol.asyncDispose]: async () => {
        socket.destroy();
        server.close();
        await listener.close();
      },
    };
  }

  test("answers after the client's half-close, and the other way round", async () => {
    await using up = await relayed((served) => {
      let length = 0;
      served.on("data", (chunk: Buffer) => (length += chunk.byteLength));
      served.on("end", () => served.end(`got ${length}`));
    });
    up.socket.end("hello");
    const [answer] = await once(up.socket, "data");
    assert.equal(String(answer), "got 5");
    const { bytesUp, bytesDown, error } = await up.ended;
    assert.deepEqual([bytesUp, bytesDown, error], [5, 5, undefined]);

    const heard = Promise.withResolvers<string>();
    await using down = await relayed((served) => {
      served.end("banner");
      served.on("data", (chunk: Buffer) => heard.resolve(String(chunk)));
    });
    down.socket.resume();
    await once(down.socket, "end");
    down.socket.end("still here");
    assert.equal(await heard.promise, "still here");
    assert.equal((await down.ended).error, undefined);
  });

  test("lets the client see a target's RST as ECONNRESET", async () => {
    await using both = await relayed((served) => {
      served.once("data", () => served.resetAndDestroy());
      served.on("error", () => {});
    });
    both.socket.write("hello");
    const [error] = await once(both.socket, "error");
    assert.ok(error instanceof Error && "code" in error);
    assert.equal(error.code, "ECONNRESET");
    const result = await both.ended;
    assert.equal(result.error?.code, "ERR_CONNECTION_RESET");
    assert.equal(result.side, "target");
  });

  test("lets the target see a client's RST as ECONNRESET", async () => {
    const seen = Promise.withResolvers<unknown>();
    await using both = await relayed((served) => {
      served.on("error", (error) => seen.resolve("code" in error && error.code));
      served.write("hello");
    });
    await once(both.socket, "data");
    both.socket.resetAndDestroy();
    assert.equal(await seen.promise, "ECONNRESET");
    assert.equal((await both.ended).side, "client");
  });

  test("stops reading a fast server while the client does not read", async () => {
    const total = 64 * 1024 * 1024;
    const chunk = Buffer.alloc(64 * 1024, 1);
    let sent = 0;
    let stalls = 0;
    const stalled = Promise.withResolvers<void>();
    await using both = await relayed((served) => {
      const pump = (): void => {
        while (sent < total) {
          sent += chunk.byteLength;
          if (served.write(chunk)) continue;
          stalls++;
          served.once("drain", pump);
          return;
        }
        served.end();
      };
      served.on("error", () => {});
      // Nothing drains for several polls in a row: every buffer on the way is full.
      let [last, quiet] = [-1, 0];
      const poll = setInterval(() => {
        quiet = stalls === last ? quiet + 1 : 0;
        last = stalls;
        if (quiet < 5) return;
        clearInterval(poll);
        stalled.resolve();
      }, 20);
      pump();
    });
    await once(both.socket, "connect");
    await stalled.promise;
    assert.ok(sent < total, `all ${sent} bytes were taken without a reader`);
    const hash = createHash("sha256");
    let received = 0;
    both.socket.on("data", (data: Buffer) => {
      received += data.byteLength;
      hash.update(data);
    });
    await once(both.socket, "end");
    both.socket.end();
    assert.equal(received, total);
    const expected = createHash("sha256").update(Buffer.alloc(total, 1)).digest("hex");
    assert.equal(hash.digest("hex"), expected);
    assert.equal((await both.ended).bytesDown, total);
  });
});
