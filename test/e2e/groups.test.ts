import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { describe, test } from "node:test";
import { type Child, start } from "../support/child-process.ts";
import { httpOrigin } from "../support/origin.ts";
import { CLIENT_ID, freePorts, SLUICE, startSluice } from "../support/tunnel.ts";

describe("a group of two tunnels", { timeout: 60_000 }, () => {
  for (const policy of ["failover", "round-robin"]) {
    test(`goes on with one when the other dies: ${policy}`, async () => {
      await using origin = await httpOrigin();
      await using scope = new AsyncDisposableStack();
      const [aPort, bPort, proxyPort = 0, forwardPort = 0] = await freePorts(4);
      const serve = async (port: number): Promise<Child> => {
        const child = scope.use(
          startSluice([
            "serve",
            `pong+tcp://127.0.0.1:${port}`,
            "--client",
            `test=${CLIENT_ID}`,
            "--allow",
            "127.0.0.0/8",
          ]),
        );
        await child.waitFor(/LISTENER/);
        return child;
      };
      const [a, b] = [await serve(aPort), await serve(bPort)];
      const config = {
        connect: {
          a: { url: `pong+tcp://${CLIENT_ID}@127.0.0.1:${aPort}`, retry: { max: "500ms" } },
          b: { url: `pong+tcp://${CLIENT_ID}@127.0.0.1:${bPort}`, retry: { max: "500ms" } },
        },
        groups: {
          both: {
            tunnels: ["a", "b"],
            policy,
            check: { every: "1s", target: `127.0.0.1:${origin.port}` },
            wait: "500ms",
          },
        },
        inbounds: [
          { socks: proxyPort, pac: true },
          { forward: forwardPort, to: `127.0.0.1:${origin.port}`, via: "both" },
        ],
        routes: [{ regexp: String.raw`127(\.\d+){3}`, via: "both" }, { via: "block" }],
        log: { format: "json" },
      };
      const client = scope.use(
        start(process.execPath, [SLUICE, "run", "-"], {
          input: JSON.stringify(config),
          deadlineMs: 60_000,
        }),
      );
      await client.waitFor(/LISTENER/);
      const hello = { status: 200, body: "hello from /hello\n" };
      const asks = async (): Promise<void> => {
        for (let round = 0; round < 3; round++) {
          assert.deepEqual(await get(forwardPort, "/hello"), hello);
          const url = `http://127.0.0.1:${origin.port}/hello`;
          assert.deepEqual(await get(proxyPort, url), hello);
        }
      };
      await asks();

      a.kill("SIGKILL");
      await a.exit;
      await asks();
      await client.waitFor(/group member down.*"member":"a"|"member":"a".*group member down/, {
        on: "stderr",
      });

      b.kill("SIGKILL");
      await b.exit;
      await client.waitFor(/group member down.*"member":"b"|"member":"b".*group member down/, {
        on: "stderr",
      });
      const { status, body } = await get(proxyPort, `http://127.0.0.1:${origin.port}/hello`);
      assert.equal(status, 503, body);
      assert.match(
        body,
        /group "both": no healthy member for 127.0.0.1:\d+: a is down: .*; b is down: /,
      );

      await serve(aPort);
      await client.waitFor(/group member up/, { on: "stderr" });
      await asks();

      const pac = await get(proxyPort, "/proxy.pac");
      assert.match(
        pac.body,
        new RegExp(`'SOCKS5 127.0.0.1:${proxyPort};PROXY 127.0.0.1:${proxyPort}'`),
      );
    });
  }
});

/** One request on a connection of its own. */
async function get(port: number, path: string): Promise<{ status: number; body: string }> {
  const request = http.get({ host: "127.0.0.1", port, path, agent: false });
  const [response]: http.IncomingMessage[] = await once(request, "response");
  assert.ok(response !== undefined);
  let body = "";
  for await (const chunk of response.setEncoding("utf8")) body += String(chunk);
  return { status: response.statusCode ?? 0, body };
}
