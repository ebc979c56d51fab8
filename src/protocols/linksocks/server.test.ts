import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { hex } from "../../../test/support/hex.ts";
import { LinkSocksHouse, sha256, TOKENS } from "../../../test/support/linksocks-house.ts";
import { turns } from "../../../test/support/turns.ts";
import { NetworkError } from "../../errors.ts";
import type { LoginGuard } from "../../tunnel/logins.ts";
import { encodeMessage } from "./codec.ts";
import type { Message } from "./messages.ts";

const WELCOME: Message = { type: "authResponse", error: undefined };
const INSTANCE = "0f0e0d0c-0b0a-4908-8706-050403020100";
const CHANNEL = "00112233445566778899aabbccddeeff";
const CONNECT: Message = {
  type: "connect",
  protocol: "tcp",
  channelId: CHANNEL,
  host: "example.com",
  port: 443,
};

describe("a login in the URL", () => {
  const hashes = {
    forward: sha256(TOKENS.forward),
    provider: sha256(TOKENS.provider),
    connector: sha256(TOKENS.connector),
    unknown: sha256("unknown"),
  };
  const cases = [
    [`token=${hashes.forward}`, undefined],
    [`token=${hashes.forward}&reverse=false&instance=${INSTANCE}`, undefined],
    [`token=${hashes.forward}&reverse=0`, undefined],
    [`token=${hashes.forward}&reverse=no`, undefined],
    [`token=${hashes.forward}&reverse=true`, "invalid token"],
    [`token=${hashes.provider}`, undefined],
    [`token=${hashes.provider}&reverse=true`, undefined],
    [`token=${hashes.provider}&reverse=1`, undefined],
    [`token=${hashes.provider}&reverse=false`, "invalid token"],
    [`token=${hashes.connector}`, undefined],
    [`token=${hashes.connector}&reverse=true`, "invalid token"],
    [`token=${hashes.unknown}`, "invalid token"],
    [`token=${hashes.provider.toUpperCase()}&reverse=true`, "invalid token"],
    [`token=abc`, "invalid token format"],
    [`token=${TOKENS.forward}`, "invalid token format"],
    [`token=${sha256("anonymous")}`, "invalid token"],
  ] as const;
  for (const [query, error] of cases) {
    test(`${query.replaceAll(/[0-9a-fA-F]{60}/g, "…")} is ${error ?? "welcome"}`, async () => {
      const house = new LinkSocksHouse();
      const peer = house.connect(`/socket?${query}`);
      const [first] = await peer.heard();
      assert.deepEqual(first, { type: "authResponse", error });
      assert.equal(house.server.peerCount, error === undefined ? 1 : 0);
      assert.equal(peer.isClosed, error !== undefined);
    });
  }

  test("counts on any path, and does not wait for an Auth message", async () => {
    const house = new LinkSocksHouse();
    const peer = house.connect(`/socket/extra?token=${hashes.forward}`);
    assert.deepEqual(await peer.heard(), [WELCOME]);
    peer.say({ type: "auth", token: "wrong", isReverse: true, instance: INSTANCE });
    assert.deepEqual(await peer.heard(), []);
    assert.equal(house.server.peerCount, 1, "an Auth message that nobody asked for is ignored");
  });
});

