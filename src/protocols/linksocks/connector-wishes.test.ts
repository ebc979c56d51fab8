import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type HousePeer, LinkSocksHouse, TOKENS } from "../../../test/support/linksocks-house.ts";
import { turns } from "../../../test/support/turns.ts";
import type { LoginGuard } from "../../tunnel/logins.ts";
import type { ConnectorResponse, Message } from "./messages.ts";

const ONE = "0f0e0d0c-0b0a-4908-8706-050403020100";
const TWO = "1f0e0d0c-0b0a-4908-8706-050403020100";
const NIL = "00000000-0000-0000-0000-000000000000";
const REQUEST = "00112233445566778899aabbccddee01";

describe("an autonomous provider", () => {
  test("adds and removes connectors, with the reference's texts", async () => {
    const house = new LinkSocksHouse();
    const one = await provider(house, ONE);
    const two = await provider(house, TWO);
    assert.deepEqual(await ask(one, "add", "conn-one"), added("conn-one"));
    assert.deepEqual(await ask(one, "add", "conn-one"), added("conn-one"), "again is no error");
    const { token = "" } = await ask(one, "add", "");
    assert.match(token, /^[0-9a-f]{16}$/);
    assert.deepEqual(
      await ask(one, "add", "anonymous"),
      refused("'anonymous' is reserved and cannot be used as a connector token"),
    );
    const taken = refused("connector token already exists");
    assert.deepEqual(await ask(two, "add", "conn-one"), taken);
    assert.deepEqual(await ask(one, "add", TOKENS.forward), taken);
    assert.deepEqual(await ask(one, "add", TOKENS.provider), taken);
    const connector = await house.logIn("conn-one");
    assert.equal((await connector.heard()).length, 2);
    assert.deepEqual((await one.heard()).map(partners), [1]);
    assert.deepEqual(await ask(one, "remove", "conn-one"), done());
    assert.ok(connector.isClosed);
    assert.deepEqual(await ask(one, "remove", "never-existed"), done());
    assert.deepEqual(await ask(two, "add", "conn-one"), added("conn-one"));
  });

  test("is the only one that serves its connectors", async () => {
    const house = new LinkSocksHouse();
    const one = await provider(house, ONE);
    const thread = await provider(house, ONE);
    const two = await provider(house, TWO);
    await ask(one, "add", "conn-one");
    const connector = await house.logIn("conn-one");
    const [, count] = await connector.heard();
    assert.equal(partners(count), 2, "threads of one instance count as they are");
    for (let channel = 0; channel < 4; channel++) connector.say(connect(channel));
    const wishes = async (peer: HousePeer): Promise<number> =>
      (await peer.heard()).filter(({ type }) => type === "connect").length;
    assert.deepEqual([await wishes(one), await wishes(thread), await wishes(two)], [2, 2, 0]);
  });

  test("serves nobody else: neither doors of the server nor connectors of the configuration", async () => {
    const house = new LinkSocksHouse();
    const one = await provider(house, ONE);
    const target = { network: "tcp", host: "a", port: 1 } as const;
    const metadata = { inbound: "socks", source: "program" };
    const { signal } = new AbortController();
    const dialling = house.outbounds.get("free")?.dial(target, { signal, metadata });
    assert.ok(dialling);
    const denied = assert.rejects(dialling, { code: "ERR_TUNNEL_DOWN" });
    assert.deepEqual(await one.heard(), []);
    house.clock.advance(10_000);
    await denied;
  });

  test("cannot touch what is not its own", async () => {
    const house = new LinkSocksHouse();
    const one = await provider(house, ONE);
    const two = await provider(house, TWO);
    await ask(two, "add", "conn-two");
    const theirs = [await house.logIn("conn-two"), await house.logIn(TOKENS.forward)];
    for (const token of ["conn-two", TOKENS.forward, TOKENS.provider, TOKENS.connector, ""]) {
      // As of tokens that do not exist: it learns nothing.
      assert.deepEqual(await ask(one, "remove", token), done());
    }
    assert.ok(theirs.every(({ isClosed }) => !isClosed));
    for (const token of [TOKENS.forward, TOKENS.provider, TOKENS.connector, "conn-two"]) {
      const peer = await house.logIn(token);
      assert.deepEqual((await peer.heard())[0], { type: "authResponse", error: undefined });
    }
  });

  test("without an instance, or with that of nobody, is one of its own", async () => {
    const house = new LinkSocksHouse();
    const [one, two] = [await provider(house, NIL), await provider(house, NIL)];
    await ask(one, "add", "conn-one");
    assert.deepEqual(await ask(two, "add", "conn-one"), refused("connector token already exists"));
    const connector = await house.logIn("conn-one");
    assert.equal(partners((await connector.heard())[1]), 1);
    // What the reference takes for a token once such a provider was there.
    for (const message of [NIL, ONE]) {
      const intruder = house.connect("/socket");
      intruder.say({ type: "auth", token: message, isReverse: true, instance: NIL });
      assert.deepEqual(await intruder.heard(), [{ type: "authResponse", error: "invalid token" }]);
    }
  });

  test("finds its connectors as they were when it comes back", async () => {
    const house = new LinkSocksHouse();
    const one = await provider(house, ONE);
    await ask(one, "add", "conn-one");
    const connector = await house.logIn("conn-one");
    await connector.heard();
    one.connection.close();
    assert.deepEqual((await connector.heard()).map(partners), [0]);
    house.clock.advance(599_999);
    const back = await provider(house, ONE);
    assert.deepEqual((await connector.heard()).map(partners), [1]);
    assert.deepEqual(await ask(back, "add", "conn-one"), added("conn-one"));
    house.clock.advance(600_000);
    await turns();
    assert.ok(!connector.isClosed);
  });

  test("that stays away loses its connectors after ten minutes", async () => {
    const house = new LinkSocksHouse();
    const ways = house.outbounds.size;
    const one = await provider(house, ONE);
    await ask(one, "add", "conn-one");
    const connector = await house.logIn("conn-one");
    one.connection.close();
    await turns();
    assert.equal(house.outbounds.size, ways + 1);
    house.clock.advance(600_000);
    await turns();
    assert.ok(connector.isClosed);
    const late = await house.logIn("conn-one");
    assert.deepEqual(await late.heard(), [{ type: "authResponse", error: "invalid token" }]);
    assert.equal(house.outbounds.size, ways);
    assert.equal(house.clock.pending, 0);
  });

  test("that starts anew takes over what its last instance left, and who uses it", async () => {
    const house = new LinkSocksHouse();
    const one = await provider(house, ONE);
    await ask(one, "add", "conn-one");
    const connector = await house.logIn("conn-one");
    await connector.heard();
    one.connection.close();
    await connector.heard();
    const two = await provider(house, TWO);
    assert.deepEqual(await ask(two, "add", "conn-one"), added("conn-one"));
    assert.deepEqual((await connector.heard()).map(partners), [1]);
    connector.say(connect(1));
    assert.ok((await two.heard()).some(({ type }) => type === "connect"));
    house.clock.advance(600_000);
    await turns();
    assert.ok(!connector.isClosed, "it is not the old instance's any more");
  });

  test("may have so many connectors and no more", async () => {
    const house = new LinkSocksHouse();
    const one = await provider(house, ONE);
    for (let at = 0; at < 64; at++) await ask(one, "add", `conn-${at}`);
    assert.deepEqual(await ask(one, "add", "one-more"), refused("too many connector tokens"));
    const two = await provider(house, TWO);
    assert.deepEqual(await ask(two, "add", "one-more"), added("one-more"));
  });

  test("that guesses tokens is counted among those who fail to log in", async () => {
    let failures = 0;
    const guard: LoginGuard = {
      blockedForMs: () => (failures >= 3 ? 1_000 : 0),
      recordFailure: () => void failures++,
    };
    const house = new LinkSocksHouse({ guard });
    const one = await provider(house, ONE);
    for (let at = 0; at < 3; at++) await ask(one, "add", TOKENS.forward);
    assert.deepEqual(await ask(one, "add", "harmless"), refused("too many failures"));
  });
});

