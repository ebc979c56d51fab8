import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { access, mkdtemp, rm, symlink } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import {
  type ConnectedPair,
  testConnectionCompliance,
} from "../../../test/compliance/connection.ts";
import { run } from "../../../test/support/child-process.ts";
import { patternBytes } from "../../../test/support/chunks.ts";
import { Recorder } from "../../../test/support/recorder.ts";
import { settled, turns } from "../../../test/support/turns.ts";
import { SlabPool } from "../../bytes/slab-pool.ts";
import { systemClock } from "../../clock/clock.ts";
import { ManualClock } from "../../clock/manual-clock.ts";
import { ConfigError, NetworkError } from "../../errors.ts";
import { splice, type SpliceResult } from "../../relay/splice.ts";
import type { Connection, Listener } from "../../tunnel/connection.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import { dialTcp } from "./dial.ts";
import { listenTcp } from "./listen.ts";
import { rewrapAccepted } from "./tcp-connection.ts";

describe("tcp", () => {
  testConnectionCompliance(() => connectedPair({ host: "127.0.0.1", port: 0 }));

  test("names both ends by address", async () => {
    await using pair = await connectedPair({ host: "127.0.0.1", port: 0 });
    assert.equal(pair.a.info.transport, "tcp");
    assert.match(pair.a.info.peer, /^127\.0\.0\.1:\d+$/);
    assert.equal(pair.a.info.peer, pair.b.info.local);
    assert.equal(pair.a.info.local, pair.b.info.peer);
  });

  test("gives an accepted socket the bulk reader", async () => {
    await using server = await rawServer((socket) => {
      const { reader, socket: rewrapped } = rewrapAccepted(socket, runtime());
      rewrapped.destroy();
      assert.ok(reader !== undefined, "Node's internals changed: reads got slower");
    });
    const client = net.connect(server.port, "127.0.0.1");
    await once(client, "close");
  });

  test("uses an accepted socket as it is when it cannot be rewrapped", () => {
    const socket = new net.Socket();
    const rewrapped = rewrapAccepted(socket, runtime());
    assert.equal(rewrapped.socket, socket);
    assert.equal(rewrapped.reader, undefined);
  });

  test("sees the reset of a plain client, and a plain client sees ours", async () => {
    await using server = await connectionServer();
    const resetting = net.connect({ port: server.port, host: "127.0.0.1" });
    const ours = new Recorder(await server.next());
    ours.connection.resume();
    resetting.resetAndDestroy();
    await ours.closed();
    assert.deepEqual(ours.events, ["close ERR_CONNECTION_RESET"]);
    assert.match(ours.closeError?.message ?? "", /^tcp 127\.0\.0\.1:\d+: ECONNRESET$/);

    const reading = net.connect({ port: server.port, host: "127.0.0.1" });
    const theirs = await server.next();
    theirs.reset(new NetworkError("ERR_STREAM_RESET", "test"));
    const [error] = await once(reading, "error");
    assert.ok(error instanceof Error && "code" in error);
    assert.equal(error.code, "ECONNRESET");
  });

  test("half-closes each way with a plain client", async () => {
    await using server = await connectionServer();
    const client = net.connect({ port: server.port, host: "127.0.0.1", allowHalfOpen: true });
    const ours = new Recorder(await server.next());
    ours.connection.resume();
    client.end("question");
    await ours.ended();
    assert.equal(ours.text, "question");
    ours.connection.write([Buffer.from("answer")]);
    ours.connection.finish();
    assert.equal((await client.toArray()).join(""), "answer");
    await ours.closed();
    assert.deepEqual(ours.events, ["end", "close"]);
  });

  test("stops reading a socket while its output is full", async () => {
    const shared = runtime();
    await using source = await rawServer((socket) => flood(socket));
    await using sink = await rawServer((socket) => void socket.pause());
    const from = await dialTcp({ to: source.address, runtime: shared });
    const to = await dialTcp({ to: sink.address, runtime: shared });
    const counts = splice(from, to, { clock: shared.clock, onClose: () => {} });
    const read = await settled(() => counts.bytesUp);
    assert.ok(read > 0 && read < 64 * MIB, `${read} bytes read for a reader who takes nothing`);
    assert.ok(to.pendingBytes <= 1 * MIB, `${to.pendingBytes} bytes waiting`);
    from.reset(new NetworkError("ERR_ABORTED", "enough"));
  });

  test("carries bulk unharmed past slow readers that share few slabs", async () => {
    const shared = runtime({ slabs: new SlabPool(64 * 1024, 3) });
    const bytes = patternBytes(8 * MIB);
    const wanted = createHash("sha256").update(bytes).digest("hex");
    await using source = await rawServer((socket) => void socket.end(bytes));
    const relayed = async (isSlow: boolean): Promise<string> => {
      const hashed = Promise.withResolvers<string>();
      await using sink = await rawServer((socket) => {
        hash(socket, isSlow).then(hashed.resolve, hashed.reject);
      });
      const from = await dialTcp({ to: source.address, runtime: shared });
      const to = await dialTcp({ to: sink.address, runtime: shared });
      const over = Promise.withResolvers<SpliceResult>();
      splice(from, to, { clock: shared.clock, onClose: over.resolve });
      const digest = await hashed.promise;
      const { bytesUp, error } = await over.promise;
      assert.equal(error, undefined);
      assert.equal(bytesUp, bytes.byteLength);
      return digest;
    };
    const digests = await Promise.all([true, false, true, false, true].map(relayed));
    for (const digest of digests) assert.equal(digest, wanted);
  });

  test("returns the server's count of open connections", async () => {
    const accepted: net.Socket[] = [];
    await using server = await rawServer((socket) => {
      const { socket: rewrapped } = rewrapAccepted(socket, runtime());
      rewrapped.on("data", () => {});
      accepted.push(rewrapped);
    });
    const client = net.connect({ port: server.port, host: "127.0.0.1", allowHalfOpen: true });
    client.resume();
    await once(server.server, "connection");
    assert.equal(await connections(server.server), 1);
    const closed = once(server.server, "close");
    server.server.close();
    accepted[0]?.end();
    client.end();
    await closed;
  });

  test("stops accepting at the limit and goes on when one is gone", async () => {
    await using server = await connectionServer({ maxConnections: 1 });
    const first = plainClient(server.port);
    const one = await server.next();
    const refused = plainClient(server.port);
    await refused.closed;
    one.reset(new NetworkError("ERR_CLOSED", "make room"));
    await first.closed;
    const second = plainClient(server.port);
    const two = await server.next();
    two.reset(new NetworkError("ERR_CLOSED", "the test is over"));
    await second.closed;
  });

  test("frees the port at close and lets accepted connections live", async () => {
    await using server = await connectionServer();
    const client = net.connect({ port: server.port, host: "127.0.0.1" });
    const ours = new Recorder(await server.next());
    await server.listener.close();
    await using again = await connectionServer({ port: server.port });
    assert.equal(again.port, server.port);
    client.write("still here");
    ours.connection.resume();
    await ours.received(10);
    client.destroy();
    await ours.until(() => ours.events.length > 0);
    ours.connection.close();
  });

  test("tells what a taken or foreign address means", async () => {
    await using server = await connectionServer();
    const taken = { host: "127.0.0.1", port: server.port };
    await assert.rejects(
      listenTcp({ at: taken, runtime: runtime() }, () => {}),
      (error) =>
        error instanceof ConfigError &&
        error.code === "ERR_LISTEN" &&
        error.message ===
          `cannot listen on 127.0.0.1:${server.port}: the address is already in use` &&
        error.hint === "choose another port, or stop the other program",
    );
    const foreign = { host: "192.0.2.1", port: 0 };
    await assert.rejects(
      listenTcp({ at: foreign, runtime: runtime() }, () => {}),
      { code: "ERR_LISTEN", message: /not one of this machine's/ },
    );
  });

  test("names the target and the reason when a dial fails", async () => {
    const gone = await freePort();
    await assert.rejects(dialTcp({ to: { host: "127.0.0.1", port: gone }, runtime: runtime() }), {
      code: "ERR_DIAL_REFUSED",
      message: `127.0.0.1:${gone}: connection refused`,
    });
    await assert.rejects(dialTcp({ to: { path: "/nonexistent/sock" }, runtime: runtime() }), {
      code: "ERR_DIAL_REFUSED",
      message: "/nonexistent/sock: no such socket file",
    });
    const lookup: net.LookupFunction = (_host, _options, callback) =>
      callback(Object.assign(new Error("no"), { code: "ENOTFOUND" }), []);
    const name = { host: "name.invalid", port: 1 };
    await assert.rejects(dialTcp({ to: name, runtime: runtime(), lookup }), {
      code: "ERR_DNS",
      message: "name.invalid:1: name does not resolve",
    });
  });

  test("gives up a dial at its deadline or when aborted, and leaves no timer", async () => {
    const clock = new ManualClock();
    const shared = runtime({ clock });
    const lookup: net.LookupFunction = () => {}; // never answers
    const to = { host: "slow.invalid", port: 1 };
    const late = assert.rejects(dialTcp({ to, runtime: shared, lookup, connectTimeoutMs: 3_000 }), {
      code: "ERR_DIAL_TIMEOUT",
      message: /no answer to connect within 3000 ms/,
    });
    clock.advance(3_000);
    await late;
    const abort = new AbortController();
    const reason = new Error("changed my mind");
    const aborted = assert.rejects(
      dialTcp({ to, runtime: shared, lookup, signal: abort.signal }),
      reason,
    );
    abort.abort(reason);
    await aborted;
    await assert.rejects(dialTcp({ to, runtime: shared, lookup, signal: abort.signal }), reason);
    assert.equal(clock.pending, 0);
  });
});

describe("unix sockets", { skip: process.platform === "win32" ? "no Unix sockets" : false }, () => {
  // The kernel has no RST for them: a reset reads as an end unless bytes were left unread.
  testConnectionCompliance(
    async () => {
      const folder = await temporaryFolder();
      const pair = await connectedPair({ path: join(folder.path, "s") });
      return {
        ...pair,
        async [Symbol.asyncDispose]() {
          await pair[Symbol.asyncDispose]();
          await folder[Symbol.asyncDispose]();
        },
      };
    },
    { showsResets: false },
  );

  test("replaces a stale socket file, and no other", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "s");
    await leaveStaleSocket(path);
    await access(path);
    const options = { at: { path }, runtime: runtime() };
    await using listener = await listenTcp(options, () => {});
    assert.equal(listener.address, path);
    await assert.rejects(
      listenTcp(options, () => {}),
      {
        code: "ERR_LISTEN",
        message: `cannot listen on ${path}: the address is already in use`,
      },
    );
    const link = join(folder.path, "link");
    await symlink(path, link);
    await assert.rejects(
      listenTcp({ ...options, at: { path: link } }, () => {}),
      {
        code: "ERR_LISTEN",
      },
    );
  });

  test("removes its socket file at close", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "s");
    const listener = await listenTcp({ at: { path }, runtime: runtime() }, () => {});
    await listener.close();
    await listener.close();
    await assert.rejects(access(path));
  });
});

