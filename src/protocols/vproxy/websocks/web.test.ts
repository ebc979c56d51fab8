import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { patternBytes } from "../../../../test/support/chunks.ts";
import { assertBytes } from "../../../../test/support/hex.ts";
import type { Recorder } from "../../../../test/support/recorder.ts";
import { turns } from "../../../../test/support/turns.ts";
import { WebSocksHouse } from "../../../../test/support/websocks-house.ts";
import { NetworkError } from "../../../errors.ts";
import { authorizationOf } from "./authorization.ts";
import type { WebFile } from "./send-page.ts";
import { redirectPage, type WebFiles, type WebOptions } from "./web.ts";
import { isCacheable, mediaTypeOf, parseWebPath } from "./web-path.ts";

const TREE: Readonly<Record<string, string | undefined>> = {
  "/index.html": "home",
  "/a.css": "css",
  "/data.bin": "bin",
  "/about.html": "about",
  "/docs/index.html": "docs",
  "/docs/b.txt": "text",
  "/empty/x": "x",
  "/with space.txt": "space",
};

describe("pages of a WebSocks server", { timeout: 20_000 }, () => {
  test("are files, indexes, and files without their ending", async () => {
    for (const [path, status, body, type] of [
      ["/", 200, "home", "text/html; charset=utf-8"],
      ["/?x=1#y", 200, "home", "text/html; charset=utf-8"],
      ["/a.css", 200, "css", "text/css; charset=utf-8"],
      ["/data.bin", 200, "bin", "application/octet-stream"],
      ["/about", 200, "about", "text/html; charset=utf-8"],
      ["/docs/", 200, "docs", "text/html; charset=utf-8"],
      ["/docs/b.txt", 200, "text", "text/plain; charset=utf-8"],
      ["/with%20space.txt", 200, "space", "text/plain; charset=utf-8"],
      ["http://other.host/a.css", 200, "css", "text/css; charset=utf-8"],
      ["/empty", 404, "not found\n", "text/plain; charset=utf-8"],
      ["/empty/", 404, "not found\n", "text/plain; charset=utf-8"],
      ["/none", 404, "not found\n", "text/plain; charset=utf-8"],
      ["/../index.html", 400, "bad request\n", "text/plain; charset=utf-8"],
      ["/%2e%2e/index.html", 400, "bad request\n", "text/plain; charset=utf-8"],
    ] as const) {
      const page = await ask(path, { files: memoryFiles(TREE) });
      assert.ok(page.text.startsWith(`HTTP/1.1 ${status} `), `${path}: ${page.text}`);
      assert.ok(page.text.endsWith(`\r\n\r\n${body}`), `${path}: ${page.text}`);
      assert.ok(page.text.includes(`Content-Type: ${type}\r\n`), `${path}: ${page.text}`);
      assert.ok(page.text.includes(`Content-Length: ${body.length}\r\n`));
      assert.match(page.text, /X-Content-Type-Options: nosniff\r\n/);
      assert.equal(page.text.includes("max-age=600"), /html|css/.test(type) && status === 200);
    }
  });

  test("lead into folders", async () => {
    const page = await ask("/docs?x=1", { files: memoryFiles(TREE) });
    assert.match(page.text, /^HTTP\/1\.1 302 Found\r\n[^]*Location: \/docs\/\?x=1\r\n/);
  });

  test("of any size are sent as they are taken", async () => {
    const bytes = patternBytes(2_000_000);
    let isClosed = false;
    const house = new WebSocksHouse(
      {},
      { web: { files: oneFile(bytes, () => (isClosed = true)) } },
    );
    const reader = house.visit();
    reader.connection.write([request("/big")]);
    await turns(2);
    reader.connection.pause();
    await turns(40);
    assert.ok(!isClosed, "the file waits for its reader");
    reader.connection.resume();
    await reader.ended();
    assert.ok(isClosed);
    const start = Buffer.from(reader.bytes).indexOf("\r\n\r\n") + 4;
    assertBytes(reader.bytes.subarray(start), bytes);
  });

  test("are cut off hard when their reader stalls, or their file shrinks", async () => {
    const stalled = new WebSocksHouse({}, { web: { files: oneFile(patternBytes(2_000_000)) } });
    const reader = stalled.visit();
    reader.connection.pause();
    reader.connection.write([request("/big")]);
    await turns(20);
    await stalled.passTime(31_000, 5_000);
    reader.connection.resume();
    await reader.closed();
    assert.equal(reader.closeError?.code, "ERR_CLOSED");
    assert.equal(stalled.clock.pending, 0);

    const short: WebFile = { byteLength: 10, read: () => chunked(Buffer.from("five!")) };
    const shrunk = await ask("/x", { files: { find: () => Promise.resolve(short) } });
    assert.equal(shrunk.closeError?.code, "ERR_CLOSED");
    const long: WebFile = { byteLength: 4, read: () => chunked(Buffer.from("five!")) };
    const grown = await ask("/x", { files: { find: () => Promise.resolve(long) } });
    assert.match(grown.text, /\r\n\r\nfive$/);
  });

  test("leave nothing behind when their reader leaves", async () => {
    let isClosed = false;
    const files = oneFile(patternBytes(2_000_000), () => (isClosed = true));
    const house = new WebSocksHouse({}, { web: { files } });
    const reader = house.visit();
    reader.connection.write([request("/big")]);
    await turns(3);
    reader.connection.reset(new NetworkError("ERR_CONNECTION_RESET", "left"));
    await turns(20);
    assert.ok(isClosed);
    assert.equal(house.clock.pending, 0);
  });

  test("fail without words when files cannot be read", async () => {
    const files: WebFiles = { find: () => Promise.reject(new Error("EACCES: /secret/path")) };
    const page = await ask("/x", { files });
    assert.doesNotMatch(page.text, /secret/);
  });
});

