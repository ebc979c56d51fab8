import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { manualRuntime, turns } from "../../../test/support/test-client.ts";
import type { TunnelError } from "../../errors.ts";
import { connectionPair } from "../../tunnel/connection-pair.ts";
import type { Connection } from "../../tunnel/connection.ts";
import { isRefusal, type LoginOptions, logIn } from "./client-login.ts";
import { encodeMessage, parseMessage } from "./codec.ts";
import type { Message } from "./messages.ts";

const WELCOME: Message = { type: "authResponse", error: undefined };
const PARTNERS: Message = { type: "partners", count: 2 };

describe("login of a LinkSocks client", () => {
  test("says nothing by itself when the URL carries the token, and is welcomed", async () => {
    const login = start({ hasToken: true });
    await turns();
    assert.deepEqual(login.heard, []);
    login.say(WELCOME);
    const connection = await login.result;
    assert.equal(connection, login.connection);
  });

  test("shows the token first where the URL does not", async () => {
    const instance = "0f0e0d0c-0b0a-4908-8706-050403020100";
    const login = start({ hasToken: true, auth: { token: "my_token", isReverse: true, instance } });
    await turns();
    assert.deepEqual(
      login.heard.map((bytes) => Buffer.from(bytes).toString("hex")),
      ["0101086d795f746f6b656e010f0e0d0c0b0a49088706050403020100"],
    );
    login.say(WELCOME);
    await login.result;
  });

  test("keeps what overtakes the welcome, in order", async () => {
    const login = start({ hasToken: true });
    login.say(PARTNERS);
    login.say({ type: "log", level: "info", text: "hello" });
    await turns(); // arrive one by one
    login.say(WELCOME);
    const connection = await login.result;
    const types: string[] = [];
    connection.attach({
      onData: (chunk) => types.push(parseMessage(chunk).type),
      onEnd: () => {},
      onDrain: () => {},
      onClose: () => {},
    });
    connection.resume();
    await turns();
    assert.deepEqual(types, ["partners", "log"]);
  });

  test("takes the Worker's welcome, which goes on", async () => {
    const login = start({ hasToken: true });
    login.sayBytes(Buffer.from("01020105746f6b656e", "hex"));
    await login.result;
  });

  const refusals: Readonly<Record<string, readonly [Message, boolean, RegExp, RegExp]>> = {
    "with its text": [
      { type: "authResponse", error: "invalid token" },
      true,
      /192\.0\.2\.1:5000: authentication failed: invalid token$/,
      /check the token/,
    ],
    "without one": [
      { type: "authResponse", error: "" },
      false,
      /authentication failed: no reason given$/,
      /put a token into the URL/,
    ],
  };
  for (const [name, [answer, hasToken, text, hint]] of Object.entries(refusals)) {
    test(`is refused for good ${name}`, async () => {
      const login = start({ hasToken });
      login.say(answer);
      await assert.rejects(login.result, (error: TunnelError) => {
        assert.match(error.message, text);
        assert.match(error.hint ?? "", hint);
        return isRefusal(error);
      });
    });
  }

  test("gives up a server that says nothing, or anything else without end", async () => {
    const silent = start({ hasToken: true });
    silent.clock.advance(10_000);
    await assert.rejects(silent.result, { code: "ERR_HANDSHAKE_TIMEOUT" });
    const chatty = start({ hasToken: true });
    for (let at = 0; at <= 64; at++) {
      chatty.say(PARTNERS);
      await turns(2);
    }
    await assert.rejects(chatty.result, { code: "ERR_PROTOCOL" });
  });

  test("tells a server that left from one that refused", async () => {
    const login = start({ hasToken: true });
    login.server.close();
    await assert.rejects(login.result, (error: TunnelError) => {
      assert.equal(error.code, "ERR_TUNNEL_LOST");
      return !isRefusal(error);
    });
  });

  test("ends with its signal, and leaves no timer", async () => {
    const login = start({ hasToken: true });
    login.controller.abort(new Error("enough"));
    await assert.rejects(login.result, /enough/);
    assert.equal(login.clock.next, undefined);
  });
});

function start(options: LoginOptions) {
  const runtime = manualRuntime();
  const [server, connection] = connectionPair(runtime, { names: ["192.0.2.1:5000", "server"] });
  const heard: Uint8Array[] = [];
  server.attach({
    onData: (chunk) => heard.push(chunk),
    onEnd: () => {},
    onDrain: () => {},
    onClose: () => {},
  });
  server.resume();
  const controller = new AbortController();
  const result: Promise<Connection> = logIn(connection, options, {
    runtime,
    signal: controller.signal,
  });
  result.catch(() => {}); // each test looks at it in its own time
  const sayBytes = (bytes: Uint8Array): void => void server.write([bytes]);
  return {
    clock: runtime.clock,
    server,
    connection,
    heard,
    controller,
    result,
    sayBytes,
    say: (message: Message) => sayBytes(encodeMessage(message)),
  };
}
