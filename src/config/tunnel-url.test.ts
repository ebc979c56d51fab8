import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { inspect } from "node:util";
import * as fc from "fast-check";
import { ConfigError } from "../errors.ts";
import { parseCredential } from "./credential.ts";
import type { Role } from "./systems.ts";
import type { TunnelOptions } from "./option-values.ts";
import {
  describeTunnelUrl,
  formatTunnelUrl,
  parseTunnelUrl,
  readTunnelUrl,
  type TunnelUrl,
} from "./tunnel-url.ts";

const ID = "5b1dd6c0-0000-4000-8000-000000000001";
const PIN = "A".repeat(43) + "=";

const canonical = (text: string, role: Role = "connect"): string =>
  formatTunnelUrl(parseTunnelUrl(text, role), { reveal: true });

describe("a tunnel URL", () => {
  test("takes a user and a password apart", () => {
    const { user, credential: password } = parseTunnelUrl(
      "vproxy+tcp://al%40x:env:PW@h",
      "connect",
    );
    assert.equal(user, "al@x");
    assert.deepEqual(password, { kind: "env", name: "PW" });
    const both = parseTunnelUrl("vproxy+tcp://env:LOGIN@h", "connect");
    assert.equal(both.user, undefined);
    assert.deepEqual(both.credential, { kind: "env", name: "LOGIN" });
    assert.equal(
      formatTunnelUrl(parseTunnelUrl("vproxy+tcp://alice:hunter2@h", "connect")),
      "vproxy+tcp://alice:***@h:443",
    );
  });

  test("takes its parts apart", () => {
    const url = parseTunnelUrl(
      "pong+wss://env:ID@host.example:8443/api?streams=50&sni=front.example&hold=250ms",
      "connect",
    );
    assert.deepEqual(url, {
      system: "pong",
      transport: "wss",
      credential: { kind: "env", name: "ID" },
      host: "host.example",
      port: 8443,
      path: "/api",
      options: { streams: 50, sni: "front.example", hold: 250 },
    });
  });

  test("has one canonical form", () => {
    const table: Record<string, string> = {
      "pong+tcp://host": "pong+tcp://host:443",
      "PONG+TCP://host": "pong+tcp://host:443",
      "pong+ws://host": "pong+ws://host:80",
      "pong+wss://host/": "pong+wss://host:443",
      "pong+tls://[::1]": "pong+tls://[::1]:443",
      [`pong+tls://${ID}@host:1`]: `pong+tls://${ID}@host:1`,
      "pong+tls://host?insecure": "pong+tls://host:443?insecure=on",
      "pong+tls://host?insecure=1&ext=no": "pong+tls://host:443?insecure=on&ext=off",
      "pong+tcp://host?idle=90&keepalive=1500ms": "pong+tcp://host:443?idle=90s&keepalive=1500ms",
      "pong+tcp://host?idle=0": "pong+tcp://host:443?idle=0s",
      "pong+tcp://host?peer=HEAD&slow=pause": "pong+tcp://host:443?peer=head&slow=pause",
      "pong+tcp://file:/etc/id@host": "pong+tcp://file:/etc/id@host:443",
      "pong+tcp://cmd:pass show id@host": "pong+tcp://cmd:pass%20show%20id@host:443",
      "pong+ws://host?header=X-Token:env:T&header=X-B:%20a%26b":
        "pong+ws://host:80?header=X-Token:%20env:T&header=X-B:%20a%26b",
      "pong+tcp://host?proxy=socks5://bob:env:P@proxy":
        "pong+tcp://host:443?proxy=socks5://bob:env:P@proxy:1080",
      [`pong+tls://host?pin=${"0".repeat(64)}`]: `pong+tls://host:443?pin=${PIN}`,
      [`pong+tls://host?pin=sha256//${PIN}`]: `pong+tls://host:443?pin=${PIN}`,
      "pong+tls://host?ca=ca.pem&cert=file:/a/b.pem&key=env:KEY":
        "pong+tls://host:443?ca=file:ca.pem&cert=file:/a/b.pem&key=env:KEY",
      "pong+tcp://host?": "pong+tcp://host:443",
      "websocks://alice:pw@host:1": "vproxy+tcp://alice:pw@host:1",
      "websockss://alice:env:PW@host:1": "vproxy+tls://alice:env:PW@host:1",
      "websocks:kcp://alice:file:/a/b@host": "vproxy+kcp://alice:file:/a/b@host:18686",
      "websockss:kcp://env:LOGIN@host?pool=0&strict":
        "vproxy+kcp+tls://env:LOGIN@host:18686?pool=0&strict=on",
      "vproxy+kcp+tls://%65nv:a%2Fb%40c@host?profile=FAST&gzip=2048":
        "vproxy+kcp+tls://%65nv:a%2Fb%40c@host:18686?profile=fast&gzip=2048",
      "kcptun+kcp://host": "kcptun+kcp://host:20010",
    };
    for (const [text, expected] of Object.entries(table)) {
      assert.equal(canonical(text), expected, text);
      assert.equal(canonical(expected), expected, `${expected} again`);
    }
  });

  test("is a listen address for serve", () => {
    assert.equal(canonical("pong+tls://:443", "serve"), "pong+tls://0.0.0.0:443");
    assert.equal(canonical("pong+tls://*:443", "serve"), "pong+tls://0.0.0.0:443");
    assert.equal(canonical("pong+tcp://127.0.0.1:0", "serve"), "pong+tcp://127.0.0.1:0");
    const kcptun = "kcptun+kcp://:20010?target=[::1]:80";
    assert.equal(canonical(kcptun, "serve"), "kcptun+kcp://0.0.0.0:20010?target=%5B::1%5D:80");
    const vproxy =
      "vproxy+kcp+tls://:1?webroot=/srv/a%20b&redirect=80&domain=a.example&health=off&resolve=anybody";
    assert.equal(canonical(vproxy, "serve"), vproxy.replace("//:", "//0.0.0.0:"));
  });

  test("names the mistake and the nearest valid word", () => {
    const table: readonly (readonly [string, RegExp, Role?])[] = [
      ["", /"" is no tunnel URL: write pong\+tls:\/\/host:443/],
      ["host:443", /"host:443" is no tunnel URL/],
      ["png+tls://host", /tunnel system "png" is not one of pong, .* \(did you mean "pong"\?\)/],
      ["pong+tsl://host", /pong has no transport "tsl", only .* \(did you mean "tls"\?\)/],
      ["pong://host", /"pong" names no transport: write pong\+tcp:\/\/, or one of tls, ws/],
      ["socks5://host", /"socks5" is no tunnel: a tunnel URL starts like pong\+tls:\/\//],
      ["wss://host", /"wss" is no tunnel/],
      [
        "pong+h3://host",
        /pong over h3 is not in this version yet; this version carries pong over tcp, tls, ws, wss/,
      ],
      ["linksocks+tcp://host", /linksocks has no transport "tcp", only ws, wss/],
      ["vproxy+quic://host", /"vproxy\+quic" is out of scope: quic is not carried/],
      ["websocks:quic://host:1", /out of scope: quic .*websockss:kcp:\/\//],
      ["websockss:uot:kcp://host:1", /out of scope: uot is not carried; dial the server's TCP/],
      ["websocks:kpc://host", /tunnel system "websocks:kpc" is not one of/],
      ["vproxy+tcp://alice@host", /no login: write user:password/],
      ["vproxy+tcp://:pw@host", /no login: write user:password/],
      ["vproxy+tcp://al%3aice:pw@host", /user "al:ice" holds a colon/],
      ["vproxy+tcp://alice:p:w@host", /the password holds a colon/],
      ["vproxy+tcp://host?profile=fast", /option "profile" needs KCP, and vproxy\+tcp has none/],
      ["vproxy+tls://host?gzip=2048", /option "gzip" needs KCP, and vproxy\+tls has none/],
      ["vproxy+kcp://host?sni=x", /option "sni" needs TLS, and vproxy\+kcp has none/],
      ["vproxy+kcp://host?proxy=http://x", /option "proxy" needs TCP, and vproxy\+kcp has none/],
      ["vproxy+kcp://host?profile=quick", /"quick" is not fast, normal, vproxy/],
      ["vproxy+tcp://host?pool=257", /"257" is no whole number from 0 to 256/],
      ["vproxy+tcp://host?webroot=/srv", /option "webroot" has no meaning for connect/],
      ["kcptun+kcp://key@host", /kcptun\+kcp knows no logins/],
      ["kcptun+kcp://host?target=a:1", /option "target" has no meaning for connect/],
      ["kcptun+kcp://:1?target=nope", /option "target": "nope" is no server/, "serve"],
      [
        "ptth+quic://host",
        /ptth is not in this version yet; this version speaks pong, vproxy, linksocks, godoxy, kcptun/,
      ],
      ["pong+tcp://", /host is empty/],
      ["pong+tcp://host:0", /port 0 cannot be dialled/],
      ["pong+tcp://host:99999", /port "99999" is not 0..65535/],
      ["pong+tcp://host:env", /port "env" is not/],
      ["pong+tcp://ho st", /host "ho st" holds a character that no host name has/],
      ["pong+tcp://::1:443", /"::1:443" is no host:port/],
      ["pong+tcp://hunter2@host", /client id of 7 characters is no UUID; a UUID has 32/],
      ["pong+tcp://env:@host", /"env:" names nothing/],
      ["pong+tcp://%zz@host", /a % that is meant as such is written %25/],
      ["pong+tcp://host/path", /pong\+tcp has no path, but the URL has "\/path"/],
      ["pong+ws://host/a b", /path "\/a b" holds a character to be percent-encoded/],
      ["pong+tcp://host?strems=4", /pong has no option "strems" \(did you mean "streams"\?\)/],
      ["pong+tcp://host?streams=0", /option "streams": "0" is no whole number from 1 to 300/],
      ["pong+tcp://host?streams=1&streams=2", /option "streams": given 2 times/],
      ["pong+tcp://host?peer=haed", /option "peer": "haed" is not .* \(did you mean "head"\?\)/],
      ["pong+tcp://host?idle=soon", /option "idle": "soon" is no duration/],
      ["pong+tcp://host?hold=2m", /option "hold": duration 2m is not between 0s and 1m/],
      ["pong+tcp://host?insecure", /option "insecure" needs TLS, and pong\+tcp has none/],
      ["pong+tls://host?header=A:b", /option "header" needs HTTP, and pong\+tls has none/],
      ["pong+ws://host?header=nope", /option "header": no header: write Name: value/],
      ["pong+ws://host?header=Upgrade:x", /cannot set Upgrade/],
      ["pong+ws://host?header=A:b%0d%0aC:d", /value of A holds a control character/],
      ["pong+tls://host?pin=abcd", /option "pin": no SHA-256/],
      ["pong+tls://host?insecure=maybe", /option "insecure": "maybe" is not on or off/],
      ["pong+tcp://host?proxy=ftp://x", /option "proxy": proxy kind "ftp" is not/],
      ["pong+tls://0.0.0.0?sni=x", /option "sni" has no meaning for serve/, "serve"],
      ["pong+tcp://host:1", /pong has no provide role; its remote always dials/, "provide"],
      [`pong+tcp://${"h".repeat(70_000)}`, /of 70011 characters exceeds 65536/],
    ];
    for (const [text, expected, role = "connect"] of table) {
      assert.throws(() => parseTunnelUrl(text, role), ConfigError, text);
      assert.throws(() => parseTunnelUrl(text, role), expected, text);
    }
  });

  test("reports every problem at once, each with its place", () => {
    const text = "pong+tcp://nope@host:x/path?a=1&streams=0";
    const { problems } = readTunnelUrl(text, "connect");
    assert.deepEqual(
      problems.map(({ offset }) => text.slice(offset).split(/[@/?&]/)[0]),
      ["nope", "host:x", "", "a=1", "streams=0"],
    );
  });

  test("hides its secrets", () => {
    const url = parseTunnelUrl(
      `pong+ws://${ID}@host?header=Authorization:hunter2&proxy=http://bob:hunter2@p`,
      "connect",
    );
    const hidden = formatTunnelUrl(url);
    assert.equal(
      hidden,
      "pong+ws://***@host:80?header=Authorization:%20***&proxy=http://bob:***@p:80",
    );
    const everything = hidden + inspect(url, { depth: 9 }) + JSON.stringify(url);
    assert.doesNotMatch(everything, /hunter2|5b1dd6c0/);
    assert.equal(describeTunnelUrl(url), "pong+ws://host:80");
  });

  test("does not repeat a wrong credential in its error", () => {
    const { problems } = readTunnelUrl("pong+tcp://hunter2@host?x=hunter3", "connect");
    assert.doesNotMatch(JSON.stringify(problems), /hunter/);
  });

  test("reads back what it writes", () => {
    fc.assert(
      fc.property(anyUrl, (url) => {
        const text = formatTunnelUrl(url, { reveal: true });
        const again = parseTunnelUrl(text, "connect");
        assert.deepEqual(again, url);
        assert.equal(formatTunnelUrl(again, { reveal: true }), text);
      }),
    );
  });

  test("answers garbage with problems, never with another error", () => {
    const prefix = fc.constantFrom(
      "",
      "pong+",
      "pong+tls://",
      "pong+wss://a@b/?",
      "pong+ws://cmd:",
    );
    fc.assert(
      fc.property(prefix, fc.string({ unit: "binary" }), (start, rest) => {
        readTunnelUrl(start + rest, "connect");
      }),
    );
  });
});

const word = fc.stringMatching(/^[a-z0-9][a-z0-9-]{0,10}$/);

const credential = fc
  .oneof(
    fc.constant(ID),
    fc.stringMatching(/^env:[A-Z]{1,5}$/),
    fc.string({ minLength: 1, maxLength: 12 }).map((path) => `file:/${path}`),
    fc.string({ minLength: 1, maxLength: 12 }).map((command) => `cmd:x${command}`),
  )
  .map(parseCredential);

const duration = fc.nat(3_600_000);

const options = fc.record(
  {
    sni: word,
    ca: fc.constant({ kind: "file", path: "a b?&#@.pem" } as const),
    insecure: fc.boolean(),
    pin: fc.constant([PIN]),
    header: fc.array(
      fc.tuple(word, fc.stringMatching(/^[!-~][ -~]{0,9}[!-~]$/)).map(([name, value]) => ({
        name: `x-${name}`,
        value: parseCredential(value.replace(/^(env|file|cmd):/, "") + "."),
      })),
      { minLength: 1, maxLength: 2 },
    ),
    proxy: fc.constant({
      scheme: "socks5",
      host: "::1",
      port: 1080,
      user: { name: "a:b", password: { kind: "env", name: "P" } },
    } as const),
    idle: duration,
    keepalive: duration,
    streams: fc.integer({ min: 1, max: 300 }),
    peer: fc.constantFrom("auto", "sluice", "v0.9.4", "head"),
    ext: fc.boolean(),
    slow: fc.constantFrom("reset", "pause"),
    spare: fc.nat(8),
    maxage: fc.integer({ min: 1_000, max: 3_600_000 }),
    hold: fc.nat(60_000),
  },
  { requiredKeys: [], noNullPrototype: true },
) satisfies fc.Arbitrary<TunnelOptions>;

const anyUrl: fc.Arbitrary<TunnelUrl> = fc
  .tuple(
    fc.option(credential, { nil: undefined }),
    fc.oneof(word, fc.constantFrom("127.0.0.1", "::1", "höst.example")),
    fc.integer({ min: 1, max: 65_535 }),
    fc.constantFrom("", "/api", "/a/b%20c;d@e"),
    options,
  )
  .map(([who, host, port, path, values]) => ({
    system: "pong",
    transport: "wss",
    ...(who && { credential: who }),
    host,
    port,
    path,
    options: values,
  }));