describe("a login by message", () => {
  const auth = (token: string, isReverse = false): Uint8Array =>
    encodeMessage({ type: "auth", token, isReverse, instance: INSTANCE });
  const cases = [
    ["a forward token", auth(TOKENS.forward), undefined],
    ["a connector token", auth(TOKENS.connector), undefined],
    ["a provider's token", auth(TOKENS.provider, true), undefined],
    ["bytes behind it", Buffer.concat([auth(TOKENS.forward), hex("6578747261")]), undefined],
    ["a forward token as provider", auth(TOKENS.forward, true), "invalid token"],
    ["a provider's token as client", auth(TOKENS.provider), "invalid token"],
    ["a hash in place of the token", auth(sha256(TOKENS.forward)), "invalid token"],
    ["anonymous", auth("anonymous"), "invalid token"],
    ["no token", auth(""), "invalid token"],
    [
      "another major version",
      Buffer.concat([hex("11"), auth(TOKENS.forward).subarray(1)]),
      "invalid auth message: unsupported protocol major version: peer=0x11 (major=1 minor=1) local=0x01 (major=0 minor=1)",
    ],
    ["a log", encodeMessage({ type: "log", level: "info", text: "x" }), "invalid auth message"],
    ["an unknown type", hex("01fe"), "invalid auth message"],
    ["one byte", hex("01"), "invalid auth message: message too short"],
    ["a short one", hex("0101056162"), "invalid auth message: invalid auth message length"],
  ] as const;
  for (const [what, bytes, error] of cases) {
    test(`with ${what} is ${error ?? "welcome"}`, async () => {
      const house = new LinkSocksHouse();
      const peer = house.connect("/socket");
      peer.sayBytes(bytes);
      const [first] = await peer.heard();
      assert.deepEqual(first, { type: "authResponse", error });
    });
  }

  test("has ten seconds", async () => {
    const house = new LinkSocksHouse();
    const peer = house.connect("/socket");
    await turns();
    house.clock.advance(9_999);
    await turns();
    assert.ok(!peer.isClosed);
    house.clock.advance(1);
    assert.deepEqual(await peer.heard(), []);
    assert.ok(peer.isClosed);
    assert.match(house.logs.text, /warn connection refused .*not there within 10000 ms/);
  });

  test("keeps what comes behind it", async () => {
    const house = new LinkSocksHouse();
    const peer = house.connect("/socket");
    peer.sayBytes(auth(TOKENS.forward));
    peer.say(CONNECT);
    await peer.heard();
    assert.equal(house.requests.length, 1);
  });
});

describe("the doors of a LinkSocks server", () => {
  test("are closed to an address that fails too often", async () => {
    const failures: string[] = [];
    const guard: LoginGuard = {
      blockedForMs: () => (failures.length >= 2 ? 1_000 : 0),
      recordFailure: (peer) => void failures.push(peer),
    };
    const house = new LinkSocksHouse({ guard });
    await house.connect("/socket?token=abc").heard();
    await house.connect(`/socket?token=${sha256("wrong")}`).heard();
    const peer = house.connect(`/socket?token=${sha256(TOKENS.forward)}`);
    assert.deepEqual(await peer.heard(), []);
    assert.ok(peer.isClosed);
    assert.deepEqual(failures, ["peer1:1", "peer2:1"]);
  });

  test("stay open to who shows the same wrong token again: that is no guess", async () => {
    const failures: string[] = [];
    const guard: LoginGuard = {
      blockedForMs: () => (failures.length >= 2 ? 1_000 : 0),
      recordFailure: (peer) => void failures.push(peer),
    };
    const house = new LinkSocksHouse({ guard });
    for (let at = 0; at < 5; at++) {
      const peer = house.connect(`/socket?token=${sha256("early connector")}`);
      assert.deepEqual(await peer.heard(), [{ type: "authResponse", error: "invalid token" }]);
    }
    assert.equal(failures.length, 1);
  });

  test("let in so many at their login, and so many in all", async () => {
    const house = new LinkSocksHouse({ maxLogins: 1, maxPeers: 1 });
    const silent = house.connect("/socket");
    await turns();
    const second = house.connect(`/socket?token=${sha256(TOKENS.forward)}`);
    await second.heard();
    assert.ok(second.isClosed);
    silent.say({ type: "auth", token: TOKENS.forward, isReverse: false, instance: INSTANCE });
    assert.deepEqual(await silent.heard(), [WELCOME]);
    const third = house.connect(`/socket?token=${sha256(TOKENS.forward)}`);
    await third.heard();
    assert.ok(third.isClosed);
    assert.match(house.logs.text, /too many peers at their login/);
    assert.match(house.logs.text, /1 peers are here already/);
  });

  test("let in who is anonymous only when told so, without a name", async () => {
    const house = new LinkSocksHouse({ anonymous: true });
    const peer = await house.logIn("anonymous");
    assert.deepEqual(await peer.heard(), [WELCOME]);
    peer.say(CONNECT);
    await peer.heard();
    assert.equal(house.requests[0]?.metadata.user, undefined);
    const provider = await house.logIn("anonymous", { reverse: "true" });
    assert.deepEqual(await provider.heard(), [{ type: "authResponse", error: "invalid token" }]);
  });

  test("take anonymous providers for the provider of that name", async () => {
    const house = new LinkSocksHouse({
      anonymous: true,
      providers: [{ name: "anonymous", token: TOKENS.provider, autonomy: false }],
      connectors: [],
    });
    const provider = await house.logIn("anonymous", { reverse: "true" });
    assert.deepEqual(await provider.heard(), [WELCOME]);
    void open(house, "anonymous").catch(() => {});
    assert.equal((await provider.heard())[0]?.type, "connect");
  });

  test("say which token of the configuration is one too many", () => {
    const clients = [
      { name: "a", token: "same" },
      { name: "b", token: "same" },
    ];
    assert.throws(() => new LinkSocksHouse({ clients }), /client "b": token already exists/);
    const connectors = [{ name: "c", token: "t", provider: "nowhere" }];
    assert.throws(
      () => new LinkSocksHouse({ connectors }),
      /connector "c": there is no provider "nowhere"/,
    );
  });
});

