import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { inspect } from "node:util";
import * as fc from "fast-check";
import { checkText } from "./check.ts";
import type { ConfigInput } from "./config.ts";
import { parseConfig, readConfig } from "./parse-config.ts";
import { printConfig } from "./print.ts";

const ID = "5b1dd6c0-0000-4000-8000-000000000001";

const EVERYTHING: ConfigInput = {
  serve: [
    {
      url: "pong+tls://0.0.0.0:443?keepalive=5s",
      clients: { alice: "env:ALICE", bob: { id: "file:bob.id", allow: ["10.0.0.0/8:22"] } },
      cert: "server.pem",
      key: "file:server.key",
      allow: ["127.0.0.1:8080"],
      deny: ["*.internal"],
    },
    { url: "pong+tcp://env:X@[::1]:0", name: "second" },
    { url: "pong+ws://127.0.0.1:8080/x", anonymous: true },
    {
      url: "linksocks+ws://127.0.0.1:8765?wait=1s&balance=leaststreams&direct=off",
      providers: { lab: "env:LAB", free: { token: "file:free", autonomy: true } },
      connectors: { carol: { token: "env:CAROL", provider: "lab" } },
      api: { key: "env:KEY", bind: "::1" },
    },
    {
      url: "vproxy+kcp+tls://alice:env:PW@[::1]:18686?domain=a.example&redirect=80&webroot=a%20b",
      clients: { bob: "file:bob" },
      cert: "server.pem",
      key: "file:server.key",
    },
    { url: "kcptun+kcp://:20010?target=[::1]:22&slow=pause" },
  ],
  connect: {
    kcp: "websockss:kcp://al%40x:env:PW@host?pool=0&profile=fast&strict&gzip=2048",
    fixed: "kcptun+kcp://[::1]:20010",
    home: { url: "pong+wss://cmd:pass show x@host/a%20b?header=X:%20y", retry: { max: "1m" } },
    office: "pong+tcp://env:ID@office",
  },
  groups: {
    both: { tunnels: ["home", "office"] },
    far: {
      tunnels: ["office", "home"],
      policy: "failover",
      check: { every: "10s", timeout: "1500ms", up: 2, down: 3, target: "[::1]:443" },
      wait: 0,
    },
  },
  inbounds: [
    { socks: 1081, pac: true, via: "both" },
    { http: 1082, pac: "/my.pac", via: "far" },
    { socks: "0.0.0.0:1080", users: { "bob: #1": "env:BOB" }, via: "home" },
    { http: "/run/http.sock", name: "yes" },
    { forward: "-", to: "[::1]:22" },
    { forward: 0, to: "bogus:22", via: "office" },
    { forward: 2222, to: "there:22", via: "fixed" },
    { forward: "127.0.0.1:5300", to: "1.1.1.1:53/udp" },
    { forward: "[::1]:5300", to: "[2001:db8::1]:53/udp", name: "dns" },
  ],
  outbounds: { proxy: "http://u:env:P@proxy:3128" },
  routes: [
    { domain: ["*.corp.example", ".x"], port: ["443", "8000-8999"], via: "home" },
    { cidr: "fd00::/8", inbound: "yes", user: ["null", "1"], via: "proxy" },
    { regexp: [".*\\.example", "a|b"], list: "lists/a # b.txt", port: 443, via: "both" },
    { list: ["file:x", "/y"], via: "direct" },
    { via: "direct" },
  ],
  allow: ["127.0.0.1"],
  log: { format: "json", level: "debug" },
  grace: "1500ms",
};

/** A configuration as plain text, secrets laid open, so that it can be compared. */
const plain = (input: ConfigInput): string => printConfig(parseConfig(input)).yaml;

describe("printing a configuration", () => {
  test("prints YAML that reads back as the same configuration", () => {
    const config = parseConfig(EVERYTHING);
    const { yaml, secrets } = printConfig(config);
    assert.deepEqual(secrets, ["connect.home.url.options.header[0].value"]);
    const again = checkText(yaml);
    assert.deepEqual(again.problems, []);
    assert.deepEqual(again.config, config);
    assert.equal(again.config && printConfig(again.config).yaml, yaml);
  });

  test("prints references verbatim and no comment about secrets", () => {
    const { yaml, secrets } = printConfig(
      parseConfig({
        connect: { home: "pong+tcp://env:ID@host" },
        inbounds: [{ socks: 1080, users: { bob: "cmd:pass show bob" } }],
      }),
    );
    assert.deepEqual(secrets, []);
    assert.equal(
      yaml,
      `connect:
  home:
    url: pong+tcp://env:ID@host:443
    retry:
      min: 250ms
      max: 30s
    wait: 5s
inbounds:
  - socks: 127.0.0.1:1080
    users:
      bob: cmd:pass show bob
`,
    );
  });

  test("prints literal secrets, since the file must do the same, and says so loudly", () => {
    const { yaml, secrets } = printConfig(
      parseConfig({
        serve: [{ url: "pong+tcp://127.0.0.1:1", clients: { alice: ID } }],
        inbounds: [{ socks: 1080, users: { bob: "hunter2" } }],
      }),
    );
    assert.deepEqual(secrets, ["serve[0].clients.alice.id", "inbounds[0].users.bob"]);
    assert.match(yaml, /^# SECRETS ARE WRITTEN OUT BELOW/);
    assert.match(yaml, /^# {3}inbounds\[0\]\.users\.bob$/m);
    assert.match(yaml, /bob: hunter2/);
    const { config } = checkText(yaml);
    assert.equal(config && printConfig(config).yaml, yaml);
  });

  test("prints nothing for the defaults", () => {
    assert.equal(plain({}), "{}\n");
  });

  test("keeps a client that may reach nothing apart from one that may reach everything", () => {
    const none = { serve: [{ url: "pong+tcp://:1", clients: { a: { id: ID, allow: [] } } }] };
    const all = { serve: [{ url: "pong+tcp://:1", clients: { a: ID } }] };
    assert.match(plain(none), /allow: \[\]\n/);
    assert.notEqual(plain(none), plain(all));
  });

  test("round-trips any text that YAML could take for something else", () => {
    const word = fc.oneof(
      fc.constantFrom(
        "yes",
        "null",
        "1e3",
        "0x10",
        "- a",
        "a: b",
        "#x",
        "'",
        '"',
        "\t",
        "é\n",
        "*a",
      ),
      fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 }),
    );
    fc.assert(
      fc.property(word, word, (user, password) => {
        const input = {
          inbounds: [{ socks: 1080, name: user, users: { [`${user}.`]: password } }],
        };
        const { config } = readConfig(input);
        if (config === undefined) return; // `env:` and the like: refused before it could be printed
        const { yaml } = printConfig(config);
        const again = checkText(yaml);
        assert.deepEqual(again.problems, []);
        assert.equal(again.config && printConfig(again.config).yaml, yaml);
        const [inbound] = again.config?.inbounds ?? [];
        assert.equal(inbound?.name, user);
        const stored = inbound?.kind === "socks" ? inbound.users[`${user}.`] : undefined;
        if (stored?.kind === "literal") assert.equal(stored.secret.reveal(), password);
      }),
    );
  });

  test("never shows a secret in the configuration object itself", () => {
    const config = parseConfig({ inbounds: [{ socks: 1080, users: { bob: "hunter2" } }] });
    assert.doesNotMatch(inspect(config, { depth: 9 }) + JSON.stringify(config), /hunter2/);
  });
});
