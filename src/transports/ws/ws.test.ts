import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import net from "node:net";
import { after, before, describe, test } from "node:test";
import { type WebSocket, WebSocketServer } from "ws";
import { CertificateFactory, type Identity } from "../../../test/support/certificates.ts";
import { patternBytes, randomChunks } from "../../../test/support/chunks.ts";
import { assertBytes } from "../../../test/support/hex.ts";
import { Recorder } from "../../../test/support/recorder.ts";
import { settled, turns } from "../../../test/support/turns.ts";
import { skipWithout } from "../../../test/support/which.ts";
import { SlabPool } from "../../bytes/slab-pool.ts";
import { systemClock } from "../../clock/clock.ts";
import { ManualClock } from "../../clock/manual-clock.ts";
import { NetworkError, PolicyError, TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import { dialWs, type WsDialOptions } from "./dial.ts";
import { listenWs, type WsListenOptions } from "./listen.ts";

describe("a websocket", { timeout: 20_000 }, () => {
  test("carries bytes both ways and ends with a close frame", async () => {
    await using house = await listen();
    const near = await dial(house);
    const far = await house.accepted();
    near.connection.write([Buffer.from("question")]);
    await far.received(8);
    far.connection.write([Buffer.from("answer")]);
    await near.received(6);
    near.connection.close();
    await Promise.all([near.closed(), far.closed()]);
    assert.deepEqual(far.events, ["end", "close"]);
    assert.deepEqual(near.events, ["close"]);
    assert.equal(near.connection.info.peer, house.address);
    assert.equal(near.connection.info.transport, "ws");
  });

  test("takes one huge write in messages that any peer accepts", async () => {
    await using house = await listen();
    const near = await dial(house);
    const far = await house.accepted();
    const bytes = patternBytes(20 * MIB);
    near.connection.write([bytes]);
    await far.received(bytes.byteLength);
    assertBytes(far.chunks, bytes);
    assert.deepEqual(far.events, []);
  });

  test("takes very many tiny chunks in one write", async () => {
    await using house = await listen();
    const near = await dial(house);
    const far = await house.accepted();
    const bytes = patternBytes(50_000);
    near.connection.write(Array.from(bytes, (byte) => Uint8Array.of(byte)));
    await far.received(bytes.byteLength);
    assertBytes(far.chunks, bytes);
    assert.deepEqual(far.events, []);
  });

  test("looks hard from the other end when it is reset", async () => {
    for (const side of ["near", "far"] as const) {
      await using house = await listen();
      const near = await dial(house);
      const far = await house.accepted();
      near.connection.write([Buffer.from("x")]);
      await far.received(1);
      const [one, two] = side === "near" ? [near, far] : [far, near];
      one.connection.reset(new NetworkError("ERR_TUNNEL_LOST", "gone"));
      await Promise.all([one.closed(), two.closed()]);
      assert.deepEqual(one.events, ["close ERR_TUNNEL_LOST"]);
      assert.deepEqual(two.events, ["close ERR_CONNECTION_RESET"]);
      assert.match(two.closeError?.message ?? "", /^ws 127\.0\.0\.1:\d+: ECONNRESET$/);
    }
  });

  describe("whose peer is gone while its reader is behind", () => {
    async function behind(house: House): Promise<{ far: Recorder }> {
      const near = await dial(house);
      const connection = await house.next();
      const far = new Recorder(connection);
      far.onData = () => connection.pause();
      connection.resume();
      // Two messages in one read: the second waits in the inbox.
      near.connection.write([Buffer.from("one")]);
      await turns(1);
      near.connection.write([Buffer.from("two")]);
      await settled(() => 0, 20);
      connection.unshift(Buffer.from("put back"));
      near.connection.close();
      const reading = new Recorder(connection);
      await settled(() => reading.events.length, 50);
      return { far: reading };
    }

    test("can be reset", async () => {
      await using house = await listen();
      const { far } = await behind(house);
      assert.deepEqual(far.events, []);
      far.connection.reset(OVER);
      await far.closed();
      assert.deepEqual(far.events, ["close ERR_CLOSED"]);
    });

    test("can be closed", async () => {
      await using house = await listen();
      const { far } = await behind(house);
      far.connection.close();
      await far.closed();
      assert.deepEqual(far.events, ["close"]);
    });
  });

  test("flushes to a slow peer after a close", async () => {
    const clock = new ManualClock();
    await using house = await listen({ runtime: runtime(clock), keepaliveMs: 0 });
    const peer = await RawPeer.connect(house);
    const far = await house.accepted();
    peer.stopReading();
    for (let count = 0; count < 24; count++) far.connection.write([new Uint8Array(MIB)]);
    far.connection.close();
    for (let second = 0; second < 50; second++) {
      await turns(1);
      clock.advance(1_000);
    }
    assert.deepEqual(far.events, []);
    peer.socket.resume();
    while (peer.socket.bytesRead < 24 * MIB) await turns(1);
    peer.socket.end(peer.encode(0x8, Buffer.alloc(0)));
    await Promise.all([far.closed(), peer.closed()]);
    assert.deepEqual(far.events, ["close"]);
    assert.equal(peer.error, undefined);
    assert.equal(clock.pending, 0);
  });

  test("cuts a peer that takes nothing after a close, and it looks cut", async () => {
    const clock = new ManualClock();
    await using house = await listen({ runtime: runtime(clock), keepaliveMs: 0 });
    const peer = await RawPeer.connect(house);
    const far = await house.accepted();
    peer.stopReading();
    for (let count = 0; count < 24; count++) far.connection.write([new Uint8Array(MIB)]);
    far.connection.close();
    await settled(() => far.connection.pendingBytes, 20);
    clock.advance(65_000);
    await far.closed();
    assert.equal(clock.pending, 0);
    peer.socket.resume();
    await peer.closed();
    assert.notEqual(peer.error, undefined);
  });
});

describe("a websocket listener", { timeout: 20_000 }, () => {
  test("answers what is no upgrade, and closes", async () => {
    await using house = await listen({ path: "/tunnel" });
    const upgrade = (path: string, more = ""): string =>
      `GET ${path} HTTP/1.1\r\nHost: ${house.address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n${more}\r\n`;
    const cases = {
      "a plain GET": ["GET /tunnel HTTP/1.1\r\nHost: x\r\n\r\n", /^HTTP\/1\.1 426 /],
      "a plain GET elsewhere": ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", /^HTTP\/1\.1 404 /],
      "a POST": [
        "POST /tunnel HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        /^HTTP\/1\.1 426 /,
      ],
      "a wrong path": [upgrade("/other"), /^HTTP\/1\.1 404 /],
      "a longer path": [upgrade("/tunnel/x"), /^HTTP\/1\.1 404 /],
      "a foreign origin": [
        upgrade("/tunnel", "Origin: https://evil.example\r\n"),
        /^HTTP\/1\.1 403 /,
      ],
      "no origin at all": [upgrade("/tunnel", "Origin: null\r\n"), /^HTTP\/1\.1 403 /],
      "another version": [
        upgrade("/tunnel").replace("Version: 13", "Version: 7"),
        /^HTTP\/1\.1 (400|426) /,
      ],
      "another protocol": [
        "GET /tunnel HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        /^HTTP\/1\.1 (400|426) /,
      ],
    } as const;
    for (const [name, [request, answer]] of Object.entries(cases)) {
      const socket = net.connect({ ...house.to, allowHalfOpen: true });
      socket.write(request);
      const chunks: Buffer[] = [];
      socket.on("data", (chunk) => chunks.push(chunk));
      socket.on("error", () => {});
      await once(socket, "end");
      assert.match(Buffer.concat(chunks).toString(), answer, name);
      // The other end of a client that never closes must be gone all the same.
      while (!socket.closed) {
        socket.write("x");
        await turns(1);
      }
    }
    assert.equal(house.size, 0);
  });

  test("serves its path with any query, its own origin, and every path when it has none", async () => {
    await using house = await listen({ path: "/tunnel" });
    await exchange(await dial(house, { path: "/tunnel?a=b" }), await house.accepted());
    const origin = { Origin: `http://${house.address}` };
    await exchange(await dial(house, { path: "/tunnel", headers: origin }), await house.accepted());
    await using open = await listen();
    await exchange(await dial(open, { path: "/any/where" }), await open.accepted());
  });

  test("gives up who drips a request or says nothing, at its deadline", async () => {
    const clock = new ManualClock();
    await using house = await listen({ runtime: runtime(clock) });
    const [silent, dripping, half] = [0, 1, 2].map(() => net.connect(house.to));
    assert.ok(silent && dripping && half);
    for (const socket of [silent, dripping, half]) {
      socket.on("error", () => {});
      socket.resume();
      await once(socket, "connect");
    }
    half.write("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: web");
    while (clock.pending < 3) await turns(1);
    const peers = [silent, dripping, half].map(({ localPort }) => `127.0.0.1:${localPort}`);
    for (let second = 0; second < 9; second++) {
      dripping.write("G");
      clock.advance(1_000);
      await turns(3);
    }
    assert.ok(!silent.closed && !half.closed);
    clock.advance(1_000);
    while (![silent, dripping, half].every(({ closed }) => closed)) await turns(1);
    assert.equal(clock.pending, 0);
    const timedOut = house.failures.filter(([error]) => /not complete within/.test(error.message));
    assert.ok(timedOut.length >= 2, String(timedOut));
    for (const [error, peer] of timedOut) {
      assert.ok(error instanceof TunnelError);
      assert.equal(error.code, "ERR_HANDSHAKE_TIMEOUT");
      assert.ok(error.message.startsWith(`${peer}: websocket upgrade`), error.message);
      assert.ok(peers.includes(peer), peer);
    }
  });

  test("leaves no timer for a connection that was let in, or that left", async () => {
    const clock = new ManualClock();
    await using house = await listen({ runtime: runtime(clock), keepaliveMs: 0 });
    const peer = await RawPeer.connect(house);
    const far = await house.accepted();
    assert.equal(clock.pending, 0);
    peer.socket.destroy();
    await far.closed();
    const leaving = net.connect(house.to);
    await once(leaving, "connect");
    while (clock.pending === 0) await turns(1);
    leaving.destroy();
    while (clock.pending > 0) await turns(1);
  });

  test("tells of what is no HTTP, and by whom", async () => {
    await using house = await listen();
    const socket = net.connect(house.to);
    socket.on("error", () => {});
    socket.resume();
    await once(socket, "connect");
    const local = `127.0.0.1:${socket.localPort}`;
    socket.write("\u0016\u0003\u0001 this is no http\r\n\r\n");
    await once(socket, "close");
    const [[error, peer] = []] = house.failures;
    assert.equal(peer, local);
    assert.match(error?.message ?? "", /^127\.0\.0\.1:\d+: websocket upgrade: /);
  });
});

describe("a websocket and a raw peer", { timeout: 20_000 }, () => {
  test("answers pings while open", async () => {
    await using house = await listen();
    const peer = await RawPeer.connect(house);
    await house.accepted();
    peer.send(0x9, Buffer.from("are you there"));
    const frame = await peer.frame();
    assert.equal(frame.opcode, 0xa);
    assert.equal(frame.payload.toString(), "are you there");
  });

  test("hears a message in fragments, with a ping between them, in any chunking", async () => {
    await using house = await listen();
    const peer = await RawPeer.connect(house);
    const far = await house.accepted();
    const wire = Buffer.concat([
      peer.encode(0x2, Buffer.from("one "), { fin: false }),
      peer.encode(0x0, Buffer.from("two "), { fin: false }),
      peer.encode(0x9, Buffer.from("?")),
      peer.encode(0x0, Buffer.from("three ")),
      peer.encode(0x2, Buffer.from("")),
      peer.encode(0x2, Buffer.from("four")),
    ]);
    for (const chunk of randomChunks(wire, [1, 2, 1, 5, 3, 1, 1, 7, 1])) {
      peer.socket.write(chunk);
      await turns(1);
    }
    await far.received(18);
    assert.equal(far.text, "one two three four");
    assert.equal((await peer.frame()).opcode, 0xa);
  });

  test("rejects a text message", async () => {
    await using house = await listen();
    const peer = await RawPeer.connect(house);
    const far = await house.accepted();
    peer.send(0x1, Buffer.from("hello"));
    await far.closed();
    assert.deepEqual(far.events, ["close ERR_PROTOCOL"]);
    assert.match(far.closeError?.message ?? "", /sent a text message/);
    await peer.closed();
  });

  test("ends in order at a close frame, and answers it", async () => {
    for (const code of [1000, 1001, undefined]) {
      await using house = await listen();
      const peer = await RawPeer.connect(house);
      const far = await house.accepted();
      const payload = Buffer.alloc(code === undefined ? 0 : 2);
      if (code !== undefined) payload.writeUInt16BE(code);
      peer.send(0x2, Buffer.from("last"));
      peer.send(0x8, payload);
      assert.equal((await peer.frame()).opcode, 0x8);
      peer.socket.end();
      await far.closed();
      assert.equal(far.text, "last");
      assert.deepEqual(far.events, ["end", "close"], String(code));
    }
  });

  test("takes a close frame that reports trouble for a hard end", async () => {
    for (const code of [1002, 1008, 1009, 1011, 4000]) {
      await using house = await listen();
      const peer = await RawPeer.connect(house);
      const far = await house.accepted();
      const payload = Buffer.alloc(8, "reason");
      payload.writeUInt16BE(code);
      payload.write("reason", 2);
      peer.send(0x8, payload);
      await peer.frame();
      peer.socket.end();
      await far.closed();
      assert.deepEqual(far.events, ["close ERR_CONNECTION_RESET"]);
      assert.match(
        far.closeError?.message ?? "",
        new RegExp(`closed with code ${code} \\(reason\\)`),
      );
    }
  });

  test("takes a bare end between messages for an orderly one, as pong-go ends", async () => {
    await using house = await listen();
    const peer = await RawPeer.connect(house);
    const far = await house.accepted();
    peer.send(0x2, Buffer.from("last"));
    peer.socket.end();
    await far.closed();
    assert.equal(far.text, "last");
    assert.deepEqual(far.events, ["end", "close"]);
  });

  test("does not take an end inside a message for an orderly one, wherever it is", async () => {
    await using house = await listen();
    const probe = await RawPeer.connect(house);
    await house.accepted();
    const wire = Buffer.concat([
      probe.encode(0x2, patternBytes(130), { fin: false }),
      probe.encode(0x0, patternBytes(5)),
    ]);
    for (let cut = 1; cut < wire.byteLength; cut += cut < 12 || cut > 136 ? 1 : 25) {
      const peer = await RawPeer.connect(house);
      const far = await house.accepted();
      peer.socket.end(wire.subarray(0, cut));
      await far.closed();
      assert.deepEqual(far.events, ["close ERR_CONNECTION_RESET"], `cut at ${cut}`);
      assert.match(far.closeError?.message ?? "", /^ws 127\.0\.0\.1:\d+: ended inside a message$/);
    }
  });

  test("tells a reset from an end", async () => {
    await using house = await listen();
    const peer = await RawPeer.connect(house);
    const far = await house.accepted();
    peer.send(0x2, Buffer.from("x"));
    await far.received(1);
    peer.socket.resetAndDestroy();
    await far.closed();
    assert.deepEqual(far.events, ["close ERR_CONNECTION_RESET"]);
    assert.match(far.closeError?.message ?? "", /ECONNRESET/);
  });

  test("bounds a message before it is there", async () => {
    await using house = await listen();
    for (const header of ["82ff 7fffffffffffffff 00000000", "82ff 0000000001000001 00000000"]) {
      const peer = await RawPeer.connect(house);
      const far = await house.accepted();
      peer.socket.write(Buffer.from(header.replaceAll(" ", ""), "hex"));
      await far.closed();
      assert.deepEqual(far.events, ["close ERR_CONNECTION_RESET"]);
      assert.match(far.closeError?.message ?? "", /^ws 127\.0\.0\.1:\d+: /);
    }
  });

  test("ends at frames that cannot be", async () => {
    const bad = {
      "an unmasked frame": Buffer.from("820161", "hex"),
      "a reserved opcode": Buffer.from("83810000000061", "hex"),
      "a reserved bit": Buffer.from("c2810000000061", "hex"),
      "a continuation of nothing": Buffer.from("80810000000061", "hex"),
      "a long ping": Buffer.from("89fe00ff00000000", "hex"),
    };
    await using house = await listen();
    for (const [name, bytes] of Object.entries(bad)) {
      const peer = await RawPeer.connect(house);
      const far = await house.accepted();
      peer.socket.write(bytes);
      await far.closed();
      assert.deepEqual(far.events, ["close ERR_CONNECTION_RESET"], name);
    }
  });

  test("bounds the answers to pings that nobody reads", async () => {
    await using house = await listen();
    const peer = await RawPeer.connect(house);
    const far = await house.accepted();
    peer.socket.pause();
    const ping = peer.encode(0x9, Buffer.alloc(125));
    const flood = Buffer.concat(Array.from({ length: 5_000 }, () => ping));
    let rounds = 0;
    while (far.events.length === 0 && rounds < 100) {
      rounds++;
      peer.socket.write(flood);
      await turns(3);
    }
    assert.match(far.events[0] ?? "", /^close/, "flooded for ever");
  });
});

describe("the keepalive of a websocket", { timeout: 20_000 }, () => {
  test("pings a quiet peer, and goes on with its answer", async () => {
    const { clock, peer, far } = await quiet();
    for (let round = 0; round < 3; round++) {
      clock.advance(1_000);
      const frame = await peer.frame();
      assert.equal(frame.opcode, 0x9);
      peer.send(0xa, frame.payload);
      await turns(20);
    }
    clock.advance(999);
    assert.deepEqual(far.events, []);
    far.connection.reset(OVER);
  });

  test("notices a silent peer within twice its interval", async () => {
    const { clock, peer, far } = await quiet();
    clock.advance(1_999);
    assert.equal((await peer.frame()).opcode, 0x9);
    assert.deepEqual(far.events, []);
    clock.advance(1);
    await far.closed();
    assert.deepEqual(far.events, ["close ERR_PEER_SILENT"]);
    assert.match(far.closeError?.message ?? "", /said nothing for 2000 ms/);
    assert.equal(clock.pending, 0);
  });

  test("takes half a message for a sign of life: a slow link is no dead one", async () => {
    const { clock, peer, far } = await quiet();
    for (const byte of peer.encode(0x2, patternBytes(20))) {
      peer.socket.write(Uint8Array.of(byte));
      await turns(10);
      clock.advance(900);
    }
    await far.received(20);
    assert.deepEqual(far.events, []);
    far.connection.reset(OVER);
  });

  test("does not blame the peer while nobody reads here", async () => {
    const { clock, peer, far } = await quiet();
    far.connection.pause();
    for (let count = 0; count < 20; count++) {
      clock.advance(1_000);
      await turns();
    }
    assert.deepEqual(far.events, []);
    far.connection.resume();
    peer.send(0x2, Buffer.from("x"));
    await far.received(1);
    far.connection.reset(OVER);
  });
});

describe("dialling a websocket", { timeout: 20_000 }, () => {
  test("names peer, phase and what to try for every answer that is none", async () => {
    const answers: Record<string, [(socket: net.Socket) => void, RegExp]> = {
      "not found": [answering("HTTP/1.1 404 Not Found"), /answered 404 Not Found$/],
      "a page": [answering("HTTP/1.1 200 OK"), /answered 200 OK$/],
      "a redirect": [answering("HTTP/1.1 302 Found\r\nLocation: /x"), /answered 302 Found$/],
      "no HTTP": [(socket) => void socket.end("SSH-2.0-x\r\n"), /websocket upgrade: /],
      nothing: [(socket) => void socket.end(), /websocket upgrade: /],
      "a reset": [
        (socket) => void socket.once("data", () => socket.resetAndDestroy()),
        /websocket upgrade: /,
      ],
      "a wrong key": [
        answering(
          "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x",
        ),
        /websocket upgrade: /,
      ],
    };
    for (const [name, [answer, text]] of Object.entries(answers)) {
      await using plain = await listenPlain(answer);
      const dialling = dialWs({ to: plain.to, runtime: runtime(), secure: false });
      await assert.rejects(dialling, (error: TunnelError) => {
        assert.ok(error instanceof TunnelError, name);
        assert.ok(error.message.startsWith(`127.0.0.1:${plain.to.port}: websocket upgrade`), name);
        assert.match(error.message, text, name);
        assert.notEqual(error.hint, undefined, name);
        return true;
      });
    }
  });

  test("gives up a server that never answers the upgrade", async () => {
    const clock = new ManualClock();
    await using plain = await listenPlain(() => {});
    const dialling = dialWs({ to: plain.to, runtime: runtime(clock), secure: false });
    dialling.catch(() => {});
    const socket = await plain.accepted;
    await once(socket, "data");
    clock.advance(10_000);
    await assert.rejects(dialling, {
      code: "ERR_HANDSHAKE_TIMEOUT",
      message: `127.0.0.1:${plain.to.port}: websocket upgrade not answered within 10000 ms`,
    });
    assert.equal(clock.pending, 0);
  });

  test("stops when aborted, before and during", async () => {
    await using plain = await listenPlain(() => {});
    const abort = new AbortController();
    const reason = new PolicyError("ERR_ABORTED", "left");
    const options = { to: plain.to, runtime: runtime(), secure: false, signal: abort.signal };
    const dialling = dialWs(options);
    dialling.catch(() => {});
    const socket = await plain.accepted;
    abort.abort(reason);
    await assert.rejects(dialling, reason);
    socket.resume();
    await once(socket, "close");
    await assert.rejects(dialWs(options), reason);
  });

  test("keeps bytes that came with the answer", async () => {
    await using plain = await listenPlain((socket) => {
      socket.once("data", (head) => {
        const key = /Sec-WebSocket-Key: (.*)\r\n/.exec(String(head))?.[1] ?? "";
        const data = Buffer.concat([Buffer.from([0x82, 5]), Buffer.from("early")]);
        socket.write(Buffer.concat([Buffer.from(switching(key)), data]));
      });
    });
    const connection = await dialWs({ to: plain.to, runtime: runtime(), secure: false });
    await turns(20);
    const near = new Recorder(connection);
    assert.equal(near.text, "");
    connection.resume();
    await near.received(5);
    assert.equal(near.text, "early");
    connection.reset(OVER);
  });

  test("sends the headers, path and host it was given", async () => {
    const heard = Promise.withResolvers<string>();
    await using plain = await listenPlain((socket) => {
      socket.once("data", (head) => {
        heard.resolve(String(head));
        socket.end("HTTP/1.1 404 Not Found\r\n\r\n");
      });
    });
    const dialling = dialWs({
      to: plain.to,
      runtime: runtime(),
      secure: false,
      path: "/a/b?c=d",
      authority: "front.example",
      headers: { "X-Test": "yes" },
    });
    await assert.rejects(dialling);
    const head = await heard.promise;
    assert.match(head, /^GET \/a\/b\?c=d HTTP\/1\.1\r\n/);
    assert.match(head, /\r\nHost: front\.example\r\n/);
    assert.match(head, /\r\nX-Test: yes\r\n/);
    assert.doesNotMatch(head, /Origin|Sec-WebSocket-Extensions/i);
  });
});

describe("a websocket of messages", { timeout: 20_000 }, () => {
  test("keeps borders both ways, also of long ones, of a paused reader's, and of text", async () => {
    await using house = await listen({ framing: "messages" });
    const near = await dial(house, { framing: "messages" });
    const far = await house.accepted();
    const sizes = [1, 70_000, 3, 300_000, 125, 126];
    for (const connection of [near.connection, far.connection]) {
      connection.write(sizes.slice(0, 3).map((size) => patternBytes(size)));
      for (const size of sizes.slice(3)) connection.write([patternBytes(size)]);
    }
    far.connection.pause();
    const total = sizes.reduce((sum, size) => sum + size, 0);
    await near.received(total);
    far.connection.resume();
    await far.received(total);
    assert.deepEqual(
      near.chunks.map(({ byteLength }) => byteLength),
      sizes,
    );
    assert.deepEqual(
      far.chunks.map(({ byteLength }) => byteLength),
      sizes,
    );
  });

  test("answers a thousand pings in one piece, as a LinkSocks server may send them", async () => {
    const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
    await once(server, "listening");
    try {
      const connected = once(server, "connection");
      const address = server.address();
      assert.ok(typeof address === "object" && address !== null);
      const to = { host: "127.0.0.1", port: address.port };
      const options = { to, runtime: runtime(), secure: false, framing: "messages" } as const;
      const connection = await dialWs(options);
      connection.resume();
      const [peer] = (await connected) as [WebSocket];
      let pongs = 0;
      const all = new Promise<void>((resolve, reject) => {
        peer.on("pong", () => {
          pongs++;
          if (pongs === 1000) resolve();
        });
        peer.on("close", () => reject(new Error(`closed after ${pongs} pongs`)));
      });
      for (let count = 0; count < 1000; count++) peer.ping();
      await all;
      connection.close();
    } finally {
      for (const client of server.clients) client.terminate();
      server.close();
    }
  });

  test("takes text and fragments as messages like any other", async () => {
    await using house = await listen({ framing: "messages" });
    const peer = await RawPeer.connect(house);
    const far = await house.accepted();
    peer.send(0x1, Buffer.from("text"));
    peer.socket.write(peer.encode(0x2, Buffer.from("frag"), { fin: false }));
    peer.send(0x0, Buffer.from("ment"));
    await far.received(12);
    assert.deepEqual(
      far.chunks.map((chunk) => Buffer.from(chunk).toString()),
      ["text", "fragment"],
    );
  });

  test("pongs unasked as often as it was told to, until it ends", async () => {
    const clock = new ManualClock();
    await using house = await listen();
    const near = await dial(house, { runtime: runtime(clock), keepaliveMs: 0, pongMs: 25_000 });
    await house.accepted();
    assert.equal(clock.next, 25_000);
    clock.advance(25_000);
    assert.equal(clock.next, 50_000);
    near.connection.reset(OVER);
    await near.closed();
    assert.equal(clock.next, undefined);
  });

  test("follows redirects with a new path, query and port, but not out of bounds", async () => {
    await using house = await listen({ path: "/new" });
    const at = `127.0.0.1:${house.to.port}`;
    const moves = { absolute: `http://${at}/new?x=1`, ws: `ws://${at}/new` };
    for (const location of Object.values(moves)) {
      await using old = await listenPlain(answering(`HTTP/1.1 302 Found\r\nLocation: ${location}`));
      const near = await dial(house, { to: old.to, maxRedirects: 1 });
      const far = await house.accepted();
      await exchange(near, far);
    }
    const refused: Record<string, RegExp> = {
      "ftp://x/": /no WebSocket/,
      "http://[": /no address/,
      "/again": /answered 302/,
    };
    for (const [location, text] of Object.entries(refused)) {
      await using old = await listenPlain(answering(`HTTP/1.1 302 Found\r\nLocation: ${location}`));
      await assert.rejects(dial(house, { to: old.to, maxRedirects: 1 }), text);
    }
  });

  test("shows its headers to nobody it was sent to", async () => {
    await using house = await listen();
    const heard = Promise.withResolvers<string>();
    await using spy = await listenPlain((socket) => {
      socket.once("data", (head: Buffer) => heard.resolve(head.toString()));
      socket.once("data", () => socket.end("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"));
    });
    const location = `http://127.0.0.1:${spy.to.port}/x`;
    await using old = await listenPlain(answering(`HTTP/1.1 302 Found\r\nLocation: ${location}`));
    const headers = { Authorization: "Bearer secret" };
    await assert.rejects(dial(house, { to: old.to, maxRedirects: 1, headers }), /answered 404/);
    assert.doesNotMatch(await heard.promise, /secret/);
  });
});

describe("a websocket in tls", { skip: skipWithout("openssl"), timeout: 20_000 }, () => {
  let factory: CertificateFactory;
  let server: Identity;

  before(() => {
    factory = new CertificateFactory();
    server = factory.make();
  });
  after(() => factory[Symbol.dispose]());

  test("carries bytes, and looks hard when it is reset", async () => {
    await using house = await listen({ tls: server });
    const near = await dial(house, { secure: true, tls: { ca: server.cert } });
    const far = await house.accepted();
    await exchange(near, far);
    assert.equal(far.connection.info.transport, "wss");
    near.connection.reset(OVER);
    await far.closed();
    assert.deepEqual(far.events, ["close ERR_CONNECTION_RESET"]);
  });

  test("refuses a server it does not trust", async () => {
    await using house = await listen({ tls: server });
    await assert.rejects(dial(house, { secure: true }), { code: "ERR_TLS" });
    assert.equal(house.size, 0);
  });

  test("gives up who finishes TLS and then says nothing", async () => {
    const clock = new ManualClock();
    await using house = await listen({ tls: server, runtime: runtime(clock) });
    const { connectTls } = await import("../tls/dial.ts");
    const tls = { ca: server.cert };
    const socket = await connectTls({ to: house.to, runtime: runtime(), tls });
    socket.on("error", () => {});
    socket.resume();
    while (clock.pending === 0) await turns(1);
    await turns(100);
    clock.advance(10_000);
    await once(socket, "end");
    socket.destroy();
    assert.equal(clock.pending, 0);
    assert.match(String(house.failures[0]?.[0]), /websocket upgrade not complete within 10000 ms/);
  });
});

interface House extends AsyncDisposable {
  readonly address: string;
  readonly to: { readonly host: string; readonly port: number };
  /** Connections nobody took yet. */
  readonly size: number;
  readonly failures: (readonly [Error, string])[];
  /** Stops listening; connections live on. */
  close(): Promise<void>;
  next(): Promise<Connection>;
  /** The next connection, with an owner that reads. */
  accepted(): Promise<Recorder>;
}

async function listen(options: Partial<WsListenOptions> = {}): Promise<House> {
  const waiting: Connection[] = [];
  const takers: ((connection: Connection) => void)[] = [];
  const opened: Connection[] = [];
  const failures: (readonly [Error, string])[] = [];
  const listener = await listenWs(
    {
      at: { host: "127.0.0.1", port: 0 },
      runtime: runtime(),
      onHandshakeError: (error, peer) => failures.push([error, peer]),
      ...options,
    },
    (connection) => {
      opened.push(connection);
      const taker = takers.shift();
      if (taker === undefined) waiting.push(connection);
      else taker(connection);
    },
  );
  const next = (): Promise<Connection> => {
    const connection = waiting.shift();
    if (connection !== undefined) return Promise.resolve(connection);
    return new Promise((resolve) => takers.push(resolve));
  };
  return {
    address: listener.address,
    to: { host: "127.0.0.1", port: Number(listener.address.split(":")[1]) },
    get size() {
      return waiting.length;
    },
    failures,
    close: async () => await listener.close(),
    next,
    accepted: async () => {
      const connection = await next();
      const owner = new Recorder(connection);
      connection.resume();
      return owner;
    },
    [Symbol.asyncDispose]: async () => {
      await listener.close();
      for (const connection of opened) connection.reset(OVER);
    },
  };
}

async function dial(house: House, options: Partial<WsDialOptions> = {}): Promise<Recorder> {
  const connection = await dialWs({ to: house.to, runtime: runtime(), secure: false, ...options });
  const owner = new Recorder(connection);
  connection.resume();
  return owner;
}

async function exchange(near: Recorder, far: Recorder): Promise<void> {
  near.connection.write([Buffer.from("up")]);
  far.connection.write([Buffer.from("down")]);
  await Promise.all([near.received(4), far.received(2)]);
  assert.equal(far.text, "up");
  assert.equal(near.text, "down");
}

/** A connection with a clock of its own, a keepalive of a second, and a peer that does nothing. */
async function quiet(): Promise<{ clock: ManualClock; peer: RawPeer; far: Recorder }> {
  const clock = new ManualClock();
  const house = await listen({ runtime: runtime(clock), keepaliveMs: 1_000 });
  const peer = await RawPeer.connect(house);
  const far = await house.accepted();
  await house.close(); // connections live on
  return { clock, peer, far };
}

interface RawFrame {
  readonly opcode: number;
  readonly payload: Buffer;
}

/** A client that writes frames by hand. */
class RawPeer {
  readonly socket: net.Socket;
  error: Error | undefined;
  #bytes: Buffer = Buffer.alloc(0);
  #isClosed = false;

  private constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on("error", (error) => {
      this.error = error;
    });
    socket.on("close", () => {
      this.#isClosed = true;
    });
  }

  static async connect(house: House): Promise<RawPeer> {
    const socket = net.connect({ ...house.to, allowHalfOpen: true });
    const peer = new RawPeer(socket);
    socket.write(
      `GET / HTTP/1.1\r\nHost: ${house.address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n\r\n`,
    );
    socket.on("data", (chunk) => {
      peer.#bytes = Buffer.concat([peer.#bytes, chunk]);
    });
    const head = (): number => peer.#bytes.indexOf("\r\n\r\n");
    while (head() < 0) await turns(1);
    assert.match(peer.#bytes.toString(), /^HTTP\/1\.1 101 /);
    peer.#bytes = peer.#bytes.subarray(head() + 4);
    return peer;
  }

  /** A masked frame; the mask is zero, so the payload stands as it is. */
  encode(opcode: number, payload: Uint8Array, { fin = true } = {}): Buffer {
    const { byteLength } = payload;
    const isLong = byteLength > 125;
    const header = Buffer.alloc((isLong ? 4 : 2) + 4);
    header[0] = (fin ? 0x80 : 0) | opcode;
    header[1] = 0x80 | (isLong ? 126 : byteLength);
    if (isLong) header.writeUInt16BE(byteLength, 2);
    return Buffer.concat([header, payload]);
  }

  send(opcode: number, payload: Uint8Array): void {
    this.socket.write(this.encode(opcode, payload));
  }

  /** The next frame it hears; short ones only. */
  async frame(): Promise<RawFrame> {
    for (;;) {
      const [first = 0, length = 0] = this.#bytes;
      if (this.#bytes.byteLength >= 2 && this.#bytes.byteLength >= 2 + length) {
        const payload = this.#bytes.subarray(2, 2 + length);
        this.#bytes = this.#bytes.subarray(2 + length);
        return { opcode: first & 0x0f, payload };
      }
      assert.ok(!this.#isClosed, "closed without a frame");
      await turns(1);
    }
  }

  /** Leaves what comes to the test. */
  stopReading(): void {
    this.socket.removeAllListeners("data");
    this.socket.pause();
  }

  async closed(): Promise<void> {
    while (!this.#isClosed) {
      // Whoever only ended hears of the other end's close by writing.
      if (this.socket.readableEnded && this.socket.writable) this.socket.end();
      await turns(1);
    }
  }
}

async function listenPlain(talk: (socket: net.Socket) => void): Promise<
  AsyncDisposable & {
    readonly to: { readonly host: string; readonly port: number };
    readonly accepted: Promise<net.Socket>;
  }
> {
  const accepted = Promise.withResolvers<net.Socket>();
  const sockets: net.Socket[] = [];
  const server = net.createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    talk(socket);
    accepted.resolve(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    to: { host: "127.0.0.1", port },
    accepted: accepted.promise,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

function answering(head: string): (socket: net.Socket) => void {
  return (socket) =>
    void socket.once("data", () => socket.write(`${head}\r\nContent-Length: 0\r\n\r\n`));
}

/** The answer to an upgrade with this key. */
function switching(key: string): string {
  const accept = createHash("sha1")
    .update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest("base64");
  return `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`;
}

function runtime(clock: Runtime["clock"] = systemClock): Runtime {
  return { clock, random: () => 0.5, slabs: new SlabPool() };
}

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const MIB = 1024 * 1024;
const OVER = new NetworkError("ERR_CLOSED", "the test is over");