describe("what a forward client asks for", () => {
  test("becomes a request under its name", async () => {
    const house = new LinkSocksHouse();
    const peer = await house.logIn(TOKENS.forward);
    peer.say(CONNECT);
    await peer.heard();
    const [request] = house.requests;
    assert.deepEqual(request?.target, { network: "tcp", host: "example.com", port: 443 });
    assert.deepEqual(request?.metadata, {
      inbound: "house",
      source: "peer1:1",
      user: "alice",
      via: undefined,
    });
    request?.reject(new NetworkError("ERR_DIAL_REFUSED", "example.com:443 refused"));
    const [answer] = await peer.heard();
    assert.equal(answer?.type, "connectResponse");
    assert.match(answer?.error ?? "", /connection refused/);
    peer.connection.close();
    await peer.heard();
    assert.equal(house.server.peerCount, 0);
    assert.equal(house.clock.pending, 0);
  });

  test("may be an association", async () => {
    const house = new LinkSocksHouse();
    const peer = await house.logIn(TOKENS.forward);
    await peer.heard();
    peer.say({ type: "connect", protocol: "udp", channelId: CHANNEL });
    await peer.heard();
    const [request] = house.packetRequests;
    assert.equal(request?.metadata.user, "alice");
    request?.accept();
    assert.deepEqual(await peer.heard(), [
      { type: "connectResponse", channelId: CHANNEL, error: undefined },
    ]);
  });

  test("is refused once the server is closing", async () => {
    const house = new LinkSocksHouse();
    const peer = await house.logIn(TOKENS.forward);
    await peer.heard();
    void house.server.close(1_000);
    peer.say(CONNECT);
    assert.equal(house.requests.length, 0);
    await peer.heard();
    house.clock.advance(1_000);
    await peer.heard();
    assert.ok(peer.isClosed);
    const late = house.connect(`/socket?token=${sha256(TOKENS.forward)}`);
    await late.heard();
    assert.ok(late.isClosed);
  });
});