describe("other peers that ask for connectors", () => {
  test("are told that they may not", async () => {
    const house = new LinkSocksHouse();
    for (const token of [TOKENS.provider, TOKENS.forward]) {
      const peer = await house.logIn(token);
      await peer.heard();
      assert.deepEqual(
        await ask(peer, "add", "conn-two"),
        refused("Unauthorized connector management attempt"),
      );
    }
  });

  test("hear nothing when they are connectors", async () => {
    const house = new LinkSocksHouse();
    const peer = await house.logIn(TOKENS.connector);
    await peer.heard();
    peer.say({ type: "connector", requestId: REQUEST, token: "x", operation: "add" });
    assert.deepEqual(await peer.heard(), []);
  });
});

async function provider(house: LinkSocksHouse, instance: string): Promise<HousePeer> {
  const peer = await house.logIn(TOKENS.autonomy, { reverse: "true", instance });
  assert.deepEqual(await peer.heard(), [{ type: "authResponse", error: undefined }]);
  return peer;
}

async function ask(
  peer: HousePeer,
  operation: "add" | "remove",
  token: string,
): Promise<ConnectorResponse> {
  peer.say({ type: "connector", requestId: REQUEST, token, operation });
  const answers = await peer.heard();
  const answer = answers.find((message) => message.type === "connectorResponse");
  assert.ok(answer, JSON.stringify(answers));
  return answer;
}

function added(token: string): ConnectorResponse {
  return { type: "connectorResponse", requestId: REQUEST, error: undefined, token };
}

function done(): ConnectorResponse {
  return { type: "connectorResponse", requestId: REQUEST, error: undefined, token: undefined };
}

function refused(error: string): ConnectorResponse {
  return { type: "connectorResponse", requestId: REQUEST, error, token: undefined };
}

function partners(message: Message | undefined): number | undefined {
  return message?.type === "partners" ? message.count : undefined;
}

function connect(channel: number): Message {
  const channelId = channel.toString(16).padStart(32, "0");
  return { type: "connect", protocol: "tcp", channelId, host: "example.com", port: 80 };
}
