import assert from "node:assert/strict";
import { once } from "node:events";
import type net from "node:net";
import { after, before, describe, test } from "node:test";
import { run } from "../support/child-process.ts";
import { httpOrigin, type Origin, patternHash, tcpOrigin } from "../support/origin.ts";
import { SocksRefused, socksConnect } from "../support/socks-app.ts";
import { VPROXY_TRANSPORTS, VproxyTunnel } from "../support/vproxy-tunnel.ts";
import { skipWithout } from "../support/which.ts";

for (const transport of VPROXY_TRANSPORTS) {
  const skip = skipWithout("curl", "openssl");
  describe(`vproxy over ${transport}`, { skip, timeout: 180_000 }, () => {
    let web: Origin;
    let origin: Origin;
    let tunnel: VproxyTunnel;
    /** What the origin does with its next connection. */
    let behave: (socket: net.Socket) => void;

    before(async () => {
      web = await httpOrigin();
      origin = await tcpOrigin((socket) => behave(socket));
      tunnel = await VproxyTunnel.start({ transport });
    });

    after(async () => {
      await tunnel?.[Symbol.asyncDispose]();
      await origin?.[Symbol.asyncDispose]();
      await web?.[Symbol.asyncDispose]();
    });

    const dial = (): Promise<net.Socket> =>
      socksConnect(tunnel.proxyPort, { host: "127.0.0.1", port: origin.port });

    test("fetches by address and by name, through SOCKS5 and HTTP", async () => {
      const proxy = `127.0.0.1:${tunnel.proxyPort}`;
      for (const flags of [
        ["--socks5", proxy, `http://127.0.0.1:${web.port}/hello`],
        ["--socks5-hostname", proxy, `http://localhost:${web.port}/hello`],
        ["-x", `http://${proxy}`, `http://127.0.0.1:${web.port}/hello`],
        ["-p", "-x", `http://${proxy}`, `http://localhost:${web.port}/hello`],
      ]) {
        const result = await run("curl", ["-sS", "--max-time", "20", ...flags], { env: NO_PROXY });
        assert.equal(result.stdout, "hello from /hello\n", result.stderr);
      }
    });

    test("runs 500 requests, 250 at a time", async () => {
      const args = [
        "-sS",
        "--max-time",
        "60",
        "-Z",
        "--parallel-immediate",
        "--parallel-max",
        "250",
      ];
      const flags = [...args, "--socks5", `127.0.0.1:${tunnel.proxyPort}`];
      const urls = `http://127.0.0.1:${web.port}/[1-500]`;
      const result = await run("curl", [...flags, urls], { env: NO_PROXY, deadlineMs: 70_000 });
      assert.equal(result.stdout.match(/hello from/g)?.length, 500, result.stderr);
    });

    test("carries 64 MiB each way without a bit changed", async () => {
      const size = 64 * 1024 * 1024;
      const curl = `curl -sS --socks5 127.0.0.1:${tunnel.proxyPort}`;
      const url = `http://127.0.0.1:${web.port}`;
      const pipe = `${curl} ${url}/bytes/${size} | ${curl} -T - ${url}/put`;
      const result = await run("bash", ["-c", pipe], { env: NO_PROXY, deadlineMs: 100_000 });
      assert.equal(result.stdout, `${size} ${await patternHash(size)}\n`, result.stderr);
    });

    test("carries the client's half-close, and the answer that comes after it", async () => {
      behave = (socket) => void everything(socket).then((text) => socket.end(`heard ${text}`));
      const app = await dial();
      app.end("all I have to say");
      assert.equal(await everything(app), "heard all I have to say");
    });

    test("carries the target's half-close, and what the client says after it", async () => {
      const heard = Promise.withResolvers<string>();
      behave = (socket) => {
        socket.end("that was all");
        void everything(socket).then(heard.resolve, heard.reject);
      };
      const app = await dial();
      assert.equal(await everything(app), "that was all");
      app.end("and still I speak");
      assert.equal(await heard.promise, "and still I speak");
    });

    test("delivers what a target says first, while the client waits for it", async () => {
      behave = (socket) => void socket.write("220 ready\r\n");
      await Promise.all(
        Array.from({ length: 20 }, async () => {
          const app = await dial();
          const [greeting] = await app.take(1).toArray();
          assert.equal(String(greeting), "220 ready\r\n");
          app.destroy();
        }),
      );
    });

    test("passes the target's reset on", async () => {
      behave = (socket) => {
        socket.write("half of");
        socket.once("data", () => socket.resetAndDestroy());
      };
      const app = await dial();
      app.write("go on");
      await assert.rejects(everything(app), { code: "ECONNRESET" });
    });

    test("passes the client's reset on", async () => {
      const ended = Promise.withResolvers<string | undefined>();
      behave = (socket) => {
        socket.on("error", ({ code }: NodeJS.ErrnoException) => ended.resolve(code));
        socket.on("end", () => ended.resolve("a clean end"));
        socket.once("data", () => socket.write("answer"));
      };
      const app = await dial();
      app.write("question");
      await once(app, "data");
      app.resetAndDestroy();
      assert.equal(await ended.promise, "ECONNRESET");
    });

    test("says what became of a target that cannot be reached", async () => {
      const dialled = socksConnect(tunnel.proxyPort, { host: "127.0.0.1", port: 1 });
      await assert.rejects(
        dialled,
        (thrown) => thrown instanceof SocksRefused && thrown.reply === 5,
      );
      const nameless = socksConnect(tunnel.proxyPort, { host: "nowhere.invalid", port: 80 });
      await assert.rejects(nameless, SocksRefused);
    });
  });
}

async function everything(socket: net.Socket): Promise<string> {
  let text = "";
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) text += String(chunk);
  return text;
}

/** Where a proxy is usual, curl is told to leave loopback out. */
const NO_PROXY: Readonly<Record<string, undefined>> = { no_proxy: undefined, NO_PROXY: undefined };