describe("providers of one token", () => {
  test("take turns", async () => {
    const house = new LinkSocksHouse();
    const [one, two] = [await house.logIn(TOKENS.provider), await house.logIn(TOKENS.provider)];
    await one.heard();
    await two.heard();
    for (let at = 0; at < 4; at++) void open(house, "office").catch(() => {});
    assert.equal((await one.heard()).length, 2);
    assert.equal((await two.heard()).length, 2);
  });

  test("end their channels at once when they go", async () => {
    const house = new LinkSocksHouse();
    const provider = await house.logIn(TOKENS.provider);
    const opening = open(house, "office");
    const wish = (await provider.heard()).at(-1);
    assert.equal(wish?.type, "connect");
    if (wish?.type !== "connect") return;
    provider.say({ type: "connectResponse", channelId: wish.channelId, error: undefined });
    const connection = await opening;
    const gone = Promise.withResolvers<string | undefined>();
    connection.attach({
      onData: () => {},
      onEnd: () => {},
      onDrain: () => {},
      onClose: (error) => gone.resolve(error?.code),
    });
    connection.resume();
    provider.connection.reset(new NetworkError("ERR_CONNECTION_RESET", "cut"));
    assert.equal(await gone.promise, "ERR_TUNNEL_LOST");
  });

  test("are waited for: ten seconds by a proxy", async () => {
    const house = new LinkSocksHouse();
    const opening = assert.rejects(open(house, "office"), {
      code: "ERR_TUNNEL_DOWN",
      message: "no available reverse clients",
      hint: 'provider "office" is not connected: start it, or check its token',
    });
    house.clock.advance(9_999);
    await turns();
    house.clock.advance(1);
    await opening;
    const joined = open(house, "office");
    const provider = await house.logIn(TOKENS.provider);
    assert.equal((await provider.heard())[1]?.type, "connect");
    joined.catch(() => {});
  });
});

describe("a connector", () => {
  test("reaches its provider, whatever routes say", async () => {
    const house = new LinkSocksHouse();
    const provider = await house.logIn(TOKENS.provider);
    const connector = await house.logIn(TOKENS.connector);
    await provider.heard();
    await connector.heard();
    connector.say(CONNECT);
    const [wish] = await provider.heard();
    assert.deepEqual(house.requests[0]?.metadata, {
      inbound: "house",
      source: "peer2:1",
      user: "bob",
      via: "office",
    });
    assert.ok(wish?.type === "connect" && wish.protocol === "tcp");
    assert.notEqual(wish.channelId, CHANNEL, "each WebSocket has channels of its own");
    assert.deepEqual([wish.host, wish.port], ["example.com", 443]);
    const { channelId } = wish;
    provider.say({ type: "connectResponse", channelId, error: undefined });
    provider.say(data(channelId, "banner"));
    assert.deepEqual(await connector.heard(), [
      { type: "connectResponse", channelId: CHANNEL, error: undefined },
      data(CHANNEL, "banner"),
    ]);
    connector.say(data(CHANNEL, "hello"));
    assert.deepEqual(await provider.heard(), [data(channelId, "hello")]);
    provider.say({ type: "disconnect", channelId, error: "EOF" });
    assert.deepEqual(await connector.heard(), [
      { type: "disconnect", channelId: CHANNEL, error: "EOF" },
    ]);
  });

  test("hears after five seconds that no provider is there", async () => {
    const house = new LinkSocksHouse();
    const connector = await house.logIn(TOKENS.connector);
    connector.say(CONNECT);
    await connector.heard();
    house.clock.advance(4_999);
    assert.deepEqual(await connector.heard(), []);
    house.clock.advance(1);
    assert.deepEqual(await connector.heard(), [
      { type: "connectResponse", channelId: CHANNEL, error: "no available reverse clients" },
    ]);
  });

  test("has its wish carried out by a provider that joins in time", async () => {
    const house = new LinkSocksHouse();
    const connector = await house.logIn(TOKENS.connector);
    connector.say(CONNECT);
    await connector.heard();
    house.clock.advance(4_000);
    const provider = await house.logIn(TOKENS.provider);
    const words = (await provider.heard()).map(({ type }) => type);
    assert.deepEqual(words, ["authResponse", "connect"]);
  });

  test("has its end passed on to the provider", async () => {
    const house = new LinkSocksHouse();
    const provider = await house.logIn(TOKENS.provider);
    const connector = await house.logIn(TOKENS.connector);
    connector.say(CONNECT);
    const wish = (await provider.heard()).at(-1);
    assert.ok(wish?.type === "connect");
    const { channelId } = wish;
    provider.say({ type: "connectResponse", channelId, error: undefined });
    await connector.heard();
    connector.connection.reset(new NetworkError("ERR_CONNECTION_RESET", "gone"));
    const ends = (await provider.heard()).filter(({ type }) => type === "disconnect");
    assert.equal(ends.length, 1);
  });
});

