import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { after, before, describe, test } from "node:test";
import tls from "node:tls";
import { CertificateFactory, type Identity } from "../../../test/support/certificates.ts";
import { Recorder } from "../../../test/support/recorder.ts";
import { turns } from "../../../test/support/turns.ts";
import { skipWithout } from "../../../test/support/which.ts";
import { SlabPool } from "../../bytes/slab-pool.ts";
import { systemClock } from "../../clock/clock.ts";
import { ManualClock } from "../../clock/manual-clock.ts";
import { NetworkError, PolicyError, TunnelError } from "../../errors.ts";
import type { Connection, Listener } from "../../tunnel/connection.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import { connectTls, dialTls, type TlsDialOptions } from "./dial.ts";
import { listenTls, type TlsListenOptions } from "./listen.ts";
import type { TlsClientOptions, TlsResumption } from "./tls-options.ts";

describe("tls", { skip: skipWithout("openssl"), timeout: 20_000 }, () => {
  let factory: CertificateFactory;
  let ca: Identity;
  let server: Identity;

  before(() => {
    factory = new CertificateFactory();
    ca = factory.make({ isCa: true });
    server = factory.make({ issuer: ca });
  });
  after(() => factory[Symbol.dispose]());

  test("connects to a server whose CA it was given, and carries bytes", async () => {
    await using house = await listen({ tls: server });
    const near = await dial(house, { tls: { ca: ca.cert } });
    const far = await house.accepted();
    near.connection.write([Buffer.from("question")]);
    await far.received(8);
    far.connection.write([Buffer.from("answer")]);
    far.connection.finish();
    await near.ended();
    near.connection.finish();
    await Promise.all([near.closed(), far.closed()]);
    assert.equal(far.text, "question");
    assert.equal(near.text, "answer");
    const { info } = near.connection;
    assert.equal(info.transport, "tls");
    assert.equal(info.peer, house.address);
    assert.equal(info.local, far.connection.info.peer);
  });

  test("comes back with the session it had, and judges the server all the same", async () => {
    const client = factory.make({ issuer: ca });
    await using house = await listen({ tls: { ...server, ca: ca.cert } });
    const resumption: TlsResumption = {};
    const { pins, ...identity } = {
      pins: [factory.pin(server)],
      cert: client.cert,
      key: client.key,
    };
    const settings = { ca: ca.cert, ...identity, resumption };
    const visit = async (more: Partial<TlsClientOptions> = {}): Promise<boolean> => {
      const address = house.address.split(":");
      const to = { host: "127.0.0.1", port: Number(address.at(-1)) };
      const socket = await connectTls({ runtime: runtime(), to, tls: { ...settings, ...more } });
      const given = resumption.ticket === undefined ? once(socket, "session") : undefined;
      await given;
      const isResumed = socket.isSessionReused();
      socket.destroy();
      return isResumed;
    };
    assert.equal(await visit(), false);
    assert.equal(await visit(), true);
    assert.equal(await visit({ pins }), true);
    await assert.rejects(visit({ pins: ["AAAA"] }), /not the pinned one/);
    assert.equal(resumption.ticket, undefined);
  });

  test("asks for the name it dials, and for none when that is an address", async () => {
    const names: (string | false | null | undefined)[] = [];
    const plain = tls.createServer({ ...server }, (socket) => {
      names.push(socket.servername);
      socket.end();
    });
    plain.listen(0, "127.0.0.1");
    await once(plain, "listening");
    const address = plain.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    for (const [host, serverName] of [
      ["127.0.0.1", undefined],
      ["127.0.0.1", "localhost"],
      ["localhost", undefined],
    ] as const) {
      const to = { host, port };
      const settings = { ca: ca.cert, serverName };
      const connection = await dialTls({ to, runtime: runtime(), tls: settings });
      const owner = new Recorder(connection);
      connection.resume();
      await owner.ended();
      connection.close();
      await owner.closed();
    }
    plain.close();
    assert.deepEqual(names, [false, "localhost", "localhost"]);
  });

  describe("refuses a server", () => {
    const cases: Record<
      string,
      {
        identity: () => Identity;
        settings?: () => TlsDialOptions["tls"];
        message: RegExp;
        hint: RegExp;
      }
    > = {
      "whose CA nobody trusts": {
        identity: () => server,
        message: /^(the certificate's CA is not trusted)$/,
        hint: /ca=file:.*pin=/,
      },
      "that another CA signed": {
        identity: () => factory.make({ issuer: factory.make({ isCa: true }) }),
        settings: () => ({ ca: ca.cert }),
        message: /^the certificate's CA is not trusted$/,
        hint: /ca=file:.*pin=/,
      },
      "that signed itself": {
        identity: () => factory.make(),
        message: /^the certificate is self-signed$/,
        hint: /ca=file:.*pin=/,
      },
      "whose certificate has expired": {
        identity: () => factory.make({ issuer: ca, days: -1 }),
        settings: () => ({ ca: ca.cert }),
        message: /^the certificate has expired$/,
        hint: /renew.*clock/,
      },
      "with another name": {
        identity: () => factory.make({ issuer: ca, names: "DNS:elsewhere.example" }),
        settings: () => ({ ca: ca.cert }),
        message: /^the certificate is for another name/,
        hint: /sni=/,
      },
      "with another key than the pinned one": {
        identity: () => server,
        settings: () => ({ pins: [factory.pin(ca)], ca: ca.cert }),
        message: /^the server's key is not the pinned one$/,
        hint: /pin=/,
      },
      "with another key than the pinned one, although told to be insecure": {
        identity: () => server,
        settings: () => ({ pins: [factory.pin(ca)], insecure: true }),
        message: /^the server's key is not the pinned one$/,
        hint: /pin=/,
      },
    };
    for (const [name, { identity, settings, message, hint }] of Object.entries(cases)) {
      test(name, async () => {
        await using house = await listen({ tls: identity() });
        await assert.rejects(dial(house, { tls: settings?.() }), (error) => {
          assert.ok(error instanceof TunnelError);
          assert.equal(error.code, "ERR_TLS");
          const [peer, phase, text] = split(error.message);
          assert.equal(peer, house.address);
          assert.equal(phase, "tls handshake");
          assert.match(text, message);
          assert.match(error.hint ?? "", hint);
          return true;
        });
        await house.isEmpty();
      });
    }
  });

  for (const keyType of ["ec", "rsa", "ed25519"] as const) {
    test(`accepts the pinned ${keyType} key, whoever signed it`, async () => {
      const identity = factory.make({ keyType, days: -1, names: "DNS:elsewhere.example" });
      const pin = factory.pin(identity);
      await using house = await listen({ tls: identity });
      const near = await dial(house, { tls: { pins: [factory.pin(ca), pin] } });
      await exchange(near, await house.accepted());
    });
  }

  test("says the pin to set when the key changed", async () => {
    await using house = await listen({ tls: server });
    const pin = factory.pin(server);
    const dialling = dial(house, { tls: { pins: [factory.pin(ca)] } });
    await assert.rejects(dialling, (error: TunnelError) => {
      const hint = decodeURIComponent(error.hint ?? "");
      assert.ok(hint.endsWith(`set pin=${pin}`), hint);
      return true;
    });
  });

  test("accepts anybody when told to be insecure", async () => {
    await using house = await listen({ tls: factory.make({ days: -1 }) });
    const near = await dial(house, { tls: { insecure: true } });
    await exchange(near, await house.accepted());
  });

  describe("that asks for client certificates", () => {
    test("lets in whom its CA signed", async () => {
      const client = factory.make({ issuer: ca });
      await using house = await listen({ tls: { ...server, ca: ca.cert } });
      const near = await dial(house, { tls: { ca: ca.cert, ...client } });
      await exchange(near, await house.accepted());
    });

    for (const [name, stranger] of Object.entries({
      "shows none": () => ({}),
      "signed itself": () => factory.make(),
      "has one that expired": () => factory.make({ issuer: ca, days: -1 }),
    })) {
      test(`keeps out who ${name}, and both ends say why`, async () => {
        await using house = await listen({ tls: { ...server, ca: ca.cert } });
        // With TLS 1.3 the client is connected before the server has judged it.
        const dialling = dial(house, { tls: { ca: ca.cert, ...stranger() } });
        const near = await dialling.catch((error: TunnelError) => error);
        if (near instanceof Recorder) await near.until(() => near.events.length > 0);
        const error = near instanceof Recorder ? near.closeError : near;
        if (name === "shows none") {
          // Only then does the server say why; else it just closes.
          assert.match(
            error?.message ?? "",
            /: tls handshake: the server wants a client certificate$/,
          );
          assert.match(error?.hint ?? "", /cert=/);
        }
        const [failure] = await house.failure();
        assert.ok(failure instanceof TunnelError);
        assert.match(failure.message, /: tls handshake: the client's certificate/);
        assert.match(failure.hint ?? "", /cert=/);
        await house.isEmpty();
      });
    }
  });

  describe("on the wrong port", () => {
    test("names a server that speaks something else", async () => {
      const talkers: Record<string, (socket: net.Socket) => void> = {
        "answers at once": (socket) => void socket.write("220 mail.example ESMTP\r\n"),
        "answers HTTP": (socket) =>
          void socket.once("data", () => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n")),
        closes: (socket) => void socket.end(),
        resets: (socket) => void socket.once("data", () => socket.resetAndDestroy()),
      };
      for (const [name, talk] of Object.entries(talkers)) {
        await using plain = await listenPlain(talk);
        const dialling = dialTls({ to: plain.to, runtime: runtime() });
        await assert.rejects(dialling, (error: TunnelError) => {
          assert.equal(error.code, "ERR_TLS", `${name}: ${error.message}`);
          const [peer, phase, text] = split(error.message);
          assert.equal(peer, `127.0.0.1:${plain.to.port}`);
          assert.equal(phase, "tls handshake");
          assert.match(text, /^the peer (does not speak TLS|closed the connection)$/, name);
          assert.notEqual(error.hint, undefined);
          return true;
        });
      }
    });

    test("hears and tells of a client that speaks something else", async () => {
      for (const words of ["GET / HTTP/1.1\r\n\r\n", "\u0000hello there", "SSH-2.0-x\r\n"]) {
        await using house = await listen({ tls: server });
        const socket = net.connect(house.to);
        socket.on("error", () => {});
        socket.write(words);
        const [failure, peer] = await house.failure();
        const local = `127.0.0.1:${socket.localPort}`;
        assert.equal(peer, local);
        assert.ok(failure instanceof TunnelError);
        assert.equal(failure.code, "ERR_TLS");
        assert.ok(failure.message.startsWith(`${local}: tls handshake: `), failure.message);
        assert.match(failure.message, /the peer does not speak TLS/);
        socket.resume();
        await once(socket, "close");
        await house.isEmpty();
      }
    });
  });

  test("gives up a server that never answers the handshake", async () => {
    await using plain = await listenPlain(() => {});
    const clock = new ManualClock();
    const dialling = dialTls({ to: plain.to, runtime: runtime(clock) });
    dialling.catch(() => {});
    await once(await plain.accepted, "data"); // the client's hello: it waits for ours
    clock.advance(10_000);
    await assert.rejects(dialling, (error: NetworkError) => {
      assert.equal(error.code, "ERR_HANDSHAKE_TIMEOUT");
      assert.match(error.message, /^127\.0\.0\.1:\d+: tls handshake not complete within 10000 ms$/);
      assert.match(error.hint ?? "", /speaks TLS/);
      return true;
    });
    assert.equal(clock.pending, 0);
  });

  test("stops a handshake that is aborted", async () => {
    await using plain = await listenPlain(() => {});
    const abort = new AbortController();
    const reason = new PolicyError("ERR_ABORTED", "left");
    const dialling = dialTls({ to: plain.to, runtime: runtime(), signal: abort.signal });
    dialling.catch(() => {});
    const socket = await plain.accepted;
    abort.abort(reason);
    await assert.rejects(dialling, reason);
    socket.resume();
    await once(socket, "close");
    const late = dialTls({ to: plain.to, runtime: runtime(), signal: abort.signal });
    await assert.rejects(late, reason);
  });

  test("gives up a client that drips its handshake, whatever it drips", async () => {
    const clock = new ManualClock();
    await using house = await listen({ tls: server, runtime: runtime(clock) });
    const [silent, dripping] = [net.connect(house.to), net.connect(house.to)];
    for (const socket of [silent, dripping]) {
      socket.on("error", () => {});
      socket.resume();
      await once(socket, "connect");
    }
    while (clock.pending < 2) await turns(1);
    const peers = [silent, dripping].map(({ localPort }) => `127.0.0.1:${localPort}`);
    for (const byte of Buffer.from("160301020001000000", "hex")) {
      dripping.write(Uint8Array.of(byte));
      clock.advance(1_000);
      await turns(5);
    }
    assert.equal(silent.closed || dripping.closed, false);
    const gone = Promise.all([once(silent, "close"), once(dripping, "close")]);
    clock.advance(1_000);
    await gone;
    const failures = [await house.failure(), await house.failure()];
    for (const [failure] of failures) {
      assert.ok(failure instanceof TunnelError);
      assert.equal(failure.code, "ERR_HANDSHAKE_TIMEOUT");
      assert.match(failure.message, /: tls handshake not complete within 10000 ms$/);
    }
    assert.deepEqual(new Set(failures.map(([, peer]) => peer)), new Set(peers));
    assert.equal(clock.pending, 0);
  });

  test("goes on after a client that leaves in the middle of its handshake", async () => {
    const clock = new ManualClock();
    await using house = await listen({ tls: server, runtime: runtime(clock) });
    for (const leave of [
      (socket: net.Socket) => socket.destroy(),
      (socket: net.Socket) => socket.resetAndDestroy(),
      (socket: net.Socket) => socket.end(Buffer.from("1603010200010001", "hex")),
    ]) {
      const socket = net.connect(house.to);
      socket.on("error", () => {});
      await once(socket, "connect");
      while (clock.pending === 0) await turns(1);
      leave(socket);
      await turns(10);
      clock.advance(10_000); // an orderly end is not noticed before
      const [failure] = await house.failure();
      assert.ok(failure instanceof TunnelError);
      assert.equal(clock.pending, 0);
    }
    await exchange(await dial(house, { tls: { ca: ca.cert } }), await house.accepted());
  });

  test("looks hard from the other end when it is reset", async () => {
    for (const side of ["near", "far"] as const) {
      await using house = await listen({ tls: server });
      const ends = {
        near: await dial(house, { tls: { ca: ca.cert } }),
        far: await house.accepted(),
      };
      await exchange(ends.near, ends.far);
      const [one, two] = side === "near" ? [ends.near, ends.far] : [ends.far, ends.near];
      one.connection.reset(new NetworkError("ERR_TUNNEL_LOST", "gone"));
      await Promise.all([one.closed(), two.closed()]);
      assert.deepEqual(one.events, ["close ERR_TUNNEL_LOST"]);
      assert.deepEqual(two.events, ["close ERR_CONNECTION_RESET"]);
    }
  });

  test("ends one side after the other without an alert where it is told to", async () => {
    await using house = await listen({ tls: { ...server, endsQuietly: true } });
    const bytes = { up: 0, down: 0 };
    const halfOpen = { allowHalfOpen: true };
    await using relay = await listenPlain((socket) => {
      const behind = net.connect({ ...house.to, ...halfOpen });
      socket.on("data", ({ byteLength }) => (bytes.up += byteLength)).pipe(behind);
      behind.on("data", ({ byteLength }) => (bytes.down += byteLength)).pipe(socket);
    }, halfOpen);
    const near = await dial(
      { ...house, to: relay.to },
      { tls: { ca: ca.cert, endsQuietly: true } },
    );
    const far = await house.accepted();
    near.connection.write([Buffer.from("question")]);
    await far.received(8);
    const { up } = bytes;
    near.connection.finish();
    await far.ended();
    far.connection.write([Buffer.alloc(300_000)]);
    await near.received(300_000);
    const { down } = bytes;
    far.connection.finish();
    await Promise.all([near.closed(), far.closed()]);
    assert.deepEqual(bytes, { up, down }, "TLS said something");
    assert.deepEqual([near.events.at(-1), far.events.at(-1)], ["close", "close"]);
  });

  test("says at the start when certificate and key cannot be used", async () => {
    const bad: TlsListenOptions["tls"][] = [
      { cert: server.cert, key: ca.key },
      { cert: "no certificate", key: server.key },
      { cert: server.cert, key: "" },
    ];
    for (const settings of bad) {
      await assert.rejects(listen({ tls: settings }), (error: TunnelError) => {
        assert.equal(error.name, "ConfigError");
        assert.match(error.message, /^certificate or key cannot be used: /);
        assert.match(error.hint ?? "", /--cert/);
        return true;
      });
    }
  });
});

/** A TLS listener and what came to it. */
interface House extends AsyncDisposable {
  readonly address: string;
  readonly to: { readonly host: string; readonly port: number };
  /** The next connection, with an owner that reads. */
  accepted(): Promise<Recorder>;
  /** The next handshake that failed. */
  failure(): Promise<readonly [Error, string]>;
  /** Fails when anybody got in. */
  isEmpty(): Promise<void>;
}

async function listen(
  options: Pick<TlsListenOptions, "tls"> & { readonly runtime?: Runtime },
): Promise<House> {
  const connections = new Queue<Connection>();
  const failures = new Queue<readonly [Error, string]>();
  const listener: Listener = await listenTls(
    {
      at: { host: "127.0.0.1", port: 0 },
      runtime: options.runtime ?? runtime(),
      tls: options.tls,
      onHandshakeError: (error, peer) => failures.push([error, peer]),
    },
    (connection) => connections.push(connection),
  );
  const opened: Connection[] = [];
  return {
    address: listener.address,
    to: { host: "127.0.0.1", port: Number(listener.address.split(":")[1]) },
    accepted: async () => {
      const connection = await connections.next();
      opened.push(connection);
      const owner = new Recorder(connection);
      connection.resume();
      return owner;
    },
    failure: async () => await failures.next(),
    isEmpty: async () => {
      await turns();
      assert.equal(connections.size, 0);
    },
    [Symbol.asyncDispose]: async () => {
      await listener.close();
      for (const connection of opened) connection.reset(OVER);
    },
  };
}

async function dial(house: House, options: Pick<TlsDialOptions, "tls">): Promise<Recorder> {
  const connection = await dialTls({ to: house.to, runtime: runtime(), ...options });
  const owner = new Recorder(connection);
  connection.resume();
  return owner;
}

/** A server that is no TLS server. */
async function listenPlain(
  talk: (socket: net.Socket) => void,
  { allowHalfOpen = false } = {},
): Promise<
  AsyncDisposable & {
    readonly to: { readonly host: string; readonly port: number };
    readonly accepted: Promise<net.Socket>;
  }
> {
  const accepted = Promise.withResolvers<net.Socket>();
  const sockets: net.Socket[] = [];
  const server = net.createServer({ allowHalfOpen }, (socket) => {
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

async function exchange(near: Recorder, far: Recorder): Promise<void> {
  near.connection.write([Buffer.from("up")]);
  far.connection.write([Buffer.from("down")]);
  await Promise.all([near.received(4), far.received(2)]);
  assert.equal(far.text, "up");
  assert.equal(near.text, "down");
}

/** `127.0.0.1:443: tls handshake: what happened` */
function split(message: string): [string, string, string] {
  const match = /^(127\.0\.0\.1:\d+): ([a-z ]+): (.*)$/.exec(message);
  assert.ok(match !== null, message);
  return [match[1] ?? "", match[2] ?? "", match[3] ?? ""];
}

class Queue<Item> {
  readonly #items: Item[] = [];
  readonly #waiting: ((item: Item) => void)[] = [];

  get size(): number {
    return this.#items.length;
  }

  push(item: Item): void {
    const taker = this.#waiting.shift();
    if (taker === undefined) this.#items.push(item);
    else taker(item);
  }

  next(): Promise<Item> {
    const item = this.#items.shift();
    if (item !== undefined) return Promise.resolve(item);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}

function runtime(clock: Runtime["clock"] = systemClock): Runtime {
  return { clock, random: () => 0.5, slabs: new SlabPool() };
}

const OVER = new NetworkError("ERR_CLOSED", "the test is over");
