import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { type Child, run, start } from "../support/child-process.ts";
import { ENV, portOf, sluice, startEcho, startSluice } from "../support/sluice-process.ts";
import { CLIENT_ID, freePorts, SLUICE } from "../support/tunnel.ts";

describe("sluice connect -L -:HOST:PORT", () => {
  test("joins standard input and output, half-close each way, and prints nothing else", async () => {
    await using echo = await startEcho();
    const [port] = await freePorts(1);
    const allow = ["--allow", `127.0.0.1:${echo.port}`];
    const client = ["--client", "alice=env:ID"];
    await using serve = startSluice(
      ["serve", `pong+tcp://127.0.0.1:${port}`, ...client, ...allow],
      {
        ID: CLIENT_ID,
      },
    );
    await serve.waitFor(/LISTENER/);
    const url = `pong+tcp://env:ID@127.0.0.1:${port}`;
    const args = [SLUICE, "connect", url, "-L", `-:127.0.0.1:${echo.port}`];
    const input = "x".repeat(300_000);
    const env = { ...ENV, ID: CLIENT_ID };
    const { code, stdout, stderr } = await run(process.execPath, args, { env, input });
    assert.equal(stdout.length, input.length);
    assert.equal(stdout, input);
    assert.equal(stderr, "");
    assert.equal(code, 0);

    const refused = [SLUICE, "connect", url, "-L", "-:127.0.0.1:1"];
    const failed = await run(process.execPath, refused, { env, input });
    assert.equal(failed.code, 3);
    assert.match(failed.stderr, /sluice: .*refuse/);
  });

  test("ends the output when the far side ends, though the input stays open", async () => {
    const server = net.createServer((socket) => socket.on("error", () => {}).end("banner"));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const target = `127.0.0.1:${portOf(server)}`;
    const [port] = await freePorts(1);
    const client = ["--client", `alice=${CLIENT_ID}`, "--allow", target];
    await using serve = startSluice(["serve", `pong+tcp://127.0.0.1:${port}`, ...client]);
    await serve.waitFor(/LISTENER/);
    const url = `pong+tcp://${CLIENT_ID}@127.0.0.1:${port}`;
    const args = [SLUICE, "connect", url, "-L", `-:${target}`];
    await using child = start(process.execPath, args, { env: ENV, keepsStdinOpen: true });
    const { stdin, stdout } = child.process;
    assert.ok(stdin && stdout);
    await once(stdout, "end");
    assert.equal(child.stdout, "banner");
    stdin.end();
    assert.equal((await child.exit).code, 0);
    server.close();
  });
});

describe("ending", () => {
  test("waits for running streams, and stops waiting at a second signal", async () => {
    const { up, socket } = await withStream("1h");
    await using _ = up;
    up.kill("SIGTERM");
    await up.waitFor(/"shutting down"/, { on: "stderr" });
    socket.write("still here");
    const [data] = await once(socket, "data");
    assert.equal(String(data), "still here");
    up.kill("SIGTERM");
    assert.equal((await up.exit).code, 0);
    socket.destroy();
  });

  test("ends what still runs after the grace", async () => {
    const { up, socket } = await withStream("100ms");
    await using _ = up;
    up.kill("SIGINT");
    assert.equal((await up.exit).code, 0);
    socket.destroy();
  });

  /** A forward with one stream through it. */
  async function withStream(grace: string): Promise<{ up: Child; socket: net.Socket }> {
    const echo = net.createServer((peer) => {
      peer.on("error", () => {}).pipe(peer);
    });
    echo.listen(0, "127.0.0.1").unref();
    await once(echo, "listening");
    const [port] = await freePorts(1);
    const target = `127.0.0.1:${portOf(echo)}`;
    const url = `pong+tcp://127.0.0.1:0`;
    const flags = ["--anonymous", "--grace", grace, "-L", `${port}:${target}`];
    const folder = await mkdtemp(join(tmpdir(), "sluice-end-"));
    const file = join(folder, "sluice.yaml");
    const { stdout: yaml } = await sluice(["print-config", "serve", url, ...flags]);
    await writeFile(file, `${yaml}allow: ["${target}"]\n`);
    const up = startSluice(["run", file]);
    await up.waitFor(/LISTENER/);
    await rm(folder, { recursive: true });
    const socket = net.connect(port, "127.0.0.1").on("error", () => {});
    socket.write("hello");
    await once(socket, "data");
    return { up, socket };
  }
});