const MIB = 1024 * 1024;

function runtime(parts: Partial<Runtime> = {}): Runtime {
  return { clock: systemClock, random: () => 0.5, slabs: new SlabPool(), ...parts };
}

async function connectedPair(
  at: { readonly host: string; readonly port: number } | { readonly path: string },
): Promise<ConnectedPair> {
  const shared = runtime();
  const accepted = Promise.withResolvers<Connection>();
  const listener = await listenTcp({ at, runtime: shared }, accepted.resolve);
  const to = "path" in at ? at : { host: at.host, port: portOf(listener) };
  const a = await dialTcp({ to, runtime: shared });
  const b = await accepted.promise;
  return {
    a,
    b,
    async [Symbol.asyncDispose]() {
      const over = new NetworkError("ERR_CLOSED", "the test is over");
      a.reset(over);
      b.reset(over);
      await listener.close();
    },
  };
}

/** Our listener, and what it accepted, one by one. */
async function connectionServer({
  port = 0,
  maxConnections,
}: {
  port?: number;
  maxConnections?: number;
} = {}): Promise<
  { listener: Listener; port: number; next(): Promise<Connection> } & AsyncDisposable
> {
  const waiting: ((connection: Connection) => void)[] = [];
  const accepted: Connection[] = [];
  const listener = await listenTcp(
    { at: { host: "127.0.0.1", port }, runtime: runtime(), maxConnections },
    (connection) => {
      const take = waiting.shift();
      if (take === undefined) accepted.push(connection);
      else take(connection);
    },
  );
  return {
    listener,
    port: portOf(listener),
    next() {
      const connection = accepted.shift();
      if (connection !== undefined) return Promise.resolve(connection);
      return new Promise((resolve) => waiting.push(resolve));
    },
    [Symbol.asyncDispose]: () => listener.close(),
  };
}

