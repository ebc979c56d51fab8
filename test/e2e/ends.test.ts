import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { after, before, describe, test } from "node:test";
import { type Origin, tcpOrigin } from "../support/origin.ts";
import { freePorts, PONG_TRANSPORTS, startTunnel, type TestTunnel } from "../support/tunnel.ts";
import { skipWithout } from "../support/which.ts";

/** What the origin does with its next connection; set by each test. */
type Behaviour = (socket: net.Socket) => void;

for (const transport of PONG_TRANSPORTS) {
  describe(`ends through pong over ${transport}`, { skip: skipWithout("openssl") }, () => {
    let origin: Origin;
    let tunnel: TestTunnel;
    let port: number;
    let behave: Behaviour;

    before(async () => {
      origin = await tcpOrigin((socket) => behave(socket));
      [port] = await freePorts(2);
      tunnel = await startTunnel({
        transport,
        connectFlags: ["-L", `${port}:127.0.0.1:${origin.port}`],
      });
    });

    after(async () => {
      await tunnel?.[Symbol.asyncDispose]();
      await origin?.[Symbol.asyncDispose]();
    });

    const dial = (): net.Socket => net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });

    test("carries the client's half-close, and the answer that comes after it", async () => {
      behave = (socket) => {
        let text = "";
        socket.on("data", (chunk: Buffer) => {
          text += chunk.toString();
        });
        socket.on("end", () => socket.end(`after your end: ${text}`));
      };
      const client = dial();
      client.end("all I have to say, which is more than thirty bytes");
      assert.equal(
        await everything(client),
        "after your end: all I have to say, which is more than thirty bytes",
      );
    });

    test("carries the target's half-close, and what the client says after it", async () => {
      const heard = Promise.withResolvers<string>();
      behave = (socket) => {
        socket.end("that was all from the target, thank you very much");
        void everything(socket).then(heard.resolve, heard.reject);
      };
      const client = dial();
      assert.equal(await everything(client), "that was all from the target, thank you very much");
      client.end("and still the client speaks, after the target's end");
      assert.equal(await heard.promise, "and still the client speaks, after the target's end");
    });

    test("carries the client's reset to the target", async () => {
      const ended = Promise.withResolvers<string>();
      const started = Promise.withResolvers<void>();
      behave = (socket) => {
        socket.on("data", () => started.resolve());
        socket.on("error", (error: NodeJS.ErrnoException) => ended.resolve(error.code ?? ""));
        socket.on("end", () => ended.resolve("a clean end"));
      };
      const client = dial();
      client.write("some bytes that arrive before the reset, for sure");
      await started.promise;
      client.resetAndDestroy();
      assert.equal(await ended.promise, "ECONNRESET");
    });

    test("carries the target's reset to the client", async () => {
      behave = (socket) => {
        socket.write("the first half of an answer that is never finished");
        socket.once("data", () => socket.resetAndDestroy());
      };
      const client = dial();
      await once(client, "data");
      client.write("go on then, please, and do not stop in the middle");
      const [error] = await once(client, "error");
      assert.ok(error instanceof Error && "code" in error);
      assert.equal(error.code, "ECONNRESET");
    });

    test("makes a refused target look refused: a reset, never a clean end", async () => {
      const [closedPort, localPort] = await freePorts(2);
      await using refused = await startTunnel({
        connectFlags: ["-L", `${localPort}:127.0.0.1:${closedPort}`],
      });
      const client = net.connect({ port: localPort, host: "127.0.0.1" });
      const [error] = await once(client, "error");
      assert.ok(error instanceof Error && "code" in error);
      assert.equal(error.code, "ECONNRESET");
      await refused.connect.waitFor(/target refused the connection/, { on: "stderr" });
    });
  });
}

async function everything(socket: net.Socket): Promise<string> {
  let text = "";
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) text += String(chunk);
  return text;
}
