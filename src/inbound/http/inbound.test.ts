import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import { describe, test } from "node:test";
import fc from "fast-check";
import { patternBytes, singleBytes } from "../../../test/support/chunks.ts";
import {
  openHttpOrigin,
  openProxyPort,
  openTcpOrigin,
  type ProxyPort,
} from "../../../test/support/proxy-port.ts";
import {
  type LogLine,
  manualRuntime,
  memoryClient,
  recordingLogger,
  TestClient,
  turns,
  until,
} from "../../../test/support/test-client.ts";
import type { ManualClock } from "../../clock/manual-clock.ts";
import { NetworkError, TunnelError } from "../../errors.ts";
import { createHttpInbound, type HttpInboundOptions } from "./inbound.ts";
import type { Request } from "../../tunnel/request.ts";

describe("http inbound: CONNECT", () => {
  test("answers when the request is accepted, and hands over everything behind the head", async () => {
    const { client, requests } = make();
    await client.send("CONNECT origin:443 HTTP/1.1\r\nHost: origin:443\r\n\r\n");
    assert.equal(client.text, "");
    await client.send("early");
    const request = requests[0] ?? assert.fail();
    assert.deepEqual(request.target, { network: "tcp", host: "origin", port: 443 });
    assert.equal(request.metadata.source, "192.0.2.1:5000");
    const accepted = new TestClient(request.accept());
    await client.send(", late");
    assert.equal(client.text, "HTTP/1.1 200 Connection Established\r\n\r\n");
    assert.equal(accepted.text, "early, late");
    client.connection.finish();
    await turns();
    await accepted.send("answer");
    assert.deepEqual(accepted.events, ["end"]);
    assert.match(client.text, /answer$/);
  });

  test("reads the head from single bytes, with data right behind it", async () => {
    const { client, requests } = make();
    for (const byte of singleBytes(Buffer.from("CONNECT [::1]:22 HTTP/1.0\r\n\r\nSSH"))) {
      client.connection.write([byte]);
      await turns(2);
    }
    const request = requests[0] ?? assert.fail();
    assert.deepEqual(request.target, { network: "tcp", host: "::1", port: 22 });
    const accepted = new TestClient(request.accept());
    await turns();
    assert.equal(accepted.text, "SSH");
  });

  test("answers a failure with its status and words, and closes", async () => {
    const { client, requests } = make();
    await client.send("CONNECT origin:443 HTTP/1.1\r\n\r\n");
    requests[0]?.reject(new NetworkError("ERR_DIAL_TIMEOUT", "no answer", { hint: "be patient" }));
    await turns();
    assert.match(client.text, /^HTTP\/1.1 504 Gateway Timeout\r\n[^]*Connection: close\r\n\r\n/);
    assert.match(client.text, /opening origin:443 failed[^]*no answer[^]*dial[^]*be patient/);
    assert.deepEqual(client.events, ["end"]);
  });

  test("refuses a target without a port", async () => {
    const { client, requests } = make();
    await client.send("CONNECT origin HTTP/1.1\r\n\r\n");
    assert.match(client.text, /^HTTP\/1.1 400 /);
    assert.equal(requests.length, 0);
  });

  test("aborts the request of a client that goes away", async () => {
    const { client, requests } = make();
    await client.send("CONNECT origin:443 HTTP/1.1\r\n\r\n");
    client.connection.reset(new NetworkError("ERR_CONNECTION_RESET", "gone"));
    await turns();
    assert.ok(requests[0]?.signal.aborted);
  });
});