/** A plain Node server on loopback; its sockets end with it. */
async function rawServer(onSocket: (socket: net.Socket) => void): Promise<
  {
    server: net.Server;
    port: number;
    address: { host: string; port: number };
  } & AsyncDisposable
> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {}); // the other end's to judge
    onSocket(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  return {
    server,
    port: address.port,
    address: { host: "127.0.0.1", port: address.port },
    [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      return Promise.resolve();
    },
  };
}

/** A client whose end may be hard or not, as the kernel likes. */
function plainClient(port: number): { closed: Promise<void> } {
  const socket = net.connect({ port, host: "127.0.0.1" });
  socket.on("error", () => {}); // a close follows
  return { closed: new Promise((resolve) => socket.once("close", () => resolve())) };
}

function flood(socket: net.Socket): void {
  const chunk = Buffer.alloc(64 * 1024);
  const more = (): void => {
    while (!socket.destroyed && socket.write(chunk));
  };
  socket.on("drain", more);
  more();
}

/** The sha256 of everything read; a slow reader takes a break after every chunk. */
async function hash(socket: net.Socket, isSlow: boolean): Promise<string> {
  const sum = createHash("sha256");
  for await (const chunk of socket) {
    assert.ok(chunk instanceof Uint8Array);
    sum.update(chunk);
    if (isSlow) await turns(3);
  }
  socket.end();
  return sum.digest("hex");
}

/** A socket file whose listener died without removing it. */
async function leaveStaleSocket(path: string): Promise<void> {
  const program = `
    require("node:net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"));
  `;
  await run(process.execPath, ["-e", program]);
}

async function freePort(): Promise<number> {
  await using server = await rawServer(() => {});
  return server.port;
}

function connections(server: net.Server): Promise<number> {
  return new Promise((resolve, reject) =>
    server.getConnections((error, count) => (error === null ? resolve(count) : reject(error))),
  );
}

function portOf(listener: Listener): number {
  return Number(/:(\d+)$/.exec(listener.address)?.[1]);
}

async function temporaryFolder(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), "sluice-"));
  return {
    path,
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}
