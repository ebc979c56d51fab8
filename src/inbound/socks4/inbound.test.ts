import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { assertBytes, hex } from "../../../test/support/hex.ts";
import {
  type LogLine,
  manualRuntime,
  memoryClient,
  recordingLogger,
  TestClient,
  turns,
} from "../../../test/support/test-client.ts";
import { NetworkError, TunnelError } from "../../errors.ts";
import { Logins } from "../../tunnel/logins.ts";
import type { Request } from "../../tunnel/request.ts";
import { createSocks4Inbound } from "./inbound.ts";
import { REPLY_OF } from "./reply-of.ts";

const CONNECT = hex("04 01 0050 00000001 626f6200 6f726967696e00");

describe("socks4 inbound", () => {
  test("turns a CONNECT into a request and answers when it is accepted", async () => {
    const { connect, requests } = make();
    const client = connect();
    await client.send(CONNECT, "early");
    assert.equal(client.text, "");
    const request = requests[0] ?? assert.fail();
    assert.deepEqual(request.target, { network: "tcp", host: "origin", port: 80 });
    assert.equal(request.metadata.user, undefined, "a user id is a claim, no proof");
    const target = new TestClient(request.accept());
    await target.send("answer");
    assertBytes(client.bytes, [hex("00 5a 0000 00000000"), Buffer.from("answer")]);
    assert.equal(target.text, "early");
  });

  test("answers every failure with the code of the table", async () => {
    for (const [code, reply] of Object.entries(REPLY_OF)) {
      assert.equal(reply, code === "ERR_AUTH" ? 0x5d : 0x5b, code);
    }
    const { connect, requests } = make();
    const client = connect();
    await client.send(CONNECT);
    requests[0]?.reject(new NetworkError("ERR_DIAL_REFUSED", "refused"));
    await turns();
    assertBytes(client.bytes, hex("00 5b 0000 00000000"));
    assert.deepEqual(client.events, ["end"]);
  });

  test("answers what it does not carry out", async () => {
    for (const wire of ["04 02 0050 7f000001 00", "04 09 0050 7f000001 00", "04 01 00"]) {
      const { connect, requests, lines } = make();
      const client = connect();
      await client.send(hex(wire));
      client.connection.finish();
      await turns();
      assertBytes(client.bytes, hex("00 5b 0000 00000000"));
      assert.equal(lines[0]?.fields["phase"], "request");
      assert.equal(requests.length, 0);
    }
  });

  test("refuses everybody where a password is asked for", async () => {
    const { connect, requests, lines } = make({ alice: "secret" });
    const client = connect();
    await client.send(CONNECT);
    assertBytes(client.bytes, hex("00 5d 0000 00000000"));
    assert.equal(requests.length, 0);
    assert.match(String(lines[0]?.fields["hint"]), /SOCKS5/);
  });

  test("aborts the request of a client that goes away", async () => {
    const { connect, requests } = make();
    const client = connect();
    await client.send(CONNECT);
    client.connection.finish();
    await turns();
    assert.ok(requests[0]?.signal.aborted);
    requests[0].reject(new TunnelError("ERR_ABORTED", "gone"));
  });
});

function make(users?: Readonly<Record<string, string>>): {
  connect: () => TestClient;
  requests: Request[];
  lines: LogLine[];
} {
  const runtime = manualRuntime();
  const { logger, lines } = recordingLogger();
  const requests: Request[] = [];
  const guard = { blockedForMs: () => 0, recordFailure: () => {} };
  const logins = users && new Logins({ users: new Map(Object.entries(users)), guard });
  const serve = createSocks4Inbound({
    name: "socks test",
    onRequest: (request) => void requests.push(request),
    runtime,
    logger,
    logins,
  });
  const connect = (): TestClient => {
    const [client, connection] = memoryClient(runtime);
    serve(connection);
    return client;
  };
  return { connect, requests, lines };
}
