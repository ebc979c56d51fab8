import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import fc from "fast-check";
import { hex } from "../../../test/support/hex.ts";
import { LogRecorder } from "../../../test/support/log-recorder.ts";

import {
  manualRuntime,
  memoryClient,
  TestClient,
  turns,
} from "../../../test/support/test-client.ts";
import { PolicyError } from "../../errors.ts";
import type { Request } from "../../tunnel/request.ts";
import { createSniInbound } from "./inbound.ts";

/** A recorded ClientHello of another program, which asks for `localhost`. */
const HELLO = recordedHello();

describe("sni inbound", () => {
  test("leads TLS to the name it asks for, with all it said", async () => {
    const { client, requests } = house();
    await client.send(HELLO);
    assert.deepEqual(requests[0]?.target, { network: "tcp", host: "localhost", port: 443 });
    const target = new TestClient((requests[0] ?? assert.fail()).accept());
    await turns();
    assert.deepEqual(target.bytes, HELLO);
    await target.send("server hello");
    assert.equal(client.text, "server hello");
  });

  test("waits for a ClientHello in drips and over several records", async () => {
    const { client, requests } = house();
    const message = HELLO.subarray(5);
    const split = [message.subarray(0, 3), message.subarray(3, 60), message.subarray(60)];
    const records = split.flatMap((part) => [
      Buffer.of(0x16, 3, 1, part.byteLength >> 8, part.byteLength & 0xff),
      part,
    ]);
    for (const byte of Buffer.concat(records)) {
      assert.equal(requests.length, 0);
      await client.send(Buffer.of(byte));
    }
    assert.equal(requests[0]?.target.host, "localhost");
  });

  for (const [head, place] of [
    ["GET / HTTP/1.1\r\nHost: Name.Example\r\n\r\n", "name.example:80"],
    ["POST /x HTTP/1.0\r\nA: b\r\nhost:  name.example:8080 \r\n\r\nbody", "name.example:8080"],
  ] as const) {
    test(`leads HTTP to ${place}`, async () => {
      const { client, requests } = house();
      await client.send(head.slice(0, 9));
      await client.send(head.slice(9));
      const { host, port } = (requests[0] ?? assert.fail(client.events.join())).target;
      assert.equal(`${host}:${port}`, place);
      const target = new TestClient((requests[0] ?? assert.fail()).accept());
      await turns();
      assert.equal(target.text, head);
    });
  }

  for (const [what, bytes, reason] of [
    ["an address as Host", "GET / HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n", /is no host name/],
    ["no Host", "GET / HTTP/1.1\r\nA: b\r\n\r\n", /no one Host/],
    ["two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", /no one Host/],
    ["another protocol", "SSH-2.0-x\r\n", /neither TLS nor HTTP/],
    ["a head without end", `GET / HTTP/1.1\r\nA: ${"b".repeat(70_000)}`, /exceeds 65536 bytes/],
    ["TLS that names nobody", withoutName(), /names no server/],
  ] as const) {
    test(`hangs up on ${what}, and says why`, async () => {
      const { client, requests, logger } = house();
      await client.send(bytes);
      await turns();
      assert.equal(requests.length, 0);
      assert.deepEqual(client.events, ["end"]);
      assert.match(logger.text, reason);
    });
  }

  test("gives up who says nothing", async () => {
    const { client, runtime } = house();
    runtime.clock.advance(10_000);
    await turns();
    assert.deepEqual(client.events, ["end"]);
  });

  test("resets a client whose target is refused", async () => {
    const { client, requests } = house();
    await client.send(HELLO);
    requests[0]?.reject(new PolicyError("ERR_POLICY_DENIED", "no"));
    await turns();
    assert.deepEqual(client.events, ["close ERR_POLICY_DENIED"]);
  });

  test("survives whatever it is sent", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(HELLO.byteLength - 1), fc.nat(255)), { maxLength: 8 }),
        async (changes) => {
          const { client, runtime } = house();
          const copy = Buffer.from(HELLO);
          for (const [at, value] of changes) copy[at] = value;
          await client.send(copy);
          runtime.clock.advance(20_000);
          await turns();
        },
      ),
      { numRuns: 200 },
    );
  });
});

function house() {
  const runtime = manualRuntime();
  const logger = new LogRecorder();
  const requests: Request[] = [];
  const serve = createSniInbound({
    name: "sni test",
    runtime,
    logger,
    onRequest: (request) => void requests.push(request),
  });
  const [client, connection] = memoryClient(runtime);
  serve(connection);
  return { client, requests, logger, runtime };
}

function recordedHello(): Buffer {
  const path = new URL(
    "../../../test/vectors/vproxy/ws-tls-server-negotiation.jsonl",
    import.meta.url,
  );
  const line = readFileSync(path, "utf8").split("\n")[2] ?? "";
  return Buffer.from(hex(String(Object(JSON.parse(line)).hex)));
}

/** The same ClientHello, its SNI made an extension nobody knows. */
function withoutName(): Buffer {
  const copy = Buffer.from(HELLO);
  const at = copy.indexOf(Buffer.from("0000000e000c000009", "hex"));
  copy.writeUInt16BE(0xfafa, at);
  return copy;
}