describe("the name tool of a WebSocks server", { timeout: 20_000 }, () => {
  const resolve = (name: string): Promise<readonly string[]> =>
    name === "localhost" ? Promise.resolve(["127.0.0.1", "::1"]) : Promise.reject(new Error("no"));
  const json = '{\n    "domain": "localhost",\n    "addresses": [ "127.0.0.1", "::1" ]\n}';

  test("answers users, and others only if told so", async () => {
    const path = "/tools/resolve?domain=localhost";
    const stranger = await ask(path, { resolve });
    assert.match(stranger.text, /^HTTP\/1\.1 401 [^]*WWW-Authenticate: Basic\r\n/);
    const open = await ask(path, { resolve, isResolveOpen: true });
    assert.ok(open.text.endsWith(`\r\n\r\n${json}`));
    const user = await ask(path, { resolve }, true);
    assert.ok(user.text.endsWith(`\r\n\r\n${json}`));
    assert.match(user.text, /Content-Type: application\/json\r\n/);
  });

  test("answers 400 to what does not resolve, is no name, or takes for ever", async () => {
    for (const query of ["", "?domain=", "?domain=a%20b", "?domain=none.invalid"]) {
      const page = await ask(`/tools/resolve${query}`, { resolve, isResolveOpen: true });
      assert.match(page.text, /^HTTP\/1\.1 400 /);
    }
    const never = (): Promise<readonly string[]> => new Promise(() => {});
    const house = new WebSocksHouse({}, { web: { resolve: never, isResolveOpen: true } });
    const reader = house.visit();
    reader.connection.write([request("/tools/resolve?domain=a")]);
    await turns();
    await house.passTime(10_000, 1_000);
    await reader.ended();
    assert.match(reader.text, /^HTTP\/1\.1 400 /);
  });

  test("counts wrong users like wrong logins", async () => {
    let failures = 0;
    const guard = { blockedForMs: () => 0, recordFailure: () => void failures++ };
    const house = new WebSocksHouse({}, { guard, web: { resolve } });
    const reader = house.visit();
    reader.connection.write([request("/tools/resolve?domain=localhost", "Basic eDp5")]);
    await reader.ended();
    assert.equal(failures, 1);
  });
});

