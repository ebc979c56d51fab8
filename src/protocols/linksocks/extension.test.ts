import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { carry, LinkSocksEnd, linksocksPair } from "../../../test/support/linksocks-end.ts";
import { NetworkError, PolicyError } from "../../errors.ts";
import { helloOf, parseHello } from "./extension.ts";
import type { LinkSocksOptions } from "./options.ts";

const KIB = 1024;

describe("two Sluice ends of linksocks", () => {
  test("recognise each other, and consume each other's hello", () => {
    const { client, server } = linksocksPair();
    assert.deepEqual(client.said(), ["HELLO"]);
    carry(client, server);
    assert.deepEqual(server.said(), ["HELLO"]);
    assert.deepEqual(client.events(), ["ready sluice"]);
    assert.deepEqual(server.events(), ["ready sluice"]);
    client.hearHello(1);
    assert.deepEqual(client.events(), [], "one hello counts");
  });

  test("mark a channel with its first grant, right before its Connect", () => {
    const { client, server } = connected({ initialWindowBytes: 100 * KIB }, {});
    client.open();
    assert.deepEqual(client.said(), [`WINDOW 1 ${100 * KIB}`, "CONNECT 1 example.com:80"]);
    carry(client, server);
    assert.deepEqual(server.events(), ["requested 1 example.com:80"]);
    assert.equal(client.session.hasWindow(1), true);
    assert.equal(server.session.hasWindow(1), true);
    assert.equal(client.session.writable(1), 256 * KIB, "what the server's hello grants");
    assert.equal(server.session.writable(1), 0, "not before it accepted");
    server.accept(1);
    assert.equal(server.session.writable(1), 100 * KIB);
    carry(client, server);
    assert.deepEqual(client.events(), ["accepted 1"], "it was writable before");
  });

  test("may send before the answer", () => {
    const { client, server } = connected({ fastOpen: true });
    client.open();
    client.write(1, 256 * KIB);
    assert.equal(client.session.writable(1), 0);
    client.finish(1);
    carry(client, server);
    const early = Array<string>(16).fill("data 1 16384");
    assert.deepEqual(server.events(), ["requested 1 example.com:80", ...early, "finished 1"]);
    server.accept(1);
    server.finish(1);
    carry(client, server);
    assert.deepEqual(client.events(), ["accepted 1", "finished 1", "closed 1"]);
    assert.deepEqual(server.events(), ["writable 1", "closed 1"]);
  });

  for (const [first, second] of [
    ["client", "server"],
    ["server", "client"],
  ] as const) {
    test(`half-close each way, the ${first} first, and need no Disconnect`, () => {
      const pair = opened();
      const [one, two] = [pair[first], pair[second]];
      one.write(1, 5);
      one.finish(1);
      one.finish(1);
      carry(one, two);
      assert.deepEqual(two.events(), ["data 1 5", "finished 1"]);
      assert.equal(one.session.writable(1), 0);
      for (const end of [one, two]) end.pass(3_600_000);
      two.write(1, 7);
      two.finish(1);
      carry(one, two);
      assert.deepEqual(one.events(), ["data 1 7", "finished 1", "closed 1"]);
      assert.deepEqual(two.events(), ["closed 1"]);
      assert.deepEqual(one.said(), ["DATA 1 5", "FINISH 1"]);
      assert.deepEqual(two.said(), ["DATA 1 7", "FINISH 1"]);
    });

    test(`close both ways at once, the ${first} first`, () => {
      for (const isHalfClosed of [false, true]) {
        const pair = opened();
        const [one, two] = [pair[first], pair[second]];
        if (isHalfClosed) one.finish(1);
        one.close(1);
        carry(one, two);
        assert.deepEqual(two.events(), ["finished 1", "closed 1"], "the end is told once");
        assert.deepEqual(one.events(), ["closed 1"]);
        assert.deepEqual(two.said(), [], "a dead channel is never answered");
      }
    });

    test(`cut a channel off, the ${first} first, and say so`, () => {
      const pair = opened();
      const [one, two] = [pair[first], pair[second]];
      two.finish(1);
      carry(one, two);
      one.reset(1, new PolicyError("ERR_SLOW_READER", "too slow"));
      carry(one, two);
      assert.deepEqual(two.events(), ["closed 1 ERR_CONNECTION_RESET"]);
    });
  }

  test("send what they were granted, and more as it is taken", () => {
    const { client, server } = opened({}, { initialWindowBytes: 1000, maxWindowBytes: 1000 });
    client.write(1, 1000);
    carry(client, server);
    server.consumed(1, 249);
    assert.deepEqual(server.said(), []);
    server.consumed(1, 1);
    assert.deepEqual(server.said(), ["WINDOW 1 250"]);
    carry(client, server);
    assert.deepEqual(client.events(), ["writable 1"]);
    assert.equal(client.session.writable(1), 250);
    server.consumed(1, 750);
    carry(client, server);
    assert.deepEqual(client.events(), [], "it was writable before");
    assert.equal(client.session.writable(1), 1000);
    client.finish(1);
    carry(client, server);
    server.said();
    server.consumed(1, 1000);
    assert.deepEqual(server.said(), [], "who finished needs no window");
  });

  test("lose a channel that breaks its rules, and no other", () => {
    const { client, server } = opened({}, { initialWindowBytes: 1000 });
    server.hearData(1, 1001);
    assert.deepEqual(server.events(), ["closed 1 ERR_PROTOCOL"]);
    assert.deepEqual(server.said(), ["DISCONNECT 1 data beyond the window"]);
    client.open();
    carry(client, server);
    server.accept(2);
    server.events();
    server.said();
    server.hear({ type: "finish", channel: 2 });
    server.hear({ type: "finish", channel: 2 });
    server.hearData(2, 1);
    assert.deepEqual(server.events(), ["finished 2", "closed 2 ERR_PROTOCOL"]);
    assert.deepEqual(server.said(), ["DISCONNECT 2 data after Finish"]);
    client.open();
    carry(client, server);
    client.events();
    client.hear({ type: "window", channel: 3, increment: 0x7fff_ffff });
    assert.deepEqual(client.events(), ["closed 3 ERR_PROTOCOL"]);
  });

  test("count windows before compression", () => {
    const { client, server } = opened({ compressFromBytes: 50 * KIB });
    client.write(1, 200 * KIB);
    assert.match(client.said()[0] ?? "", /^DATA 1 \d+ gzip$/);
    carry(client, server);
    assert.equal(client.session.writable(1), 56 * KIB);
    const heard = server.log.map((event) => (event.type === "streamData" ? event.data.length : 0));
    assert.equal(
      heard.reduce((sum, length) => sum + length, 0),
      200 * KIB,
    );
  });

  test("agree on every channel, however hellos cross", () => {
    const { client, server } = linksocksPair({ fastOpen: true });
    client.open(); // 1: nobody's hello was heard
    const [hello, connect] = client.wire;
    assert.ok(hello !== undefined && connect !== undefined);
    server.receive(hello);
    for (const bytes of server.wire.splice(0)) client.receive(bytes);
    client.open(); // 2: both were heard
    server.receive(connect);
    for (const bytes of client.wire.splice(0).slice(2)) server.receive(bytes);
    for (const end of [client, server]) {
      assert.equal(end.session.hasWindow(1), false);
      assert.equal(end.session.hasWindow(2), true);
    }
    assert.equal(client.session.writable(1), 0, "held as toward everybody else");
    server.accept(1);
    server.finish(1);
    carry(client, server);
    assert.deepEqual(server.said(), ["HELLO", "ANSWER 1 ok", "DISCONNECT 1 EOF"]);
    assert.deepEqual(client.events().slice(-2), ["finished 1", "closed 1"]);
  });

  test("take a mark only right before its own Connect", () => {
    const end = new LinkSocksEnd("server").start();
    end.hearHello();
    end.hear({ type: "window", channel: 1, increment: 5 });
    end.hearConnect(2);
    end.hearConnect(1);
    end.hear({ type: "window", channel: 3, increment: 5 });
    end.hearConnect(3);
    end.hear({ type: "window", channel: 4, increment: 5 });
    end.hear({ type: "connect", protocol: "udp", channel: 4 });
    assert.deepEqual(
      [1, 2, 3, 4].map((id) => end.session.hasWindow(id)),
      [false, false, true, false],
    );
  });

  test("say nothing of it to a peer that did not greet", () => {
    const end = new LinkSocksEnd("both").start();
    end.open();
    end.hearAnswer(1);
    end.hear({ type: "window", channel: 9, increment: 5 });
    end.hearConnect(9);
    end.accept(2);
    end.write(1, 5);
    end.finish(1);
    end.finish(2);
    end.consumed(1, 500_000);
    assert.deepEqual(end.said(), [
      "HELLO",
      "CONNECT 1 example.com:80",
      "ANSWER 9 ok",
      "DATA 1 5",
      "DISCONNECT 9 EOF",
    ]);
    assert.equal(end.session.hasWindow(2), false);
  });

  test("stay plain when one of them is told to", () => {
    for (const [mine, theirs] of [
      [{ extensions: false }, {}],
      [{}, { extensions: false }],
    ]) {
      const { client, server } = connected(mine, theirs);
      client.open();
      carry(client, server);
      assert.equal(client.session.hasWindow(1), false);
      assert.equal(server.session.hasWindow(1), false);
      assert.deepEqual(server.events().slice(-1), ["requested 1 example.com:80"]);
      assert.ok(!client.events().includes("message log"), "a hello is nobody's log");
    }
  });

  test("carry datagrams without windows", () => {
    const { client, server } = connected();
    client.openPackets();
    assert.deepEqual(client.said(), ["CONNECT 1 udp"]);
    carry(client, server);
    server.accept(1);
    client.sendPacket(1, { host: "192.0.2.1", port: 53, data: new Uint8Array(3) });
    carry(client, server);
    assert.deepEqual(server.events(), ["packets requested 1", "packet 1 192.0.2.1:53 3"]);
    assert.equal(server.session.hasWindow(1), false);
  });

  test("pass on the code of a failure", () => {
    const { client, server } = connected();
    client.open();
    carry(client, server);
    server.reset(1, new NetworkError("ERR_DIAL_NETWORK_UNREACHABLE", "connect ENETUNREACH"));
    carry(client, server);
    assert.deepEqual(client.events(), ["closed 1 ERR_DIAL_NETWORK_UNREACHABLE"]);
  });
});

