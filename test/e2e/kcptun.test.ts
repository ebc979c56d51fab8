import assert from "node:assert/strict";
import type net from "node:net";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import { type Child, run } from "../support/child-process.ts";
import { lowPort } from "../support/low-port.ts";
import { httpOrigin, type Origin, patternHash, tcpOrigin } from "../support/origin.ts";
import { startSluice } from "../support/tunnel.ts";
import { skipWithout } from "../support/which.ts";

describe("kcptun", { skip: skipWithout("curl"), timeout: 180_000 }, () => {
  const scope = new AsyncDisposableStack();
  let web: number;
  let raw: number;
  let connector: Child;
  let server: Child;
  let startServer: () => Promise<Child>;
  let behave: (socket: net.Socket) => void;

  before(async () => {
    const pages: Origin = scope.use(await httpOrigin());
    const origin: Origin = scope.use(await tcpOrigin((socket) => behave(socket)));
    const ports = await Promise.all([lowPort(), lowPort(), lowPort(), lowPort()]);
    [web, raw] = [ports[0], ports[1]];
    startServer = async () => {
      const urls = [
        `kcptun+kcp://127.0.0.1:${ports[2]}?target=127.0.0.1:${pages.port}`,
        `kcptun+kcp://127.0.0.1:${ports[3]}?target=localhost:${origin.port}&gzip=2048`,
      ];
      const child = scope.use(startSluice(["serve", ...urls]));
      await child.waitFor(/kcptun\+kcp/);
      return child;
    };
    server = await startServer();
    connector = scope.use(
      startSluice(["connect", `kcptun+kcp://127.0.0.1:${ports[2]}`, "-L", `${web}`]),
    );
    const other = scope.use(
      startSluice([
        "connect",
        `kcptun+kcp://127.0.0.1:${ports[3]}?gzip=1024&profile=fast`,
        "-L",
        `${raw}:any.example:80`,
      ]),
    );
    await Promise.all([connector.waitFor(/forward/), other.waitFor(/forward/)]);
  });
  after(async () => await scope.disposeAsync());

  const curl = (...args: readonly string[]): ReturnType<typeof run> =>
    run("curl", ["-sS", "--noproxy", "*", "--max-time", "60", ...args], { deadlineMs: 70_000 });

  test("leads to the one target its server names", async () => {
    const { stdout, stderr } = await curl(`http://127.0.0.1:${web}/hello`);
    assert.equal(stdout, "hello from /hello\n", stderr);
  });

  test("runs 500 requests, 250 at a time", async () => {
    const parallel = ["-Z", "--parallel-immediate", "--parallel-max", "250"];
    const { stdout, stderr } = await curl(...parallel, `http://127.0.0.1:${web}/[1-500]`);
    assert.equal(stdout.match(/hello from/g)?.length, 500, stderr);
  });

  test("carries 64 MiB each way without a bit changed", async () => {
    const size = 64 * 1024 * 1024;
    const url = `http://127.0.0.1:${web}`;
    const pipe = `curl -sS --noproxy '*' ${url}/bytes/${size} | curl -sS --noproxy '*' -T - ${url}/put`;
    const { stdout, stderr } = await run("bash", ["-c", pipe], { deadlineMs: 100_000 });
    assert.equal(stdout, `${size} ${await patternHash(size)}\n`, stderr);
  });

  test("carries half-closes each way, and what a target says first", async () => {
    behave = (socket) => {
      socket.write("welcome, ");
      void everything(socket).then((text) => socket.end(`heard ${text}`));
    };
    const app = connect({ port: raw, host: "127.0.0.1", allowHalfOpen: true });
    app.end("a".repeat(5_000));
    assert.equal(await everything(app), `welcome, heard ${"a".repeat(5_000)}`);
    const heard = Promise.withResolvers<string>();
    behave = (socket) => {
      socket.end("that was all");
      void everything(socket).then(heard.resolve, heard.reject);
    };
    const other = connect({ port: raw, host: "127.0.0.1", allowHalfOpen: true });
    assert.equal(await everything(other), "that was all");
    other.end("and still I speak");
    assert.equal(await heard.promise, "and still I speak");
  });

  test("comes back after the server was started again", async () => {
    server.kill("SIGKILL");
    await server.exit;
    server = await startServer();
    const flags = ["--retry", "10", "--retry-all-errors", "--retry-delay", "1", "--max-time", "5"];
    const { stdout, stderr } = await curl(...flags, `http://127.0.0.1:${web}/again`);
    assert.equal(stdout, "hello from /again\n", `${stderr}\n${connector.stderr}`);
  });
});

async function everything(socket: net.Socket): Promise<string> {
  let text = "";
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) text += String(chunk);
  return text;
}