describe("paths of pages", () => {
  test("never lead out, and name each file in one way", () => {
    for (const path of [
      "",
      "*",
      "a",
      "/..",
      "/a/../b",
      "/./a",
      "/.git/config",
      "/a/.htpasswd",
      "/%2e%2e/a",
      "/%2E%2E%2Fa",
      "/a%00b",
      "/a\\b",
      "/%5c..%5cb",
      "//host/a",
      "/a//b",
      "/%",
      "/%ff",
    ]) {
      assert.equal(parseWebPath(path), undefined, path);
    }
    assert.equal(parseWebPath("/.well-known/x")?.path, "/.well-known/x");
    assert.equal(parseWebPath("http://host")?.path, "/");
    assert.equal(parseWebPath("/a?domain=b%20c&x")?.query.get("domain"), "b c");
  });

  test("are safe whatever is asked for", () => {
    const piece = fc.constantFrom(
      "/",
      "..",
      ".",
      "%2e",
      "%2f",
      "%5c",
      "\\",
      "a",
      "?",
      "#",
      "%",
      "\0",
    );
    fc.assert(
      fc.property(fc.array(fc.oneof(piece, fc.string()), { maxLength: 12 }), (pieces) => {
        const found = parseWebPath(`/${pieces.join("")}`);
        if (found === undefined) return;
        assert.ok(found.path.startsWith("/"));
        assert.ok(!found.path.split(/[/\\]/).some((segment) => /^\.\.?$/.test(segment)));
        assert.ok(!found.path.includes("\0"));
      }),
    );
  });

  test("tell the type by their ending", () => {
    assert.equal(mediaTypeOf("/A.HTML"), "text/html; charset=utf-8");
    assert.equal(mediaTypeOf("/a.b.png"), "image/png");
    assert.equal(mediaTypeOf("/html"), "application/octet-stream");
    assert.equal(mediaTypeOf("/a.exe"), "application/octet-stream");
    assert.ok(isCacheable("/a.jpeg") && !isCacheable("/a.json"));
  });
});

describe("a redirect to TLS", () => {
  test("goes to the domain, or to the host that was asked for", () => {
    for (const [host, target, to, location] of [
      ["h:80", "/a?b", { domain: "d.example", port: 443 }, "https://d.example/a?b"],
      ["h:80", "/a?b", { port: 443 }, "https://h/a?b"],
      ["[::1]:8080", "/", { port: 8_443 }, "https://[::1]:8443/"],
      ["h", "http://x/y", { port: 443 }, "https://h/"],
      ["h/evil", "/", { port: 443 }, undefined],
      ["a@b", "/", { port: 443 }, undefined],
    ] as const) {
      const fields = [["host", host]] as const;
      const page = redirectPage({ start: ["GET", target, "HTTP/1.1"], fields }, to);
      assert.equal(page.status, location === undefined ? 400 : 301);
      assert.equal(page.fields.find(([name]) => name === "Location")?.[1], location);
    }
  });
});

/** One question to a server of its own, heard to its end. */
async function ask(path: string, web: WebOptions, isUser = false): Promise<Recorder> {
  const house = new WebSocksHouse({}, { web });
  const reader = house.visit();
  const authorization = authorizationOf("alice", "pasSw0rD", house.unixMs);
  reader.connection.write([request(path, isUser ? authorization : undefined)]);
  await reader.until(() => reader.events.length > 0);
  return reader;
}

function request(path: string, authorization?: string): Uint8Array {
  const extra = authorization === undefined ? "" : `Authorization: ${authorization}\r\n`;
  return Buffer.from(`GET ${path} HTTP/1.1\r\nHost: h\r\n${extra}\r\n`, "latin1");
}

/** Files by path; what lies in between is a folder. */
function memoryFiles(tree: Readonly<Record<string, string | undefined>>): WebFiles {
  return {
    find: (path) => {
      const body = tree[path];
      if (body !== undefined) {
        const bytes = Buffer.from(body);
        return Promise.resolve({ byteLength: bytes.byteLength, read: () => chunked(bytes) });
      }
      const isFolder = Object.keys(tree).some((name) => name.startsWith(`${path}/`));
      return Promise.resolve(isFolder ? "folder" : undefined);
    },
  };
}

function oneFile(bytes: Uint8Array, onClosed?: () => void): WebFiles {
  const read = (): AsyncIterable<Uint8Array> => chunked(bytes, onClosed);
  return { find: () => Promise.resolve({ byteLength: bytes.byteLength, read }) };
}

async function* chunked(bytes: Uint8Array, onClosed?: () => void): AsyncGenerator<Uint8Array> {
  try {
    for (let at = 0; at < bytes.byteLength; at += 65_536) {
      await turns(1);
      yield bytes.slice(at, at + 65_536);
    }
  } finally {
    onClosed?.();
  }
}
