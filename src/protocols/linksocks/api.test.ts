import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { LinkSocksHouse, TOKENS } from "../../../test/support/linksocks-house.ts";
import { ConfigError } from "../../errors.ts";
import type { HttpAnswer } from "./http-surface.ts";
import type { ProxyPort, ProxyPortWish } from "./server-api.ts";

const KEY = "the-key";
const JSON_TYPE = { "content-type": "application/json" };
const TEXT_TYPE = { "content-type": "text/plain; charset=utf-8" };

describe("the HTTP surface", () => {
  test("answers byte for byte what spec 2.1 says, with our name", async () => {
    const { ask } = surface(false);
    const sniff = { ...TEXT_TYPE, "x-content-type-options": "nosniff" };
    const version = { ...sniff, "sec-websocket-version": "13" };
    assert.deepEqual(await ask("GET /"), {
      status: 200,
      headers: TEXT_TYPE,
      body: "Sluice is running but API is not enabled.\n",
    });
    assert.deepEqual(await ask("GET /socket"), {
      status: 400,
      headers: version,
      body: "Bad Request\n",
    });
    assert.deepEqual(await ask("POST /socket/x"), {
      status: 405,
      headers: version,
      body: "Method Not Allowed\n",
    });
    const missing = { status: 404, headers: sniff, body: "404 page not found\n" };
    for (const path of ["/nothing", "/socketx", "/api/status", "/api", "/api/"]) {
      assert.deepEqual(await ask(`GET ${path}`), missing, path);
    }
  });

  test("names the API where there is one", async () => {
    const { ask } = surface();
    const { body } = await ask("GET /");
    assert.equal(body, "Sluice is running. API endpoints available at /api/*\n");
    assert.equal((await ask("GET /api/other")).status, 404);
  });

  test("serves another path when told so", async () => {
    const { server } = new LinkSocksHouse({ path: "/tunnel" });
    assert.ok(server.isSocket("/tunnel") && server.isSocket("/tunnel/x"));
    assert.ok(!server.isSocket("/socket") && !server.isSocket("/tunnelx"));
  });
});

