import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { manualRuntime, memoryClient, TestClient, turns } from "../../test/support/test-client.ts";
import { MisuseError, NetworkError, TunnelError } from "../errors.ts";
import { clientRequest, type ClientRequestOptions } from "./client-request.ts";
import type { Request } from "./request.ts";

describe("a client's request", () => {
  test("hands over the connection behind its answer, with what came early", async () => {
    const { client, request } = ask();
    await client.send("early ");
    await client.send("bytes");
    const accepted = new TestClient(request.accept());
    await client.send(", then more");
    assert.equal(client.text, "yes");
    assert.equal(accepted.text, "early bytes, then more");
  });

  test("answers no with the error and lets the protocol end the connection", async () => {
    const { client, request } = ask();
    request.reject(new NetworkError("ERR_DNS", "no such name"));
    await turns();
    assert.equal(client.text, "no ERR_DNS");
    assert.deepEqual(client.events, ["end"]);
  });

  test("reads only so much before the answer, and loses none of it", async () => {
    const { client, request } = ask();
    for (let sent = 0; sent < 40; sent++) await client.send(Buffer.alloc(16 * 1024));
    assert.ok(client.connection.pendingBytes >= 36 * 16 * 1024, "no more than 64 KiB was read");
    const accepted = new TestClient(request.accept());
    await turns();
    assert.equal(accepted.bytes.byteLength, 40 * 16 * 1024);
  });

  test("aborts when the client resets", async () => {
    const { client, request } = ask();
    client.connection.reset(new NetworkError("ERR_CONNECTION_RESET", "ECONNRESET"));
    await turns();
    assert.ok(request.signal.aborted);
    const reason: unknown = request.signal.reason;
    assert.ok(reason instanceof TunnelError);
    assert.equal(reason.code, "ERR_ABORTED");
    assert.match(reason.message, /192\.0\.2\.1:5000 went away while origin:80 was being opened/);
    request.reject(reason);
  });

  test("takes a half-close with nothing said for a client that went away", async () => {
    const { client, request } = ask({ endMeans: "gone" });
    client.connection.finish();
    await turns();
    assert.ok(request.signal.aborted);
    request.reject(new TunnelError("ERR_ABORTED", "gone"));
    await turns();
    assert.equal(client.text, "", "nobody is there to be answered");
    assert.deepEqual(client.events, ["end", "close"]);
  });

  test("keeps a half-close behind early bytes for the next owner", async () => {
    const { client, request } = ask({ endMeans: "gone" });
    await client.send("all I have");
    client.connection.finish();
    await turns();
    assert.equal(request.signal.aborted, false);
    const accepted = new TestClient(request.accept());
    assert.equal(accepted.text, "all I have");
    assert.deepEqual(accepted.events, ["end"]);
  });

  test("keeps a half-close where it is no goodbye", async () => {
    const { client, request } = ask({ endMeans: "half-closed" });
    client.connection.finish();
    await turns();
    assert.equal(request.signal.aborted, false);
    assert.deepEqual(new TestClient(request.accept()).events, ["end"]);
  });

  test("tells whoever accepts too late that the client is gone", async () => {
    const { client, request } = ask();
    client.connection.reset(new NetworkError("ERR_CONNECTION_RESET", "ECONNRESET"));
    await turns();
    const accepted = new TestClient(request.accept());
    assert.deepEqual(accepted.events, ["close ERR_CONNECTION_RESET"]);
  });

  test("is answered once", () => {
    const { request } = ask();
    request.accept();
    assert.throws(() => request.accept(), MisuseError);
    assert.throws(() => request.reject(new NetworkError("ERR_DNS", "late")), MisuseError);
  });
});

function ask(options: Partial<ClientRequestOptions> = {}): {
  client: TestClient;
  request: Request;
} {
  const [client, connection] = memoryClient(manualRuntime());
  const request = clientRequest(connection, {
    target: { network: "tcp", host: "origin", port: 80 },
    metadata: { inbound: "test", source: connection.info.peer },
    endMeans: "gone",
    onAccept: () => void connection.write([Buffer.from("yes")]),
    onReject: (_connection, error) => {
      connection.write([Buffer.from(`no ${error.code}`)]);
      connection.close();
    },
    ...options,
  });
  return { client, request };
}
