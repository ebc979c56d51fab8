import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe } from "node:test";
import { SlabPool } from "../src/bytes/slab-pool.ts";
import { systemClock } from "../src/clock/clock.ts";
import { NetworkError } from "../src/errors.ts";
import { parseHeader } from "../src/protocols/pong/codec.ts";
import { PongSession } from "../src/protocols/pong/session.ts";
import { dialTls } from "../src/transports/tls/dial.ts";
import { listenTls } from "../src/transports/tls/listen.ts";
import { dialWs } from "../src/transports/ws/dial.ts";
import { listenWs } from "../src/transports/ws/listen.ts";
import type { Connection, Listener, OnConnection } from "../src/tunnel/connection.ts";
import { connectionPair } from "../src/tunnel/connection-pair.ts";
import { handshake } from "../src/tunnel/handshake.ts";
import { MuxDriver } from "../src/tunnel/mux-driver.ts";
import type { MuxStream } from "../src/tunnel/mux-stream.ts";
import type { Runtime } from "../src/tunnel/runtime.ts";
import { type ConnectedPair, testConnectionCompliance } from "./compliance/connection.ts";
import { skipWithout } from "./support/which.ts";

// TCP and Unix sockets run the same suite in src/transports/tcp/tcp.test.ts.

describe("a pair in memory", () => {
  testConnectionCompliance(() => {
    const [a, b] = connectionPair(runtime());
    return Promise.resolve({ a, b, [Symbol.asyncDispose]: () => Promise.resolve() });
  });
});

describe("a pong stream between two Sluice ends", () => {
  testConnectionCompliance(() => pongStream());
});

describe("over certificates", { skip: skipWithout("openssl") }, () => {
  const folder = mkdtempSync(join(tmpdir(), "sluice-"));
  const tls = { cert: "", key: "" };

  before(() => {
    const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
    const type = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    const names = ["-subj", "/CN=sluice test", "-addext", "subjectAltName=IP:127.0.0.1"];
    const files = ["-keyout", key, "-out", cert];
    execFileSync("openssl", ["req", "-x509", ...type, ...names, ...files], { stdio: "ignore" });
    tls.cert = readFileSync(cert, "utf8");
    tls.key = readFileSync(key, "utf8");
  });

  after(() => rmSync(folder, { recursive: true }));

  describe("a tls connection", () => {
    testConnectionCompliance(() =>
      connected(
        (shared, take) => listenTls({ at: LOOPBACK, runtime: shared, tls }, take),
        (shared, to) => dialTls({ to, runtime: shared, tls: { ca: tls.cert } }),
      ),
    );
  });

  describe("a wss connection", () => {
    testConnectionCompliance(
      () =>
        connected(
          (shared, take) => listenWs({ at: LOOPBACK, runtime: shared, tls }, take),
          (shared, to) => dialWs({ to, runtime: shared, secure: true, tls: { ca: tls.cert } }),
        ),
      { halfCloses: false },
    );
  });
});

describe("a ws connection", () => {
  testConnectionCompliance(
    () =>
      connected(
        (shared, take) => listenWs({ at: LOOPBACK, runtime: shared }, take),
        (shared, to) => dialWs({ to, runtime: shared, secure: false }),
      ),
    { halfCloses: false },
  );
});

const LOOPBACK = { host: "127.0.0.1", port: 0 };

function runtime(): Runtime {
  return { clock: systemClock, random: () => 0.5, slabs: new SlabPool() };
}

async function connected(
  listen: (shared: Runtime, take: OnConnection) => Promise<Listener>,
  dial: (shared: Runtime, to: { host: string; port: number }) => Promise<Connection>,
): Promise<ConnectedPair> {
  const shared = runtime();
  const accepted = Promise.withResolvers<Connection>();
  const listener = await listen(shared, accepted.resolve);
  const port = Number(/:(\d+)$/.exec(listener.address)?.[1]);
  const a = await dial(shared, { host: "127.0.0.1", port });
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

/** Both ends of one stream, with two sessions and two drivers between them. */
async function pongStream(): Promise<ConnectedPair> {
  const shared = runtime();
  const [near, far] = connectionPair(shared);
  const clientId = new Uint8Array(16);
  const common = { runtime: shared, system: "pong", slowReaders: { mode: "pause" } } as const;
  const now = shared.clock.now();

  const local = new PongSession({ side: "local", clientId });
  const localLink = new MuxDriver({ ...common, connection: near, session: local });
  localLink.start(local.start(now));

  const requested = Promise.withResolvers<MuxStream>();
  const bounds = { runtime: shared, timeoutMs: 1_000, phase: "pong header" };
  await handshake(far, parseHeader, bounds);
  const remote = new PongSession({ side: "remote" });
  const onRequest = requested.resolve;
  const remoteLink = new MuxDriver({ ...common, connection: far, session: remote, onRequest });
  remoteLink.start(remote.start(now));

  const target = { network: "tcp", host: "target.example", port: 80 } as const;
  const opening = localLink.open(target, new AbortController().signal);
  const b = await requested.promise;
  remoteLink.accept(b);
  const a = await opening;
  return {
    a,
    b,
    [Symbol.asyncDispose]() {
      localLink.abort(new NetworkError("ERR_CLOSED", "the test is over"));
      return Promise.resolve();
    },
  };
}
