import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type HousePeer, LinkSocksHouse, TOKENS } from "../../../test/support/linksocks-house.ts";
import { encodeMessage } from "./codec.ts";
import type { DirectCapabilities, DirectStatus, Message } from "./messages.ts";

const CLIENT_HELLO: Message = {
  type: "log",
  level: "debug",
  text: "linksocks_client_hello:direct_signaling=1",
};
const SERVER_HELLO: Message = {
  ...CLIENT_HELLO,
  text: "linksocks_server_hello:direct_signaling=1",
};

describe("direct signalling", () => {
  test("is announced behind the welcome, and not at all when it is off", async () => {
    const provider = await new LinkSocksHouse({ direct: true }).logIn(TOKENS.provider);
    assert.deepEqual(
      (await provider.heard()).map(({ type }) => type),
      ["authResponse", "log"],
    );
    const quiet = await new LinkSocksHouse({ direct: false }).logIn(TOKENS.provider);
    assert.deepEqual(
      (await quiet.heard()).map(({ type }) => type),
      ["authResponse"],
    );
  });

  test("says to a connector hello, then partners", async () => {
    const connector = await new LinkSocksHouse({ direct: true }).logIn(TOKENS.connector);
    assert.deepEqual((await connector.heard()).slice(1), [
      SERVER_HELLO,
      { type: "partners", count: 0 },
    ]);
  });

  test("replays what a provider offered to a connector that says hello", async () => {
    const { provider, connector } = await pair();
    provider.say(CLIENT_HELLO);
    provider.say(offer(1));
    assert.deepEqual(await connector.heard(), [], "it has not said that it can");
    connector.say(CLIENT_HELLO);
    assert.deepEqual(await connector.heard(), [offer(1)]);
    connector.say(CLIENT_HELLO);
    assert.deepEqual(await connector.heard(), [offer(1)], "as often as it asks");
  });

  test("goes both ways between those who can, written anew", async () => {
    const { provider, connector } = await pair();
    provider.say(CLIENT_HELLO);
    connector.say(offer(2));
    assert.deepEqual(await provider.heard(), [offer(2)], "an offer is as good as a hello");
    provider.sayBytes(
      json(
        0x0d,
        '{ "status":"custom", "unknown":1, "session_id":"00112233-4455-6677-8899-AABBCCDDEE02", "metrics":{"rtt_ms":7,"other":true} }',
      ),
    );
    const bytes = await rawHeard(connector);
    assert.deepEqual(
      bytes.map((each) => Buffer.from(each).toString("latin1").slice(6)),
      [
        '{"session_id":"00112233-4455-6677-8899-aabbccddee02","status":"custom","metrics":{"rtt_ms":7}}',
      ],
    );
  });

  test("stays within the group", async () => {
    const house = new LinkSocksHouse({
      direct: true,
      providers: [
        { name: "office", token: TOKENS.provider, autonomy: false },
        { name: "other", token: "other-token", autonomy: false },
      ],
    });
    const connector = await house.logIn(TOKENS.connector);
    const others = [
      await house.logIn("other-token"),
      await house.logIn(TOKENS.forward),
      await house.logIn(TOKENS.connector),
    ];
    for (const other of others) {
      other.say(CLIENT_HELLO);
      await other.heard();
    }
    connector.say(offer(1));
    connector.say(status(1));
    for (const other of others) assert.deepEqual(await other.heard(), []);
    others[1]?.say(offer(2));
    assert.deepEqual(await connector.heard().then((heard) => heard.filter(isSignal)), []);
  });

  test("is dropped when it is too long, or too much", async () => {
    const { provider, connector } = await pair();
    provider.say(CLIENT_HELLO);
    await provider.heard();
    connector.say({ ...status(1), reason: "x".repeat(17_000) });
    assert.deepEqual(await provider.heard(), []);
    for (let at = 0; at < 100; at++) connector.say(status(at));
    assert.equal((await provider.heard()).length, 49);
  });

  test("does not relay anything when it is off", async () => {
    const { provider, connector } = await pair(false);
    provider.say(CLIENT_HELLO);
    connector.say(offer(1));
    assert.deepEqual(await provider.heard(), []);
  });
});

async function pair(
  direct = true,
): Promise<{ readonly provider: HousePeer; readonly connector: HousePeer }> {
  const house = new LinkSocksHouse({ direct });
  const provider = await house.logIn(TOKENS.provider);
  const connector = await house.logIn(TOKENS.connector);
  await provider.heard();
  await connector.heard();
  return { provider, connector };
}

function offer(session: number): DirectCapabilities {
  return {
    type: "directCapabilities",
    sessionId: `00112233-4455-6677-8899-aabbccddee0${session}`,
    candidates: [{ address: "203.0.113.5", port: 40_000, kind: "srflx" }],
    discoveries: ["stun"],
    publicKey: new Uint8Array(32).fill(session),
  };
}

function status(rttMs: number): DirectStatus {
  const sessionId = "00112233-4455-6677-8899-aabbccddee01";
  return { type: "directStatus", sessionId, status: "ready", rttMs, lossPpm: 0, reason: "" };
}

function isSignal(message: Message): boolean {
  return message.type.startsWith("direct");
}

/** A message with a JSON body as it stands. */
function json(type: number, text: string): Uint8Array {
  const head = encodeMessage({ type: "unknown", messageType: type, body: new Uint8Array(4) });
  new DataView(head.buffer, head.byteOffset).setUint32(2, text.length);
  return Buffer.concat([head, Buffer.from(text)]);
}

async function rawHeard(peer: HousePeer): Promise<readonly Uint8Array[]> {
  const before = peer.recorder.chunks.length;
  await peer.heard();
  return peer.recorder.chunks.slice(before);
}