describe("http inbound: bad input", () => {
  test("explains itself to a browser that opens the port", async () => {
    const { client } = make();
    await client.send("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    assert.match(client.text, /^HTTP\/1.1 400 [^]*not a web server[^]*curl -x/);
    await client.send("GET https://h/ HTTP/1.1\r\n\r\n");
    assert.match(client.text, /CONNECT/, "and the connection is still good");
  });

  test("answers 400 to what is no HTTP, with a line that names the peer", async () => {
    const { client, lines, clock } = make();
    await client.send("HELLO you\r\n\r\n");
    assert.match(client.text, /^HTTP\/1.1 400 /);
    assert.deepEqual(client.events, ["end"]);
    const { peer, phase, code } = lines[0]?.fields ?? {};
    assert.deepEqual([peer, phase, code], ["192.0.2.1:5000", "request head", "ERR_PROTOCOL"]);
    client.connection.finish();
    await turns();
    assert.equal(clock.pending, 0);
  });

  test("answers 431 to a head without end", async () => {
    const { client } = make();
    await client.send(`GET http://h/ HTTP/1.1\r\nCookie: ${"x".repeat(70_000)}`);
    assert.match(client.text, /^HTTP\/1.1 431 /);
    assert.deepEqual(client.events, ["end"]);
  });

  test("refuses requests that two parsers would read differently", async () => {
    for (const fields of [
      "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
      "Content-Length: 5\r\nContent-Length: 6\r\n",
      "Transfer-Encoding: chunked, gzip\r\n",
      "Content-Length: +5\r\n",
      "X: a\rb\r\n",
    ]) {
      const { client, requests } = make();
      await client.send(`POST http://h/ HTTP/1.1\r\nHost: h\r\n${fields}\r\nhello`);
      assert.match(client.text, /^HTTP\/1.1 400 /, fields);
      assert.equal(requests.length, 0);
    }
  });

  test("ends a head that drips, and a connection that says nothing", async () => {
    const { client, clock, lines } = make({ handshakeTimeoutMs: 1_000 });
    clock.advance(900);
    await client.send("GET http://h/ HTTP");
    clock.advance(100);
    await turns();
    assert.match(client.text, /^HTTP\/1.1 408 /);
    assert.deepEqual(client.events, ["end"]);
    assert.equal(lines[0]?.fields["code"], "ERR_HANDSHAKE_TIMEOUT");
    client.connection.finish();
    await turns();
    assert.equal(clock.pending, 0);
  });

  test("closes a kept connection that stays idle, and one whose next head drips", async () => {
    for (const next of ["", "GET http"]) {
      const { client, clock } = make({ idleTimeoutMs: 5_000, handshakeTimeoutMs: 1_000 });
      await client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
      clock.advance(4_900);
      assert.deepEqual(client.events, []);
      await client.send(next);
      clock.advance(next === "" ? 100 : 1_000);
      await turns();
      assert.deepEqual(client.events, ["end"]);
      client.connection.finish();
      await turns();
      assert.equal(clock.pending, 0);
    }
  });

  test("resets a client whose body stops, but not one whose body waits for the origin", async () => {
    const { client, clock, lines, requests } = make({ bodyTimeoutMs: 1_000 });
    await client.send("POST http://h/ HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n");
    // Nobody accepts: the body backs up, which is not the client's fault.
    for (let sent = 0; sent < 20; sent++) await client.send(Buffer.alloc(32 * 1024));
    clock.advance(3_000);
    await turns();
    assert.deepEqual(client.events, []);
    const origin = new TestClient((requests[0] ?? assert.fail()).accept());
    await turns(40);
    assert.ok(origin.bytes.byteLength > 20 * 32 * 1024);
    clock.advance(3_000);
    await turns();
    assert.deepEqual(client.events.at(-1), "close ERR_IDLE_TIMEOUT");
    assert.equal(lines[0]?.fields["phase"], "request body");
    assert.deepEqual(origin.events.at(-1), "close ERR_ABORTED");
    assert.equal(clock.pending, 0);
  });

  test("bounds what a client sends ahead", async () => {
    const { client, lines, requests } = make();
    await client.send("GET http://h/ HTTP/1.1\r\n\r\n".repeat(1_000));
    assert.deepEqual(client.events, ["close ERR_LIMIT"]);
    assert.equal(lines.length, 1);
    assert.ok(requests.length <= 65);
  });

  test("yields an answer or a close on garbage, and leaves nothing behind", async () => {
    const start = fc.constantFrom("", "GET ", "CONNECT ", "GET http://h/ HTTP/1.1\r\n", "PRI * ");
    await fc.assert(
      fc.asyncProperty(start, fc.uint8Array({ maxLength: 200 }), async (text, garbage) => {
        const { client, clock, requests } = make();
        await client.send(text, garbage);
        client.connection.finish();
        await turns();
        clock.advance(10_000);
        await turns();
        for (const request of requests) {
          if (!request.signal.aborted) request.reject(new TunnelError("ERR_DNS", "no"));
        }
        await turns();
        clock.advance(120_000);
        await turns();
        assert.equal(clock.pending, 0);
        assert.ok(client.events.includes("end") || client.events.length > 0);
      }),
      { numRuns: 60 },
    );
  });
});

describe("http inbound: logins", () => {
  const asks = (name = "alice", password = "secret"): string =>
    `Proxy-Authorization: Basic ${Buffer.from(`${name}:${password}`).toString("base64")}\r\n`;

  test("asks with 407 on the same connection, and lets the right password in", async () => {
    await using origin = await openHttpOrigin((request, response) => {
      response.end(JSON.stringify(request.headers));
    });
    await using proxy = await openProxyPort({ users: { alice: "secret" } });
    using client = await connect(proxy);
    const url = `http://127.0.0.1:${origin.port}/`;
    client.write(`GET ${url} HTTP/1.1\r\n\r\n`);
    await client.sees(
      /^HTTP\/1.1 407 [^]*Proxy-Authenticate: Basic realm="sluice"[^]*\n\n.*\n.*\n/,
    );
    client.write(`GET ${url} HTTP/1.1\r\n${asks("alice", "wrong")}\r\n`);
    await client.sees(/407 [^]*407 /);
    client.write(`GET ${url} HTTP/1.1\r\n${asks()}\r\n`);
    await client.sees(/HTTP\/1.1 200 OK/);
    assert.doesNotMatch(client.text, /proxy-authorization/);
    assert.equal(proxy.requests[0]?.metadata.user, "alice");
    assert.deepEqual(
      proxy.lines.map(({ fields }) => fields["phase"]),
      ["authentication"],
    );
  });

  test("never shares a connection to an origin between users", async () => {
    await using origin = await openHttpOrigin((_request, response) => void response.end("ok\n"));
    await using proxy = await openProxyPort({ users: { alice: "secret", bob: "secret" } });
    using client = await connect(proxy);
    for (const name of ["alice", "alice", "bob", "alice"]) {
      const before = client.count("200 OK");
      client.write(`GET http://127.0.0.1:${origin.port}/ HTTP/1.1\r\n${asks(name)}\r\n`);
      await until(() => client.count("\nok\n") > before, `answer for ${name}`);
    }
    assert.deepEqual(
      proxy.requests.map(({ metadata }) => metadata.user),
      ["alice", "bob"],
    );
  });
});

describe("http inbound: absolute form", () => {
  test("passes requests on in origin form without hop-by-hop fields", async () => {
    await using origin = await openHttpOrigin((request, response) => {
      response.writeHead(200, "Fine", [
        "Connection",
        "X-Hop",
        "X-Hop",
        "1",
        "Set-Cookie",
        "a",
        "Set-Cookie",
        "b",
        "Keep-Alive",
        "timeout=1",
        "Content-Length",
        "2",
        "x-End",
        "2",
        "Date",
        "then",
      ]);
      response.end(request.url === "/p?q" ? "ok" : "no");
      assert.deepEqual(request.rawHeaders.slice(2), [
        "X-Case",
        "Kept",
        "x-case",
        "twice",
        "Connection",
        "keep-alive",
      ]);
      assert.deepEqual(request.rawHeaders.slice(0, 2), ["Host", `127.0.0.1:${origin.port}`]);
    });
    await using proxy = await openProxyPort();
    using client = await connect(proxy);
    client.write(
      `GET http://127.0.0.1:${origin.port}/p?q HTTP/1.1\r\nHost: wrong\r\nX-Case: Kept\r\n` +
        "x-case: twice\r\nProxy-Connection: keep-alive\r\nConnection: X-Mine\r\nX-Mine: 1\r\n" +
        "TE: trailers\r\n\r\n",
    );
    await client.sees(/\r\n\r\nok$/);
    assert.equal(
      client.text,
      "HTTP/1.1 200 Fine\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 2\r\nx-End: 2\r\n" +
        "Date: then\r\nConnection: keep-alive\r\nKeep-Alive: timeout=60\r\n\r\nok",
    );
  });

  test("answers a client that has finished its side", async () => {
    await using origin = await openHttpOrigin((_request, response) => {
      setImmediate(() => response.end("the answer"));
    });
    await using proxy = await openProxyPort();
    using client = await connect(proxy);
    client.socket.end(`GET http://127.0.0.1:${origin.port}/ HTTP/1.1\r\n\r\n`);
    assert.equal(await client.over, "end");
    assert.match(client.text, /the answer/);
  });

  test("answers pipelined requests in order", async () => {
    await using origin = await openHttpOrigin((request, response) => {
      const answer = (): void => void response.end(`[${request.url}]`);
      if (request.url === "/1") setTimeout(answer, 20);
      else answer();
    });
    await using proxy = await openProxyPort();
    using client = await connect(proxy);
    const url = `http://127.0.0.1:${origin.port}`;
    client.write(["/1", "/2", "/3"].map((p) => `GET ${url}${p} HTTP/1.1\r\n\r\n`).join(""));
    await client.sees(/\[\/1\][^]*\[\/2\][^]*\[\/3\]/);
  });

  test("breaks a response off where the origin did, whatever its framing", async () => {
    for (const head of [
      "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
      "HTTP/1.1 200 OK\r\n\r\nhalf",
    ]) {
      for (const version of ["1.0", "1.1"]) {
        await using origin = await openTcpOrigin((socket) => {
          socket.once("data", () => {
            socket.write(head, () => setTimeout(() => socket.resetAndDestroy(), 5));
          });
        });
        await using proxy = await openProxyPort();
        using client = await connect(proxy);
        client.write(`GET http://127.0.0.1:${origin.port}/ HTTP/${version}\r\n\r\n`);
        assert.equal(await client.over, "ECONNRESET", `${head} to ${version}`);
      }
    }
  });

  test("ends a response in order when the origin ends it by closing", async () => {
    await using origin = await openTcpOrigin((socket) => {
      socket.once("data", () => void socket.end("HTTP/1.0 200 OK\r\n\r\nall of it"));
    });
    await using proxy = await openProxyPort();
    using client = await connect(proxy);
    client.write(`GET http://127.0.0.1:${origin.port}/ HTTP/1.1\r\nConnection: close\r\n\r\n`);
    assert.equal(await client.over, "end");
    assert.match(client.text, /chunked[^]*all of it\r\n0\r\n\r\n$/);
  });

  test("answers 502 to an origin that speaks no HTTP or hangs up", async () => {
    for (const [says, words] of [
      ["SSH-2.0-x\r\n", /phase: {2}exchange/],
      ["", /phase: {2}exchange/],
    ] as const) {
      await using origin = await openTcpOrigin((socket) => void socket.end(says));
      await using proxy = await openProxyPort();
      using client = await connect(proxy);
      client.write(`GET http://127.0.0.1:${origin.port}/ HTTP/1.1\r\n\r\n`);
      await client.sees(/^HTTP\/1.1 502 Bad Gateway/);
      await client.sees(words);
    }
  });

  test("asks again when a kept connection had just been hung up", async () => {
    let served = 0;
    await using origin = await openTcpOrigin((socket) => {
      let onThis = 0;
      socket.on("data", () => {
        if (++onThis > 1) socket.resetAndDestroy();
        else socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n#${++served}`);
      });
    });
    await using proxy = await openProxyPort();
    using client = await connect(proxy);
    for (let turn = 1; turn <= 3; turn++) {
      client.write(`GET http://127.0.0.1:${origin.port}/ HTTP/1.1\r\n\r\n`);
      await client.sees(new RegExp(`#${turn}$`));
    }
    assert.equal(origin.accepted, 3);
  });

  test("passes an early answer on while the client still uploads", async () => {
    await using origin = await openTcpOrigin((socket) => {
      socket.once("data", () => {
        socket.end("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig");
      });
    });
    await using proxy = await openProxyPort();
    using client = await connect(proxy);
    const url = `http://127.0.0.1:${origin.port}/`;
    client.write(`PUT ${url} HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nabc`);
    await client.sees(/^HTTP\/1.1 413 Too Large[^]*Connection: close[^]*big$/);
    assert.equal(await client.over, "end");
  });

  test("carries trailers and early hints", async () => {
    await using origin = await openHttpOrigin((request, response) => {
      request.resume().once("end", () => {
        response.writeEarlyHints({ link: "</style.css>; rel=preload" });
        response.writeHead(200, { Trailer: "X-Sum" });
        response.write("body");
        response.addTrailers({ "X-Sum": request.trailers["x-up"] });
        response.end();
      });
    });
    await using proxy = await openProxyPort();
    using client = await connect(proxy);
    client.write(
      `POST http://127.0.0.1:${origin.port}/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n` +
        "Trailer: X-Up\r\n\r\n3\r\nabc\r\n0\r\nX-Up: 42\r\n\r\n",
    );
    await client.sees(/103 Early Hints\r\nLink: <\/style.css>; rel=preload/);
    await client.sees(/body\r\n0\r\nX-Sum: 42\r\n\r\n$/);
  });

  test("paces a fast origin by a slow client", async () => {
    const bytes = Buffer.from(patternBytes(32 * 1024 * 1024));
    let written = 0;
    await using origin = await openHttpOrigin((_request, response) => {
      const more = (): void => {
        while (written < bytes.byteLength) {
          const piece = bytes.subarray(written, written + 65_536);
          written += piece.byteLength;
          if (!response.write(piece)) {
            response.once("drain", more);
            return;
          }
        }
        response.end();
      };
      more();
    });
    await using proxy = await openProxyPort();
    using client = await connect(proxy);
    client.socket.pause();
    client.write(`GET http://127.0.0.1:${origin.port}/ HTTP/1.0\r\n\r\n`);
    let before = -1;
    await until(() => {
      const isStill = written === before && written > 0;
      before = written;
      return isStill;
    }, "origin stops");
    assert.ok(written < bytes.byteLength, `${written} bytes left the origin`);
    client.socket.resume();
    assert.equal(await client.over, "end");
    assert.equal(client.bytes.subarray(-bytes.byteLength).equals(bytes), true);
  });

  test("resets the origin when the client goes away in the middle", async () => {
    const gone = Promise.withResolvers<void>();
    await using origin = await openHttpOrigin((_request, response) => {
      response.write("endless");
      response.once("close", () => gone.resolve());
    });
    await using proxy = await openProxyPort();
    using client = await connect(proxy);
    client.write(`GET http://127.0.0.1:${origin.port}/ HTTP/1.1\r\n\r\n`);
    await client.sees(/endless/);
    client.socket.resetAndDestroy();
    await gone.promise;
  });

  test("ends kept connections to origins in order with their client, or after a while", async () => {
    const { client, requests, clock } = make();
    const origins: TestClient[] = [];
    for (const end of ["client", "time", "origin"] as const) {
      const path = `GET http://${end}/ HTTP/1.1\r\n\r\n`;
      await client.send(path);
      const origin = new TestClient((requests.at(-1) ?? assert.fail()).accept());
      origins.push(origin);
      await turns();
      await origin.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
      assert.match(origin.text, new RegExp(`^GET / HTTP/1.1\r\nHost: ${end}\r\n`));
      if (end === "origin") origin.connection.finish();
      if (end === "time") clock.advance(4_000);
      await turns();
    }
    assert.deepEqual(origins[0]?.events, ["end"], "idle for too long");
    assert.deepEqual(origins[2]?.events, ["end", "close"], "answered the origin's goodbye");
    await client.send("GET http://client/ HTTP/1.1\r\n\r\n");
    assert.equal(requests.length, 4, "what has ended is not used again");
    const last = new TestClient((requests[3] ?? assert.fail()).accept());
    await turns();
    await last.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    client.connection.close();
    await turns();
    assert.deepEqual(last.events, ["end"], "the client's end is no failure of the origin");
    for (const origin of origins) origin.connection.finish();
    last.connection.finish();
    await turns();
    assert.equal(clock.pending, 0);
  });

  test("aborts and answers nothing when the client leaves before the origin is open", async () => {
    const { client, requests, clock } = make();
    await client.send("GET http://h/ HTTP/1.1\r\n\r\n");
    client.connection.reset(new NetworkError("ERR_CONNECTION_RESET", "gone"));
    await turns();
    const request = requests[0] ?? assert.fail();
    assert.ok(request.signal.aborted);
    const late = new TestClient(request.accept());
    await turns();
    assert.deepEqual(late.events, ["close ERR_ABORTED"]);
    assert.equal(clock.pending, 0);
  });

  test("answers when the request is refused on the spot", async () => {
    const onRequest = (request: Request): void =>
      request.reject(new TunnelError("ERR_LIMIT", "too many streams"));
    const { client } = make({ onRequest });
    await client.send("GET http://h/ HTTP/1.1\r\n\r\n");
    assert.match(client.text, /^HTTP\/1.1 503 [^]*too many streams/);
    await client.send("CONNECT h:1 HTTP/1.1\r\n\r\n");
    assert.match(client.text, /503[^]*503 [^]*too many streams/);
  });

  test("answers with the status of whatever kept the origin from being opened", async () => {
    const { client, requests } = make();
    for (const [code, status] of [
      ["ERR_POLICY_DENIED", 403],
      ["ERR_TUNNEL_DOWN", 503],
      ["ERR_DNS", 502],
    ] as const) {
      await client.send("POST http://h/ HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi");
      requests.at(-1)?.reject(new TunnelError(code, "said no", { hint: "try this" }));
      await turns();
      assert.match(client.text, new RegExp(`HTTP/1.1 ${status} [^]*${code}\ntry: {4}try this\n$`));
    }
    assert.deepEqual(client.events, [], "the connection is still good");
  });
});

describe("http inbound: websockets", () => {
  test("passes an upgrade through and joins both ends", async () => {
    await using origin = await openHttpOrigin(
      () => assert.fail("no plain request"),
      (server) =>
        server.on("upgrade", (request, socket, head) => {
          assert.equal(request.headers["sec-websocket-key"], "abc");
          assert.equal(request.headers.connection, "Upgrade");
          socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n");
          socket.write("Upgrade: websocket\r\nSec-WebSocket-Accept: xyz\r\n\r\nhello");
          socket.write(head);
          socket.pipe(socket);
        }),
    );
    await using proxy = await openProxyPort();
    using client = await connect(proxy);
    client.write(
      `GET http://127.0.0.1:${origin.port}/s HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\n` +
        "Upgrade: WebSocket\r\nSec-WebSocket-Key: abc\r\n\r\nahead",
    );
    await client.sees(/^HTTP\/1.1 101 [^]*Sec-WebSocket-Accept: xyz[^]*Upgrade: websocket/);
    await client.sees(/\r\n\r\nhelloahead$/);
    client.write("; and on");
    await client.sees(/; and on$/);
    const large = "x".repeat(2_000_000);
    client.socket.end(large);
    assert.equal(await client.over, "end");
    assert.ok(client.text.endsWith(large), "all of it comes back behind the half-close");
  });

  test("passes on an origin's refusal to upgrade", async () => {
    await using origin = await openHttpOrigin((_request, response) => {
      response.writeHead(426);
      response.end("not here");
    });
    await using proxy = await openProxyPort();
    using client = await connect(proxy);
    client.write(
      `GET http://127.0.0.1:${origin.port}/ HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
    );
    await client.sees(/^HTTP\/1.1 426 [^]*Connection: close[^]*not here$/);
    assert.equal(await client.over, "end");
  });

  test("ignores other upgrades, as any server may", async () => {
    await using origin = await openHttpOrigin((request, response) => {
      response.end(`upgrade: ${request.headers.upgrade}`);
    });
    await using proxy = await openProxyPort();
    using client = await connect(proxy);
    client.write(
      `POST http://127.0.0.1:${origin.port}/ HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\n` +
        "Upgrade: h2c\r\nHTTP2-Settings: x\r\nContent-Length: 4\r\n\r\nbody",
    );
    await client.sees(/^HTTP\/1.1 200 [^]*upgrade: undefined/);
  });

  test("answers when the origin cannot be opened", async () => {
    const { client, requests } = make();
    await client.send("GET ws://h/ HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    requests[0]?.reject(new NetworkError("ERR_DIAL_REFUSED", "refused"));
    await turns();
    assert.match(client.text, /^HTTP\/1.1 502 [^]*ERR_DIAL_REFUSED/);
    assert.deepEqual(client.events, ["end"]);
  });
});

test("http inbound: works with Node's own agent over many requests", async () => {
  await using origin = await openHttpOrigin((request, response) => void request.pipe(response));
  await using proxy = await openProxyPort();
  const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
  const ask = async (body: string): Promise<string> => {
    const outgoing = http.request({
      agent,
      host: "127.0.0.1",
      port: proxy.port,
      method: "POST",
      path: `http://127.0.0.1:${origin.port}/`,
    });
    outgoing.end(body);
    const [response] = (await once(outgoing, "response")) as [http.IncomingMessage];
    let text = "";
    response.setEncoding("utf8");
    for await (const piece of response) text += String(piece);
    return text;
  };
  const bodies = Array.from({ length: 200 }, (_, at) => `body ${at} `.repeat(at));
  assert.deepEqual(await Promise.all(bodies.map(ask)), bodies);
  assert.ok(origin.accepted <= 8, `${origin.accepted} connections to the origin`);
  agent.destroy();
});

function make(options: Partial<HttpInboundOptions> = {}): {
  client: TestClient;
  requests: Request[];
  lines: LogLine[];
  clock: ManualClock;
} {
  const runtime = manualRuntime();
  const { logger, lines } = recordingLogger();
  const requests: Request[] = [];
  const serve = createHttpInbound({
    name: "http test",
    onRequest: (request) => void requests.push(request),
    runtime,
    logger,
    ...options,
  });
  const [client, connection] = memoryClient(runtime);
  serve(connection);
  return { client, requests, lines, clock: runtime.clock };
}

/** A raw client of a proxy port. */
class RawClient implements Disposable {
  readonly socket: net.Socket;
  /** Resolves with `end` or the code of the error that ended it. */
  readonly over: Promise<string>;
  #chunks: Buffer[] = [];

  constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => this.#chunks.push(chunk));
    this.over = new Promise((resolve) => {
      socket.once("end", () => resolve("end"));
      socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    });
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  get text(): string {
    return this.bytes.toString("latin1");
  }

  write(text: string): void {
    this.socket.write(text);
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }

  count(text: string): number {
    return this.text.split(text).length - 1;
  }

  async sees(pattern: RegExp): Promise<void> {
    try {
      await until(() => pattern.test(this.text), `${pattern}`);
    } catch (cause) {
      throw new Error(`saw only ${JSON.stringify(this.text)}`, { cause });
    }
  }
}

async function connect(proxy: ProxyPort): Promise<RawClient> {
  const socket = net.connect({ host: "127.0.0.1", port: proxy.port, allowHalfOpen: true });
  await once(socket, "connect");
  return new RawClient(socket);
}
