import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { describe, test } from "node:test";
import { run } from "../support/child-process.ts";
import { httpOrigin, tcpOrigin } from "../support/origin.ts";
import { freePorts, PONG_TRANSPORTS, startTunnel } from "../support/tunnel.ts";
import { skipWithout } from "../support/which.ts";

const KEEPALIVE_MS = 1000;

/** Twice the keepalive, and what a loaded machine may add. */
const NOTICE_MS = 2 * KEEPALIVE_MS + 1500;

for (const transport of PONG_TRANSPORTS) {
  describe(`liveness of pong over ${transport}`, {
    skip: skipWithout("curl", "openssl"),
    timeout: 60_000,
  }, () => {
    test("notices a frozen remote in time, keeps its ports, and recovers", async () => {
      await using origin = await httpOrigin();
      const [localPort] = await freePorts(2);
      await using tunnel = await startTunnel({
        transport,
        query: "keepalive=1s",
        connectFlags: ["-L", `${localPort}:127.0.0.1:${origin.port}`],
      });
      const client = net.connect({ port: localPort, host: "127.0.0.1" });
      client.write("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
      await tunnel.connect.waitFor(/"msg":"tunnel up"|tunnel up/, { on: "stderr" });
      await curl(tunnel.proxyPort, origin.port); // the stream above was opened before this one
      tunnel.serve.kill("SIGSTOP");
      const frozenAt = performance.now();
      try {
        const [error] = await once(client, "error");
        assert.ok(error instanceof Error && "code" in error && error.code === "ECONNRESET");
        assert.ok(performance.now() - frozenAt < NOTICE_MS, `${performance.now() - frozenAt} ms`);
      } finally {
        tunnel.serve.kill("SIGCONT");
      }
      assert.equal((await curl(tunnel.proxyPort, origin.port)).stdout, "hello from /hello\n");
    });

    test("notices a frozen local in time, and lets go of its targets", async () => {
      const closed = Promise.withResolvers<number>();
      const opened = Promise.withResolvers<void>();
      await using origin = await tcpOrigin((socket) => {
        opened.resolve();
        socket.resume();
        socket.on("close", () => closed.resolve(performance.now()));
      });
      const [localPort] = await freePorts(2);
      await using tunnel = await startTunnel({
        transport,
        query: "keepalive=1s",
        connectFlags: ["-L", `${localPort}:127.0.0.1:${origin.port}`],
      });
      const client = net.connect({ port: localPort, host: "127.0.0.1" });
      client.on("error", () => {}); // reset when the tunnel is lost
      client.write("hello");
      await opened.promise;
      tunnel.connect.kill("SIGSTOP");
      const frozenAt = performance.now();
      try {
        const tookMs = (await closed.promise) - frozenAt;
        assert.ok(tookMs < NOTICE_MS, `${tookMs} ms`);
      } finally {
        tunnel.connect.kill("SIGCONT");
        client.destroy();
      }
    });

    test("waits for a killed remote to come back, then serves the waiting client", async () => {
      await using origin = await httpOrigin();
      await using tunnel = await startTunnel({ transport });
      tunnel.serve.kill("SIGKILL");
      await tunnel.serve.exit;
      await tunnel.connect.waitFor(/tunnel down/, { on: "stderr" });
      const waiting = curl(tunnel.proxyPort, origin.port);
      await tunnel.restartServe();
      assert.equal((await waiting).stdout, "hello from /hello\n");
    });
  });
}

test("fails a client with the reason when the tunnel stays down", {
  skip: skipWithout("curl"),
  timeout: 30_000,
}, async () => {
  await using tunnel = await startTunnel();
  tunnel.serve.kill("SIGKILL");
  await tunnel.serve.exit;
  const result = await run("curl", [
    "-s",
    "-i",
    "--max-time",
    "20",
    "-x",
    `http://127.0.0.1:${tunnel.proxyPort}`,
    "http://127.0.0.1:1/",
  ]);
  assert.match(result.stdout, /^HTTP\/1\.1 503 /);
  assert.match(result.stdout, /connection refused/);
});

test("lets running streams finish on SIGTERM, and accepts no new ones", {
  timeout: 30_000,
}, async () => {
  let finish: (() => void) | undefined;
  await using origin = await tcpOrigin((socket) => {
    socket.write("the beginning, ");
    finish = () => void socket.end("and the end");
    socket.resume();
  });
  const [localPort] = await freePorts(2);
  await using tunnel = await startTunnel({
    connectFlags: ["-L", `${localPort}:127.0.0.1:${origin.port}`],
  });
  await tunnel.connect.waitFor(/forward/); // the start-up table: every port is open
  const client = net.connect({ port: localPort, host: "127.0.0.1", allowHalfOpen: true });
  let text = "";
  client.on("data", (chunk: Buffer) => {
    text += chunk.toString();
  });
  await once(client, "data");
  tunnel.connect.kill("SIGTERM");
  await tunnel.connect.waitFor(/shutting down/, { on: "stderr" });
  const late = net.connect({ port: localPort, host: "127.0.0.1" });
  // The system may forget, without a word, whom it took in the moment the port was closed.
  late.write("anybody there?");
  const [refused] = await once(late, "error");
  // Refused, or reset when the system had taken it in the moment before the port was closed.
  assert.ok(refused instanceof Error && "code" in refused);
  assert.match(String(refused.code), /^ECONN(REFUSED|RESET)$/);
  finish?.();
  client.end();
  await once(client, "close");
  assert.equal(text, "the beginning, and the end");
  assert.equal((await tunnel.connect.exit).code, 0);
});

function curl(proxyPort: number, originPort: number): ReturnType<typeof run> {
  const proxy = ["--socks5-hostname", `127.0.0.1:${proxyPort}`];
  return run("curl", ["-sS", "--max-time", "15", ...proxy, `http://127.0.0.1:${originPort}/hello`]);
}
