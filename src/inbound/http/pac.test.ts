import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  manualRuntime,
  memoryClient,
  recordingLogger,
  type TestClient,
} from "../../../test/support/test-client.ts";
import { Logins } from "../../tunnel/logins.ts";
import { createHttpInbound, type HttpInboundOptions } from "./inbound.ts";
import { PAC_PATHS } from "./pac.ts";

const PAC = { paths: PAC_PATHS, hasSocks: true };

describe("pac file", () => {
  test("names the proxy by the host it was asked at, and by its own port", async () => {
    const table: Record<string, string> = {
      "Host: 192.0.2.7:9999": "192.0.2.7:1080",
      "Host: 192.0.2.7": "192.0.2.7:1080",
      "host: proxy.example:80": "proxy.example:1080",
      "Host: [2001:db8::1]:1080": "[2001:db8::1]:1080",
      "Accept: */*": "127.0.0.1:1080",
      "Host: ": "127.0.0.1:1080",
      "Host: a';alert(1);'": "127.0.0.1:1080",
      "Host: [::1';x']": "127.0.0.1:1080",
      "Host: a\\": "127.0.0.1:1080",
    };
    for (const [field, place] of Object.entries(table)) {
      const client = make({ pac: PAC });
      await client.send(`GET /proxy.pac HTTP/1.1\r\n${field}\r\n\r\n`);
      assert.match(client.text, /^HTTP\/1.1 200 OK\r\n/);
      assert.match(client.text, /\r\nContent-Type: application\/x-ns-proxy-autoconfig\r\n/);
      assert.equal(
        bodyOf(client),
        `function FindProxyForURL(url, host) {if (url && url.indexOf('http://') === 0) {return 'SOCKS5 ${place};DIRECT';}return 'SOCKS5 ${place};PROXY ${place}';}`,
        field,
      );
    }
  });

  test("names the HTTP proxy alone where there is no SOCKS", async () => {
    const client = make({ pac: { ...PAC, hasSocks: false } });
    await client.send("GET /pac?x=1 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert.equal(
      bodyOf(client),
      "function FindProxyForURL(url, host) {if (url && url.indexOf('http://') === 0) {return 'PROXY h:1080;DIRECT';}return 'PROXY h:1080';}",
    );
  });

  test("is served on its paths alone, to GET and HEAD, and only when it is wanted", async () => {
    const own = { pac: { paths: ["/x.pac"], hasSocks: true } };
    const table: readonly (readonly [
      options: Partial<HttpInboundOptions>,
      line: string,
      status: number,
    ])[] = [
      [{ pac: PAC }, "HEAD /pac", 200],
      [{ pac: PAC }, "POST /pac", 400],
      [{ pac: PAC }, "GET /pac/", 400],
      [{ pac: PAC }, "GET /x.pac", 400],
      [own, "GET /x.pac", 200],
      [own, "GET /pac", 400],
      [{}, "GET /pac", 400],
    ];
    for (const [options, line, status] of table) {
      const client = make(options);
      await client.send(`${line} HTTP/1.1\r\nHost: h\r\n\r\n`);
      assert.match(client.text, new RegExp(`^HTTP/1.1 ${status} `), line);
      if (line.startsWith("HEAD")) assert.equal(bodyOf(client), "");
    }
  });

  test("needs no login, and leaves the connection open for a request that does", async () => {
    const guard = { blockedForMs: () => 0, recordFailure: () => {} };
    const logins = new Logins({ users: new Map([["alice", "secret"]]), guard });
    const client = make({ pac: PAC, logins });
    await client.send("GET /pac HTTP/1.1\r\nHost: h\r\n\r\n");
    assert.match(client.text, /^HTTP\/1.1 200 /);
    await client.send("GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n");
    assert.match(client.text, /HTTP\/1.1 407 /);
  });
});

function make(options: Partial<HttpInboundOptions>): TestClient {
  const runtime = manualRuntime();
  const { logger } = recordingLogger();
  const onRequest = (): never => assert.fail("nothing is dialled");
  const serve = createHttpInbound({ name: "http test", onRequest, runtime, logger, ...options });
  const [client, connection] = memoryClient(runtime);
  serve(connection);
  return client;
}

function bodyOf({ text }: TestClient): string {
  return text.slice(text.indexOf("\r\n\r\n") + 4);
}
