import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { LogRecorder } from "../../../../test/support/log-recorder.ts";
import { Recorder } from "../../../../test/support/recorder.ts";
import { turns } from "../../../../test/support/turns.ts";
import { WebSocksHouse } from "../../../../test/support/websocks-house.ts";
import { NetworkError, PolicyError } from "../../../errors.ts";
import { connectionPair } from "../../../tunnel/connection-pair.ts";

describe("a WebSocks client and server", { timeout: 10_000 }, () => {
  test("carry bytes and ends both ways", async () => {
    const house = new WebSocksHouse();
    const { app, target, request } = await house.stream();
    assert.deepEqual(request.target, { network: "tcp", host: "example.com", port: 80 });
    assert.equal(request.metadata.user, "alice");
    app.connection.write([Buffer.from("question")]);
    await target.received(8);
    target.connection.write([Buffer.from("answer")]);
    await app.received(6);
    app.connection.finish();
    await target.ended();
    target.connection.write([Buffer.from(" and more")]);
    target.connection.finish();
    await app.ended();
    assert.equal(app.text, "answer and more");
    await app.closed();
    await target.closed();
    assert.equal(app.closeError, undefined);
  });
});
void [LogRecorder, Recorder, turns, NetworkError, PolicyError, connectionPair, assert];
