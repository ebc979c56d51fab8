import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { lowPort } from "../support/low-port.ts";
import { sluice } from "../support/sluice-process.ts";
import { CLIENT_ID, startTunnel } from "../support/tunnel.ts";

describe("sluice ping", { timeout: 60_000 }, () => {
  test("times each step to a peer that answers", async () => {
    await using tunnel = await startTunnel();
    const url = `pong+tcp://${CLIENT_ID}@localhost:${tunnel.servePort}`;
    const { code, stdout, stderr } = await sluice(["ping", url]);
    assert.equal(code, 0, stderr);
    assert.match(
      stdout,
      /^dns +\d+\.\d ms {2}.*127\.0\.0\.1.*\ntcp +\d+\.\d ms {2}.*\ntunnel +\d+\.\d ms {2}up: pong\+tcp:/,
    );
    const json = await sluice(["ping", "--json", url]);
    const { phases, error }: { phases: { name: string; ms: number }[]; error?: unknown } =
      JSON.parse(json.stdout);
    assert.deepEqual(
      phases.map(({ name }) => name),
      ["dns", "tcp", "tunnel"],
    );
    assert.equal(error, undefined);
  });

  test("says which step failed, and what to try", async () => {
    const nobody = `pong+tcp://${CLIENT_ID}@127.0.0.1:${await lowPort()}`;
    const { code, stderr } = await sluice(["ping", nobody]);
    assert.equal(code, 3);
    assert.match(stderr, /connection refused\nhint: check that something listens on that port/);
    const nowhere = await sluice(["ping", `pong+tcp://${CLIENT_ID}@no-such-name.invalid:1`]);
    assert.equal(nowhere.code, 3);
    assert.match(nowhere.stderr, /dns: the name does not resolve\nhint: /);
  });

  test("logs in, and says when the peer refuses", async () => {
    await using tunnel = await startTunnel();
    const url = `pong+tls://${CLIENT_ID}@127.0.0.1:${tunnel.servePort}`;
    const { code, stdout, stderr } = await sluice(["ping", url]);
    assert.equal(code, 3);
    assert.match(stdout, /^tcp .*\n$/);
    assert.match(stderr, /tls handshake: .*\nhint: check that this port speaks TLS/);
  });
});