describe("partners", () => {
  test("are counted for each reverse token, at every join and leave", async () => {
    const house = new LinkSocksHouse({
      providers: [
        { name: "office", token: TOKENS.provider, autonomy: false },
        { name: "other", token: "other-token", autonomy: false },
      ],
    });
    const connector = await house.logIn(TOKENS.connector);
    assert.deepEqual(await connector.heard(), [WELCOME, { type: "partners", count: 0 }]);
    const provider = await house.logIn(TOKENS.provider);
    assert.deepEqual(await connector.heard(), [{ type: "partners", count: 1 }]);
    await provider.heard();
    const stranger = await house.logIn("other-token");
    const second = await house.logIn(TOKENS.connector);
    assert.deepEqual(await second.heard(), [WELCOME, { type: "partners", count: 1 }]);
    assert.deepEqual(await provider.heard(), [{ type: "partners", count: 2 }]);
    assert.deepEqual(await connector.heard(), [], "a stranger's provider is nobody's business");
    second.connection.close();
    assert.deepEqual(await provider.heard(), [{ type: "partners", count: 1 }]);
    provider.connection.close();
    assert.deepEqual(await connector.heard(), [{ type: "partners", count: 0 }]);
    assert.deepEqual(await stranger.heard(), [WELCOME]);
  });
});

describe("what peers want in the log", () => {
  test("is cleaned, cut, kept at debug, and not passed on", async () => {
    const house = new LinkSocksHouse();
    const provider = await house.logIn(TOKENS.provider);
    const connector = await house.logIn(TOKENS.connector);
    await provider.heard();
    await connector.heard();
    const text = `\u001b[31mred\nforged line\u202e${"x".repeat(1_000)}`;
    connector.say({ type: "log", level: "error", text });
    assert.deepEqual(await provider.heard(), []);
    const line = house.logs.lines.find((one) => one.includes("peer says")) ?? "";
    assert.match(line, /^debug peer says .*"level":"error","words":"\?\[31mred\?forged line\?x+"/);
    assert.ok(line.length < 800);
  });

  test("is not more than somebody could read", async () => {
    const house = new LinkSocksHouse();
    const peer = await house.logIn(TOKENS.forward);
    for (let at = 0; at < 100; at++) peer.say({ type: "log", level: "info", text: `line ${at}` });
    await peer.heard();
    const count = (): number =>
      house.logs.lines.filter((line) => line.includes("peer says")).length;
    assert.equal(count(), 20);
    house.clock.advance(1_000);
    peer.say({ type: "log", level: "info", text: "later" });
    await peer.heard();
    assert.equal(count(), 21);
  });
});

function open(
  house: LinkSocksHouse,
  via: string,
): ReturnType<NonNullable<ReturnType<LinkSocksHouse["outbounds"]["get"]>>["dial"]> {
  const outbound = house.outbounds.get(via);
  assert.ok(outbound !== undefined);
  const target = { network: "tcp", host: "example.com", port: 80 } as const;
  const metadata = { inbound: "socks", source: "program" };
  return outbound.dial(target, { signal: new AbortController().signal, metadata });
}

function data(channelId: string, text: string): Message {
  const payload = Uint8Array.from(Buffer.from(text));
  return { type: "data", protocol: "tcp", channelId, compression: 0, payload };
}
