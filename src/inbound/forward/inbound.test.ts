import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  manualRuntime,
  memoryClient,
  TestClient,
  turns,
} from "../../../test/support/test-client.ts";
import { NetworkError } from "../../errors.ts";
import { silentLogger } from "../../tunnel/logger.ts";
import type { Request } from "../../tunnel/request.ts";
import { createForwardInbound } from "./inbound.ts";

const TARGET = { network: "tcp", host: "bogus", port: 22 } as const;

describe("forward inbound", () => {
  test("asks for its target at once, and hands over all the client said", async () => {
    const { client, request } = forward();
    assert.deepEqual(request.target, TARGET);
    const metadata = { inbound: "forward test", source: "192.0.2.1:5000", via: "office" };
    assert.deepEqual(request.metadata, metadata);
    await client.send("early, ");
    const target = new TestClient(request.accept());
    await client.send("late");
    assert.equal(target.text, "early, late");
    await target.send("banner");
    assert.equal(client.text, "banner");
  });

  test("resets the client when the target cannot be reached", async () => {
    const { client, request } = forward();
    request.reject(new NetworkError("ERR_DIAL_REFUSED", "refused"));
    await turns();
    assert.deepEqual(client.events, ["close ERR_DIAL_REFUSED"]);
  });

  test("waits on for a client that only listens", async () => {
    const { client, request } = forward();
    client.connection.finish();
    await turns();
    assert.equal(request.signal.aborted, false);
    const target = new TestClient(request.accept());
    assert.deepEqual(target.events, ["end"]);
    await target.send("banner");
    assert.equal(client.text, "banner");
  });

  test("aborts when the client resets", async () => {
    const { client, request } = forward();
    client.connection.reset(new NetworkError("ERR_CONNECTION_RESET", "gone"));
    await turns();
    assert.equal(request.signal.aborted, true);
  });
});

function forward(): { client: TestClient; request: Request } {
  const runtime = manualRuntime();
  const requests: Request[] = [];
  const serve = createForwardInbound({
    name: "forward test",
    target: TARGET,
    via: "office",
    onRequest: (request) => void requests.push(request),
    runtime,
    logger: silentLogger,
  });
  const [client, connection] = memoryClient(runtime);
  serve(connection);
  return { client, request: requests[0] ?? assert.fail() };
}
