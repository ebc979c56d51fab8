import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { describe, test } from "node:test";
import { inspect } from "node:util";
import { SlabPool } from "../../bytes/slab-pool.ts";
import { ManualClock } from "../../clock/manual-clock.ts";
import { NetworkError, type TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import { connectionPair } from "../../tunnel/connection-pair.ts";
import type { Runtime } from "../../tunnel/runtime.ts";
import type { Proxy } from "./proxy.ts";
import { createUpstreamOutbound } from "./upstream-outbound.ts";

const metadata = { inbound: "test", source: "test" };
const credential = { user: "alice", password: "hunter2" };
const socks5: Proxy = { scheme: "socks5", host: "proxy.example", port: 1080 };
const socks4a: Proxy = { scheme: "socks4a", host: "proxy.example", port: 1080 };
const http: Proxy = { scheme: "http", host: "proxy.example", port: 3128 };

/** One expected message of the client, and the proxy's answer to it. */
type Exchange = readonly [expected: string, answer: string];

/** A proxy in memory that follows a script, `hex` or text, one message at a time. */
class ScriptedProxy {
  readonly runtime: Runtime & { readonly clock: ManualClock } = {
    clock: new ManualClock(),
    random: () => 0,
    slabs: new SlabPool(),
  };
  dialled: unknown;
  closedWith: TunnelError | undefined;
  isClosed = false;
  #heard = "";
  readonly #script: readonly Exchange[];
  readonly #encoding: "hex" | "latin1";
  #chunkBytes = Number.POSITIVE_INFINITY;
  #server: Connection | undefined;

  constructor(script: readonly Exchange[], encoding: "hex" | "latin1") {
    this.#script = script.map(([expected, answer]) =>
      encoding === "hex"
        ? [expected.replaceAll(" ", ""), answer.replaceAll(" ", "")]
        : [expected, answer],
    );
    this.#encoding = encoding;
  }

  inChunksOf(bytes: number): this {
    this.#chunkBytes = bytes;
    return this;
  }

  finish(): void {
    this.#server?.finish();
  }

  readonly dial = async (to: unknown): Promise<Connection> => {
    this.dialled = to;
    const [client, server] = connectionPair(this.runtime);
    this.#server = server;
    let step = 0;
    server.attach({
      onData: (chunk) => {
        this.#heard += Buffer.from(chunk).toString(this.#encoding);
        const [expected, answer] = this.#script[step] ?? ["", ""];
        if (this.#heard.length < expected.length) return;
        assert.equal(this.#heard, expected, `message ${step}`);
        this.#heard = "";
        step++;
        void this.#answer(server, Buffer.from(answer, this.#encoding));
      },
      onEnd: () => {},
      onDrain: () => {},
      onClose: (error) => {
        this.isClosed = true;
        this.closedWith = error;
      },
    });
    server.resume();
    return await Promise.resolve(client);
  };

  async #answer(server: Connection, answer: Buffer): Promise<void> {
    for (let at = 0; at < answer.byteLength; at += this.#chunkBytes) {
      server.write([Uint8Array.from(answer.subarray(at, at + this.#chunkBytes))]);
      await turn();
    }
  }
}

async function dialThrough(
  proxy: Proxy,
  scripted: ScriptedProxy,
  host = "name.example",
  signal: AbortSignal = new AbortController().signal,
): Promise<Connection> {
  const { runtime, dial } = scripted;
  const outbound = createUpstreamOutbound({ name: "up", runtime, proxy, dial });
  return await outbound.dial({ network: "tcp", host, port: 80 }, { signal, metadata });
}

/** Everything the target says until `length` bytes came. */
function read(connection: Connection, length: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    connection.attach({
      onData: (chunk) => {
        text += Buffer.from(chunk).toString("latin1");
        if (text.length >= length) resolve(text);
      },
      onEnd: () => reject(new Error(`ended after ${text}`)),
      onDrain: () => {},
      onClose: (error) => reject(error ?? new Error(`closed after ${text}`)),
    });
    connection.resume();
  });
}

// RFC 1928, RFC 1929 and the SOCKS4a memo; the name is 6e616d652e6578616d706c65, "name.example".
const GREETING: Exchange = ["05 01 00", "05 00"];
const NAME_REQUEST = "05 01 00 03 0c 6e616d652e6578616d706c65 0050";
const GRANTED = "05 00 00 01 00000000 0000";

describe("upstream SOCKS5 proxy", () => {
  test("passes names unresolved and hands over what the target said at once", async () => {
    for (const chunkBytes of [1, 2, 1_000]) {
      const proxy = new ScriptedProxy(
        [GREETING, [NAME_REQUEST, `${GRANTED} 48656c6c6f`]],
        "hex",
      ).inChunksOf(chunkBytes);
      const connection = await dialThrough(socks5, proxy);
      assert.equal(await read(connection, 5), "Hello");
      assert.deepEqual(proxy.dialled, { host: "proxy.example", port: 1080, isTls: false });
      assert.equal(proxy.runtime.clock.pending, 0);
    }
  });

  test("sends addresses as addresses and names in their ASCII form", async () => {
    const cases = [
      ["10.0.0.1", "05 01 00 01 0a000001 0050"],
      ["::1", "05 01 00 04 00000000000000000000000000000001 0050"],
      ["NAME.example.", NAME_REQUEST],
      [
        "bücher.example",
        `05 01 00 03 15 ${Buffer.from("xn--bcher-kva.example").toString("hex")} 0050`,
      ],
    ] as const;
    for (const [host, request] of cases) {
      const answer = "05 00 00 03 02 6162 0000"; // bound to a name, as some proxies say
      await dialThrough(socks5, new ScriptedProxy([GREETING, [request, answer]], "hex"), host);
    }
  });

  test("logs in when asked to", async () => {
    const login = "01 05 616c696365 07 68756e74657232";
    const script: Exchange[] = [
      ["05 02 00 02", "05 02"],
      [login, "01 00"],
      [NAME_REQUEST, GRANTED],
    ];
    await dialThrough({ ...socks5, credential }, new ScriptedProxy(script, "hex"));
    const anonymous = [["05 02 00 02", "05 00"] as const, [NAME_REQUEST, GRANTED] as const];
    await dialThrough({ ...socks5, credential }, new ScriptedProxy(anonymous, "hex"));
  });

  test("says why the proxy refused, in our codes", async () => {
    const reply = (code: string): Exchange[] => [
      GREETING,
      [NAME_REQUEST, `05 ${code} 00 01 00000000 0000`],
    ];
    const cases = [
      [reply("01"), "ERR_DIAL_FAILED"],
      [reply("02"), "ERR_POLICY_DENIED"],
      [reply("03"), "ERR_DIAL_NETWORK_UNREACHABLE"],
      [reply("04"), "ERR_DIAL_HOST_UNREACHABLE"],
      [reply("05"), "ERR_DIAL_REFUSED"],
      [reply("06"), "ERR_DIAL_TIMEOUT"],
      [reply("07"), "ERR_COMMAND_UNSUPPORTED"],
      [reply("08"), "ERR_ADDRESS_UNSUPPORTED"],
      [reply("f0"), "ERR_DIAL_FAILED"],
      [[["05 01 00", "05 ff"]], "ERR_CREDENTIAL"],
      [[["05 01 00", "05 01"]], "ERR_CREDENTIAL"],
      [[["05 01 00", "48 54 54 50"]], "ERR_PROTOCOL"],
    ] as const;
    for (const [script, code] of cases) {
      const proxy = new ScriptedProxy(script, "hex");
      await assert.rejects(dialThrough(socks5, proxy), (thrown) => {
        assert.ok(thrown instanceof NetworkError);
        assert.equal(thrown.code, code, thrown.message);
        assert.match(thrown.message, /^proxy socks5:\/\/proxy\.example:1080 for name\.example: /);
        return true;
      });
      await turn();
      assert.ok(proxy.isClosed, `${code}: connection left open`);
      assert.equal(proxy.runtime.clock.pending, 0);
    }
  });

  test("keeps the password out of the error of a failed login", async () => {
    const login = "01 05 616c696365 07 68756e74657232";
    const script: Exchange[] = [
      ["05 02 00 02", "05 02"],
      [login, "01 01"],
    ];
    await assert.rejects(
      dialThrough({ ...socks5, credential }, new ScriptedProxy(script, "hex")),
      (thrown) => {
        assert.ok(thrown instanceof NetworkError);
        assert.equal(thrown.code, "ERR_CREDENTIAL");
        assert.doesNotMatch(inspect(thrown, { depth: 9, showHidden: true }), /hunter2/);
        return true;
      },
    );
  });

  test("notices a proxy that closes in the middle", async () => {
    const proxy = new ScriptedProxy([["05 01 00", "05"]], "hex");
    const dialling = dialThrough(socks5, proxy);
    while (proxy.dialled === undefined) await turn();
    await turn();
    proxy.finish();
    await assert.rejects(dialling, { code: "ERR_TUNNEL_DOWN", message: /closed the connection/ });
    await turn();
    assert.equal(proxy.runtime.clock.pending, 0);
  });
});

describe("upstream SOCKS4a proxy", () => {
  test("sends the name behind an impossible address", async () => {
    const script: Exchange[] = [
      ["04 01 0050 00000001 616c69636500 6e616d652e6578616d706c6500", "00 5a 0000 00000000 4869"],
    ];
    const user = { user: "alice", password: "" };
    const proxy = new ScriptedProxy(script, "hex");
    const connection = await dialThrough({ ...socks4a, credential: user }, proxy);
    assert.equal(await read(connection, 2), "Hi");
  });

  test("refuses what it cannot carry and reports a refusal", async () => {
    const none = new ScriptedProxy([], "hex");
    await assert.rejects(dialThrough(socks4a, none, "::1"), { code: "ERR_ADDRESS_UNSUPPORTED" });
    assert.equal(none.dialled, undefined);
    const request = "04 01 0050 0a000001 00";
    const proxy = new ScriptedProxy([[request, "00 5b 0000 00000000"]], "hex");
    await assert.rejects(dialThrough(socks4a, proxy, "10.0.0.1"), { code: "ERR_DIAL_FAILED" });
  });
});

describe("upstream HTTP proxy", () => {
  const request = "CONNECT name.example:80 HTTP/1.1\r\nHost: name.example:80\r\n\r\n";

  test("asks for a tunnel and hands over what the target said at once", async () => {
    const answers = [
      "HTTP/1.1 200 Connection established\r\n\r\nHello",
      "HTTP/1.0 200 OK\r\nContent-Length: 9\r\nVia: x\r\n\r\nHello",
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204\r\n\r\nHello",
      "HTTP/1.1 200 OK\n\nHello",
    ];
    for (const answer of answers) {
      for (const chunkBytes of [1, 7, 1_000]) {
        const proxy = new ScriptedProxy([[request, answer]], "latin1").inChunksOf(chunkBytes);
        const connection = await dialThrough(http, proxy);
        assert.equal(await read(connection, 5), "Hello");
        assert.equal(proxy.runtime.clock.pending, 0);
      }
    }
  });

  test("sends credentials and brackets, and TLS when it is an https proxy", async () => {
    const head =
      "CONNECT [::1]:80 HTTP/1.1\r\nHost: [::1]:80\r\n" +
      "Proxy-Authorization: Basic YWxpY2U6aHVudGVyMg==\r\n\r\n";
    const proxy = new ScriptedProxy([[head, "HTTP/1.1 200 OK\r\n\r\n"]], "latin1");
    await dialThrough({ ...http, scheme: "https", credential }, proxy, "::1");
    assert.deepEqual(proxy.dialled, { host: "proxy.example", port: 3128, isTls: true });
  });

  test("says why the proxy refused, in our codes", async () => {
    const cases = [
      ["HTTP/1.1 403 Forbidden\r\n\r\n", "ERR_POLICY_DENIED"],
      ["HTTP/1.1 405 No\r\n\r\n", "ERR_COMMAND_UNSUPPORTED"],
      ["HTTP/1.1 407 Login\r\nProxy-Authenticate: Basic\r\n\r\n", "ERR_CREDENTIAL"],
      ["HTTP/1.1 429 Slow\r\n\r\n", "ERR_LIMIT"],
      ["HTTP/1.1 502 Bad Gateway\r\n\r\n", "ERR_DIAL_FAILED"],
      ["HTTP/1.1 504 Timeout\r\n\r\n", "ERR_DIAL_TIMEOUT"],
      ["HTTP/1.1 301 Moved\r\n\r\n", "ERR_DIAL_FAILED"],
      ["HTTP/2 200\r\n\r\n", "ERR_PROTOCOL"],
      ["SSH-2.0-x\r\n", "ERR_PROTOCOL"],
      ["HTTP/1.1 100 Go on\r\n\r\n".repeat(6), "ERR_PROTOCOL"],
      [`HTTP/1.1 200 OK\r\n${"A: b\r\n".repeat(3_000)}`, "ERR_PROTOCOL"],
      ["x".repeat(9_000), "ERR_PROTOCOL"],
    ] as const;
    for (const [answer, code] of cases) {
      const proxy = new ScriptedProxy([[request, answer]], "latin1");
      await assert.rejects(dialThrough(http, proxy), {
        code,
        message: /^proxy http:\/\/proxy\.example:3128/,
      });
      await turn();
      assert.ok(proxy.isClosed, `${code}: connection left open`);
      assert.equal(proxy.runtime.clock.pending, 0);
    }
  });
});

describe("upstream proxies", () => {
  test("get no name that could break out of its field", async () => {
    for (const proxy of [socks5, socks4a, http]) {
      for (const host of [
        "a\r\nX: y",
        "a b",
        "a\0b",
        "a/b",
        "a@b",
        "fe80::1%eth0",
        "x".repeat(300),
      ]) {
        const none = new ScriptedProxy([], "hex");
        await assert.rejects(dialThrough(proxy, none, host), { code: "ERR_ADDRESS_UNSUPPORTED" });
        assert.equal(none.dialled, undefined);
      }
    }
  });

  test("give up after the deadline, and when the client does", async () => {
    for (const proxy of [socks5, http]) {
      const silent = new ScriptedProxy([], "hex");
      const late = dialThrough(proxy, silent);
      while (silent.dialled === undefined) await turn();
      await turn();
      silent.runtime.clock.advance(15_000);
      await assert.rejects(late, {
        code: "ERR_DIAL_TIMEOUT",
        message: /no answer within 15000 ms/,
      });
      const controller = new AbortController();
      const other = new ScriptedProxy([], "hex");
      const aborted = dialThrough(proxy, other, "name.example", controller.signal);
      while (other.dialled === undefined) await turn();
      controller.abort(new NetworkError("ERR_ABORTED", "gone"));
      await assert.rejects(aborted, { code: "ERR_ABORTED" });
      await turn();
      for (const { isClosed, runtime } of [silent, other]) {
        assert.ok(isClosed);
        assert.equal(runtime.clock.pending, 0);
      }
    }
  });

  test("are blamed themselves when they cannot be reached", async () => {
    const scripted = new ScriptedProxy([], "hex");
    const dial = (): Promise<Connection> =>
      Promise.reject(new NetworkError("ERR_DIAL_REFUSED", "connection refused"));
    const { runtime } = scripted;
    const outbound = createUpstreamOutbound({ name: "up", runtime, proxy: http, dial });
    const { signal } = new AbortController();
    const target = { network: "tcp", host: "x", port: 1 } as const;
    await assert.rejects(outbound.dial(target, { signal, metadata }), {
      code: "ERR_TUNNEL_DOWN",
      message: "proxy http://proxy.example:3128 cannot be reached: connection refused",
    });
  });

  test("are refused with a credential that no handshake carries", () => {
    const { runtime, dial } = new ScriptedProxy([], "hex");
    const cases = [
      [{ ...socks5, credential: { user: "x".repeat(256), password: "" } }, /256 bytes exceeds 255/],
      [{ ...socks5, credential: { user: "", password: "x" } }, /needs a user name/],
      [{ ...socks4a, credential }, /knows no password/],
      [{ ...http, credential: { user: "a:b", password: "x" } }, /cannot hold a colon/],
      [{ ...http, credential: { user: "a\r\nb", password: "x" } }, /control character/],
    ] as const;
    for (const [proxy, message] of cases) {
      assert.throws(() => createUpstreamOutbound({ name: "up", runtime, proxy, dial }), {
        name: "ConfigError",
        message,
      });
    }
  });
});