describe("linksocks hellos", () => {
  test("look like this", () => {
    const log = helloOf({ windowBytes: 262_144 });
    assert.deepEqual(log, {
      type: "log",
      level: "debug",
      text: "sluice_hello:version=1,window=262144",
    });
    assert.deepEqual(parseHello(log), { windowBytes: 262_144 });
  });

  test("may grow more members, and are nothing else", () => {
    const parse = (text: string): unknown => parseHello({ type: "log", level: "", text });
    assert.deepEqual(parse("sluice_hello:version=1,window=5,more=7"), { windowBytes: 5 });
    for (const text of [
      "linksocks_client_hello:direct_signaling=1",
      "sluice_hello:version=2,window=5",
      "sluice_hello:version=1,window=",
      "sluice_hello:version=1,window=0",
      "sluice_hello:version=1,window=5x",
      "sluice_hello:version=1,window=2147483648",
      "sluice_hello:version=1,window=99999999999",
      " sluice_hello:version=1,window=5",
    ]) {
      assert.equal(parse(text), undefined, text);
    }
  });
});

interface Pair {
  readonly client: LinkSocksEnd;
  readonly server: LinkSocksEnd;
}

/** Two ends that know each other. */
function connected(
  clientOptions: Partial<LinkSocksOptions> = {},
  serverOptions: Partial<LinkSocksOptions> = {},
): Pair {
  const pair = linksocksPair(clientOptions, serverOptions);
  carry(pair.client, pair.server);
  return quiet(pair);
}

/** The same, with channel 1 accepted. */
function opened(...options: Parameters<typeof connected>): Pair {
  const pair = connected(...options);
  pair.client.open();
  carry(pair.client, pair.server);
  pair.server.accept(1);
  carry(pair.client, pair.server);
  return quiet(pair);
}

function quiet(pair: Pair): Pair {
  for (const end of [pair.client, pair.server]) {
    end.events();
    end.said();
  }
  return pair;
}