describe("the HTTP API", () => {
  test("wants the key, whole", async () => {
    const { ask } = surface();
    const body = '{"success":false,"error":"invalid API key"}\n';
    for (const key of ["", "wrong", "the-ke", "the-keyy"]) {
      assert.deepEqual(await ask("POST /api/token", '{"type":"forward"}', key), {
        status: 401,
        headers: JSON_TYPE,
        body,
      });
      assert.deepEqual(await ask("GET /api/status", "", key), {
        status: 401,
        headers: TEXT_TYPE,
        body,
      });
    }
  });

  test("knows its methods", async () => {
    const { ask } = surface();
    assert.deepEqual(await ask("POST /api/status"), { status: 405, headers: {}, body: "" });
    for (const method of ["PUT", "GET"]) {
      assert.deepEqual(await ask(`${method} /api/token`), {
        status: 405,
        headers: JSON_TYPE,
        body: "",
      });
    }
  });

  test("answers every wish for a token with the reference's bytes", async () => {
    const { create } = surface();
    const expected = [
      ['{"type":"forward","token":"f"}', 200, '{"success":true,"token":"f"}'],
      ['{"type":"forward","token":"f"}', 200, '{"success":false,"error":"token already exists"}'],
      [
        '{"type":"forward","token":"anonymous"}',
        200,
        `{"success":false,"error":"'anonymous' is reserved and cannot be used as a token"}`,
      ],
      [
        '{"type":"reverse","token":"r","port":9870,"username":"u","password":"p"}',
        200,
        '{"success":true,"token":"r","port":9870}',
      ],
      [
        '{"type":"reverse","token":"r2","port":9870}',
        200,
        '{"success":false,"error":"cannot allocate port: 9870"}',
      ],
      [
        '{"type":"reverse","token":"r2","port":65536}',
        200,
        '{"success":false,"error":"cannot allocate port: 65536"}',
      ],
      ['{"type":"reverse","token":"r3"}', 200, '{"success":true,"token":"r3","port":20001}'],
      [
        '{"type":"reverse","token":"a","allow_manage_connector":true}',
        200,
        '{"success":true,"token":"a","port":-1}',
      ],
      ['{"type":"connector","token":"c","reverse_token":"r"}', 200, '{"success":true,"token":"c"}'],
      [
        '{"Type":"connector","TOKEN":"c","reverse_token":"r","more":1}',
        200,
        '{"success":true,"token":"c"}',
      ],
      [
        '{"type":"connector","token":"c","reverse_token":"a"}',
        200,
        '{"success":false,"error":"connector token already exists"}',
      ],
      [
        '{"type":"connector","token":"x"}',
        200,
        '{"success":false,"error":"reverse_token is required for connector token"}',
      ],
      [
        '{"type":"connector","token":"x","reverse_token":"nobody"}',
        200,
        '{"success":false,"error":"reverse token does not exist"}',
      ],
      [
        '{"type":"connector","token":"anonymous","reverse_token":"r"}',
        200,
        `{"success":false,"error":"'anonymous' is reserved and cannot be used as a connector token"}`,
      ],
      [
        '{"type":"reverse","token":"half","username":"u"}',
        200,
        '{"success":false,"error":"username and password are given together or not at all"}',
      ],
      ['{"type":"other"}', 400, '{"success":false,"error":"invalid token type"}'],
      ["{}", 400, '{"success":false,"error":"invalid token type"}'],
      ...["{", "", "[]", '"x"', '{"type":1}', '{"type":"reverse","port":"9"}'].map(
        (body) => [body, 400, '{"success":false,"error":"invalid request body"}'] as const,
      ),
      ['{"type":"forward","token":"<&>"}', 200, '{"success":true,"token":"\\u003c\\u0026\\u003e"}'],
    ] as const;
    for (const [body, status, text] of expected) {
      assert.deepEqual(await create(body), { status, headers: JSON_TYPE, body: `${text}\n` }, body);
    }
    const { body } = await create('{"type":"forward"}');
    assert.match(body, /^\{"success":true,"token":"[0-9a-f]{16}"\}\n$/);
  });

  test("makes tokens that work at once, and removes them with their WebSockets and ports", async () => {
    const { house, ask, create, ports } = surface();
    await create('{"type":"reverse","token":"r","port":9870,"username":"u","password":"p"}');
    await create('{"type":"connector","token":"c","reverse_token":"r"}');
    await create('{"type":"forward","token":"f"}');
    assert.deepEqual(ports.open.get(9870)?.login, { user: "u", password: "p" });
    const peers = [await house.logIn("r"), await house.logIn("c"), await house.logIn("f")];
    for (const peer of peers) {
      assert.deepEqual((await peer.heard())[0], { type: "authResponse", error: undefined });
    }
    assert.equal(house.outbounds.get(ports.open.get(9870)?.via ?? "")?.name, "house/reverse-1");
    const gone = { status: 200, headers: JSON_TYPE, body: '{"success":true,"token":"f"}\n' };
    assert.deepEqual(await ask("DELETE /api/token/f"), gone);
    await peers[2]?.heard();
    assert.deepEqual(
      peers.map(({ isClosed }) => isClosed),
      [false, false, true],
    );
    await ask("DELETE /api/token", '{"token":"r"}');
    await peers[0]?.heard();
    await peers[1]?.heard();
    assert.ok(peers.every(({ isClosed }) => isClosed));
    assert.equal(ports.open.size, 0);
    assert.ok(!house.outbounds.has("house/reverse-1"));
    const late = await house.logIn("c");
    assert.deepEqual(await late.heard(), [{ type: "authResponse", error: "invalid token" }]);
    const again = await create('{"type":"reverse","token":"r","port":9870}');
    assert.match(again.body, /"success":true/);
  });

  test("removes what is not there without a word, and wants to know what", async () => {
    const { ask } = surface();
    const { body } = await ask("DELETE /api/token/never-existed");
    assert.equal(body, '{"success":true,"token":"never-existed"}\n');
    for (const [what, wish] of [
      ["/api/token", ""],
      ["/api/token/", ""],
      ["/api/token", "{"],
    ] as const) {
      assert.deepEqual(await ask(`DELETE ${what}`, wish), {
        status: 200,
        headers: JSON_TYPE,
        body: '{"success":false,"error":"token not specified"}\n',
      });
    }
  });

  test("leaves tokens of the configuration alone, and does not tell them", async () => {
    const { house, ask } = surface();
    const { body } = await ask(`DELETE /api/token/${TOKENS.forward}`);
    assert.match(body, /"success":false,"error":"token belongs to the configuration/);
    assert.equal((await (await house.logIn(TOKENS.forward)).heard()).length, 1);
    const status = await ask("GET /api/status");
    for (const secret of Object.values(TOKENS)) assert.ok(!status.body.includes(secret));
  });

  test("tells the status in the reference's shape", async () => {
    const { house, ask, create } = surface(true, { clients: [], providers: [], connectors: [] });
    assert.equal(
      (await ask("GET /api/status")).body,
      '{"version":"sluice v0","tokens":[],"direct":{"enabled":false}}\n',
    );
    await create('{"type":"reverse","token":"r","port":9870}');
    await create('{"type":"connector","token":"c","reverse_token":"r"}');
    await create('{"type":"reverse","token":"a","allow_manage_connector":true}');
    await create('{"type":"forward","token":"f"}');
    await house.logIn("r");
    await house.logIn("f");
    const instance = "0f0e0d0c-0b0a-4908-8706-050403020100";
    const free = await house.logIn("a", { instance });
    free.say({ type: "connector", requestId: "0".repeat(32), token: "own", operation: "add" });
    await free.heard();
    assert.equal(
      (await ask("GET /api/status")).body,
      `${JSON.stringify({
        version: "sluice v0",
        tokens: [
          { token: "r", type: "reverse", clients_count: 1, port: 9870, connector_tokens: ["c"] },
          { token: "a", type: "reverse", clients_count: 0, port: -1 },
          {
            token: instance,
            type: "reverse",
            clients_count: 1,
            port: -1,
            connector_tokens: ["own"],
          },
          { token: "f", type: "forward", clients_count: 1 },
        ],
        direct: { enabled: false },
      })}\n`,
    );
  });

  test("tells who can be reached directly", async () => {
    const { house, ask, create } = surface(true, { direct: true });
    await create('{"type":"reverse","token":"r","port":9870}');
    await create('{"type":"connector","token":"c","reverse_token":"r"}');
    const connector = await house.logIn("c");
    await house.logIn(TOKENS.forward);
    const sessionId = "00112233-4455-6677-8899-aabbccddee02";
    const path = { rttMs: 0, lossPpm: 0, reason: "" };
    connector.say({ type: "directStatus", sessionId, status: "custom", ...path });
    await connector.heard();
    const { body } = await ask("GET /api/status");
    const text = body.replaceAll(/"client_id":"[0-9a-f-]{36}"/g, '"client_id":"…"');
    assert.ok(
      text.endsWith(
        `"direct":{"enabled":true,"peers":[{"client_id":"…","internal_token":"c","role":"connector","reverse_token":"r","supports_direct":true,"updated_at":"2026-01-02T03:04:05Z","last_session_id":"${sessionId}","last_direct_state":"custom"},{"client_id":"…","internal_token":"alice","role":"forward","supports_direct":false}]}}\n`,
      ),
      text,
    );
  });

  test("survives calls at the same time", async () => {
    const { ask, create, ports } = surface();
    ports.isSlow = true;
    const [made, taken, , status] = await Promise.all([
      create('{"type":"reverse","token":"r","port":9870}'),
      create('{"type":"reverse","token":"r","port":9871}'),
      ask("DELETE /api/token/r"),
      ask("GET /api/status"),
    ]);
    assert.match(taken.body, /token already exists/);
    assert.match(made.body, /token was removed meanwhile/);
    assert.equal(status.status, 200);
    assert.equal(ports.open.size, 0, "the port that came too late is closed again");
  });

  test("closes its ports with the server", async () => {
    const { house, create, ports } = surface();
    await create('{"type":"reverse","token":"r","port":9870}');
    await house.server.close(0);
    assert.equal(ports.open.size, 0);
  });
});

/** Ports of no machine. */
class FakePorts {
  readonly open = new Map<number, ProxyPortWish>();
  isSlow = false;
  #last = 20_000;

  async openPort(wish: ProxyPortWish): Promise<ProxyPort> {
    const port = wish.port === 0 ? ++this.#last : wish.port;
    if (this.isSlow) await new Promise((resolve) => setImmediate(resolve));
    if (this.open.has(port)) throw new ConfigError(`${port} is taken`, { code: "ERR_LISTEN" });
    this.open.set(port, wish);
    return {
      port,
      close: () => {
        this.open.delete(port);
        return Promise.resolve();
      },
    };
  }
}

function surface(
  hasApi = true,
  options: ConstructorParameters<typeof LinkSocksHouse>[0] = {},
): {
  readonly house: LinkSocksHouse;
  readonly ports: FakePorts;
  readonly ask: (line: string, body?: string, key?: string) => Promise<HttpAnswer>;
  readonly create: (body: string) => Promise<HttpAnswer>;
} {
  const ports = new FakePorts();
  const api = {
    key: KEY,
    version: "sluice v0",
    openPort: async (wish: ProxyPortWish) => await ports.openPort(wish),
  };
  const house = new LinkSocksHouse({ ...options, ...(hasApi && { api }) });
  const ask = async (line: string, body = "", apiKey = KEY): Promise<HttpAnswer> => {
    const [method = "", path = ""] = line.split(" ");
    return await house.server.answer({ method, path, apiKey, body });
  };
  return { house, ports, ask, create: async (body) => await ask("POST /api/token", body) };
}
