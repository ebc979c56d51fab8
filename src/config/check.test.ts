import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { checkText, formatFileProblem } from "./check.ts";

/** The problems of a file, as `sluice check` prints them. */
const problemsOf = (text: string): string[] =>
  checkText(text).problems.map((problem) => formatFileProblem("s.yaml", problem));

const ID = "5b1dd6c0-0000-4000-8000-000000000001";

describe("checking a configuration file", () => {
  test("finds nothing wrong with a right one", () => {
    const text = `
serve:
  - url: pong+tls://0.0.0.0:443
    clients: { alice: "${ID}", bob: { id: env:BOB, allow: ["10.0.0.0/8:22"] } }
    cert: file:server.pem
    key: file:server.key
    allow: ["127.0.0.1:8080"]
connect:
  home: { url: "pong+wss://env:TOKEN@host/socket", retry: { max: 30s } }
  office: pong+tcp://env:TOKEN@office
inbounds:
  - { socks: "127.0.0.1:1080", users: { bob: "env:BOB" }, name: desk }
  - { forward: "127.0.0.1:2200", to: "bogus:22", via: office }
outbounds:
  proxy: http://proxy:3128
routes:
  - { domain: ["*.corp.example"], via: home }
  - { inbound: desk, user: bob, cidr: 10.0.0.0/8, via: proxy }
  - { via: direct }
`;
    assert.deepEqual(problemsOf(text), []);
    assert.deepEqual(problemsOf(""), []);
    assert.deepEqual(problemsOf("# nothing yet\ninbounds:\n"), []);
  });

  test("prints every problem with its place, in the order of the file", () => {
    const text = `# line 1
serve:
  - url: pong+tls://0.0.0.0:443
    clients: { alice: "${ID}", bob: hunter2 }
    cert: file:server.pem
    alow: ["10.0.0.0/8:22"]
  - url: "pong+tcp://127.0.0.1:1080?sni=x&keepalive=soon"
  - url: pong+tcp://127.0.0.1:443
conect: {}
connect:
  home: pong+tcp://env:ID@host?streams=0
  direct: { url: "pong+tsl://env:ID@host", retry: { max: forever } }
  nobody: pong+tcp://host
inbounds:
  - socks: 443
    to: a:1
  - http: 127.0.0.1:443
    via: hme
  - forward: 70000
    to: nowhere
  - {}
routes:
  - domain: ["*.corp.example", "a:1"]
    port: 99999
    via: home
  - inbound: sock
    via: [home]
log: { level: verbos, format: jsn }
grace: 1y
`;
    assert.deepEqual(problemsOf(text), [
      "s.yaml:3:5: serve[0]: pong+tls wants key",
      "s.yaml:4:68: serve[0].clients.bob: client id of 7 characters is no UUID; a UUID has 32 hexadecimal digits; `uuidgen` makes one",
      's.yaml:6:5: serve[0].alow: unknown key "alow" (did you mean "allow"?)',
      's.yaml:7:37: serve[1].url: option "sni" has no meaning for serve',
      's.yaml:7:43: serve[1].url: option "keepalive": "soon" is no duration: write 250ms, 15s, 1m or 2h',
      "s.yaml:8:5: serve[2]: nobody could connect: name clients, or say anonymous to let everybody in",
      "s.yaml:8:10: serve[2].url: 127.0.0.1:443 is taken by serve[0].url",
      's.yaml:9:1: conect: unknown key "conect" (did you mean "connect"?)',
      's.yaml:11:32: connect.home: option "streams": "0" is no whole number from 1 to 300',
      's.yaml:12:3: connect.direct: the name "direct" always exists',
      's.yaml:12:18: connect.direct.url: pong has no transport "tsl", only tcp, tls, ws, wss, http, https, h2, h2c, h3, grpc (did you mean "tls"?)',
      's.yaml:12:58: connect.direct.retry.max: "forever" is no duration: write 250ms, 15s, 1m or 2h',
      "s.yaml:13:11: connect.nobody: the URL names no credential (the client id, a UUID): write pong+tcp://env:NAME@…",
      "s.yaml:16:9: inbounds[0].to: belongs to forward; a proxy is told by its client",
      "s.yaml:17:11: inbounds[1].http: 127.0.0.1:443 is taken by serve[0].url",
      's.yaml:18:10: inbounds[1].via: there is no way out named "hme" (did you mean "home"?)',
      's.yaml:19:14: inbounds[2].forward: port "70000" is not 0..65535',
      's.yaml:20:9: inbounds[2].to: "nowhere" is no host:port',
      "s.yaml:21:5: inbounds[3]: wants one of the keys socks, http, sni, forward",
      's.yaml:23:32: routes[0].domain[1]: "a:1" has a port: use the key port',
      "s.yaml:24:11: routes[0].port[0]: port 99999 is not 1..65535",
      "s.yaml:27:10: routes[1].via: want text, got a list",
      's.yaml:28:15: log.level: "verbos" is not one of debug, info, warn, error',
      's.yaml:28:31: log.format: "jsn" is not one of auto, pretty, json (did you mean "json"?)',
      's.yaml:29:8: grace: unit "y" is not one of ms, s, m, h, d (did you mean "s"?)',
    ]);
  });

  test("finds what is wrong between sections", () => {
    const table: Record<string, string[]> = {
      [`connect: { a: pong+tcp://env:A@h }\noutbounds: { a: "http://h" }`]: [
        's.yaml:2:14: outbounds.a: the name "a" is used twice',
      ],
      "inbounds: [{ http: 1, name: a }, { http: 2, name: a }]\nroutes: [{ inbound: [a, b], via: block }]":
        [
          's.yaml:1:34: inbounds[1]: the name "a" is taken by inbounds[0]',
          's.yaml:2:25: routes[0].inbound[1]: there is no inbound named "b" (did you mean "a"?)',
        ],
      "inbounds: [{ socks: 0 }, { socks: 0 }]": [],
      "inbounds: [{ forward: '-', to: 'a:1' }, { forward: '-', to: 'a:2', name: b }]": [
        "s.yaml:1:52: inbounds[1].forward: - is taken by inbounds[0].forward",
      ],
      "inbounds: [{ socks: 5300 }, { forward: 5300, to: 'a:53/udp' }]": [],
      "inbounds: [{ forward: 5300, to: 'a:53' }, { forward: 5300, to: 'a:53/udp' }]": [],
      "inbounds: [{ forward: 53, to: 'a:1/udp' }, { forward: 53, to: 'b:1/udp', name: b }]": [
        "s.yaml:1:55: inbounds[1].forward: 127.0.0.1:53 is taken by inbounds[0].forward",
      ],
      "inbounds: [{ forward: /run/x, to: 'a:1/udp' }, { forward: '-', to: 'a:1/udp' }]": [
        "s.yaml:1:23: inbounds[0].forward: datagrams come in through a port: write port or host:port",
        "s.yaml:1:59: inbounds[1].forward: datagrams come in through a port: write port or host:port",
      ],
      "inbounds: [{ forward: 1, to: '/run/x' }, { forward: 2, to: 'a:0/udp' }]": [
        's.yaml:1:30: inbounds[0].to: "/run/x" is a path: a forward leads to host:port or host:port/udp',
        's.yaml:1:60: inbounds[1].to: "a:0/udp" is no host:port',
      ],
      [`serve: [{ url: "pong+tcp://${ID}@:1", anonymous: true, cert: a }]`]: [
        "s.yaml:1:81: serve[0].anonymous: clients are named, and anonymous lets everybody in: choose one",
        "s.yaml:1:93: serve[0].cert: pong+tcp has no TLS to use it for",
      ],
      [`serve: [{ url: "pong+tcp://${ID}@:1", clients: { default: "${ID}" } }]`]: [
        "s.yaml:1:90: serve[0].clients.default: the URL's credential has this name already",
      ],
      [`serve: [{ url: "pong+tls://${ID}@:1?cert=a&key=b", cert: a }]`]: [
        "s.yaml:1:89: serve[0].cert: is given twice, here and in the URL",
      ],
      'serve: [{ url: "pong+tcp://:1", anonymous: true, providers: { a: t }, api: k }]': [
        "s.yaml:1:50: serve[0].providers: pong has no providers, only linksocks has",
        "s.yaml:1:71: serve[0].api: pong has no api, only linksocks has",
      ],
      'serve: [{ url: "linksocks+ws://:1" }]': [
        "s.yaml:1:9: serve[0]: nobody could connect: name clients, or say anonymous to let everybody in",
      ],
      'serve: [{ url: "linksocks+ws://:1", api: k }]': [],
      'serve: [{ url: "linksocks+ws://:1", providers: { lab: t } }]\nroutes: [{ via: lab }, { via: lap }]':
        ['s.yaml:2:31: routes[1].via: there is no way out named "lap" (did you mean "lab"?)'],
      'serve: [{ url: "linksocks+ws://:1", providers: { lab: { token: t, autonomy: true } } }]\nroutes: [{ via: lab }]':
        [
          's.yaml:2:17: routes[0].via: provider "lab" has autonomy: it serves its own connectors only',
        ],
      'serve: [{ url: "linksocks+ws://:1", providers: { lab: t, direct: u } }]\nconnect: { lab: "linksocks+ws://x@h" }':
        [
          's.yaml:1:50: serve[0].providers.lab: the name "lab" is used twice',
          's.yaml:1:58: serve[0].providers.direct: the name "direct" always exists',
        ],
      'serve: [{ url: "linksocks+ws://:1", providers: { lab: t, free: { token: u, autonomy: true } }, clients: { bob: b }, connectors: { bob: { token: c, provider: lap }, al: { token: d, provider: free } } }]':
        [
          's.yaml:1:131: serve[0].connectors.bob: a client has the name "bob" too',
          's.yaml:1:158: serve[0].connectors.bob.provider: there is no provider named "lap" (did you mean "lab"?)',
          's.yaml:1:191: serve[0].connectors.al.provider: provider "free" has autonomy: it announces its connectors itself',
        ],
      'serve: [{ url: "linksocks+ws://t@:1", clients: { bob: anonymous }, providers: { lab: t, two: anonymous } }]':
        [
          "s.yaml:1:55: serve[0].clients.bob: the token anonymous is reserved for those who have none",
          "s.yaml:1:86: serve[0].providers.lab: the token is that of serve[0].url too",
          "s.yaml:1:94: serve[0].providers.two: the token is that of serve[0].clients.bob too",
        ],
      'serve: [{ url: "linksocks+ws://:1?streams=3&wait=x&balance=most", api: { key: k, bind: host } }]':
        [
          's.yaml:1:35: serve[0].url: option "streams" has no meaning for serve',
          's.yaml:1:45: serve[0].url: option "wait": "x" is no duration: write 250ms, 15s, 1m or 2h',
          's.yaml:1:52: serve[0].url: option "balance": "most" is not roundrobin, leaststreams',
          's.yaml:1:88: serve[0].api.bind: "host" is no IP address',
        ],
      "groups: { g: { tunnels: [a, b, a] }, direct: { tunnels: [a] } }\nconnect: { a: 'pong+tcp://env:A@h', ab: 'pong+tcp://env:A@h' }\nroutes: [{ via: g }, { via: gg }]":
        [
          's.yaml:1:29: groups.g.tunnels[1]: there is no tunnel named "b" under connect (did you mean "a"?)',
          's.yaml:1:32: groups.g.tunnels[2]: "a" is in this group already',
          's.yaml:1:38: groups.direct: the name "direct" always exists',
          's.yaml:3:29: routes[1].via: there is no way out named "gg" (did you mean "g"?)',
        ],
      "groups: { g: { tunnels: [], policy: random, chek: {}, check: { every: 1ms, up: 0, down: 1.5, targt: x } }, h: {} }":
        [
          "s.yaml:1:25: groups.g.tunnels: wants one tunnel at least",
          's.yaml:1:37: groups.g.policy: "random" is not one of round-robin, least-streams, failover',
          's.yaml:1:45: groups.g.chek: unknown key "chek" (did you mean "check"?)',
          "s.yaml:1:71: groups.g.check.every: duration 1ms is not between 1s and 1h",
          "s.yaml:1:80: groups.g.check.up: want a number from 1 to 100",
          "s.yaml:1:89: groups.g.check.down: want a whole number, got a number",
          's.yaml:1:94: groups.g.check.targt: unknown key "targt" (did you mean "target"?)',
          "s.yaml:1:111: groups.h.tunnels: is missing: want a list",
        ],
      "routes: [{ regexp: ['(a', 'b++'], ports: 1, via: direct }, { list: 'https://h/l', via: direct }]":
        [
          's.yaml:1:21: routes[0].regexp[0]: regular expression "(a": a ( without its ), at character 2',
          's.yaml:1:27: routes[0].regexp[1]: regular expression "b++": possessive repetition is not supported, at character 3',
          's.yaml:1:35: routes[0].ports: unknown key "ports" (did you mean "port"?)',
          's.yaml:1:68: routes[1].list[0]: "https://h/l" is a URL, and lists are read from files: fetch it into one (curl -o); the file is read again when it changes',
        ],
      "inbounds: [{ socks: /run/x, pac: true }, { forward: 1, to: 'a:1', pac: true }, { http: 2, pac: x }, { http: 3, pac: false }]":
        [
          "s.yaml:1:34: inbounds[0].pac: a browser cannot be told a path: the proxy wants a port",
          "s.yaml:1:72: inbounds[1].pac: a forward is no proxy",
          's.yaml:1:96: inbounds[2].pac: "x" is no path: write true, or a path like /proxy.pac',
        ],
      "provide: { a: pong+tcp://env:A@h }": [
        "s.yaml:1:15: provide.a: pong has no provide role; its remote always dials: run `sluice serve` on the side whose network is lent",
      ],
      "connect: { a: 'pong+tls://env:A@h?cert=c' }": [
        "s.yaml:1:15: connect.a: a client certificate wants both cert and key",
      ],
    };
    for (const [text, expected] of Object.entries(table)) {
      assert.deepEqual(problemsOf(text), expected, text);
    }
  });

  test("places YAML mistakes, and twice the same key", () => {
    assert.deepEqual(problemsOf("grace: 1s\ngrace: 2s\n"), [
      "s.yaml:2:1: the key grace is here a second time",
    ]);
    assert.deepEqual(problemsOf("serve: [\n"), [
      "s.yaml:2:1: flow sequence in block collection must be sufficiently indented and end with a ]",
    ]);
    assert.match(problemsOf("a: 'b\n").join(), /^s.yaml:\d+:\d+: missing closing 'quote/);
    assert.deepEqual(problemsOf("- a list\n"), ["s.yaml:1:1: want a mapping, got a list"]);
  });

  test("tells numbers in the place of passwords to be quoted", () => {
    assert.deepEqual(problemsOf("inbounds: [{ socks: 1, users: { bob: 0123 } }]"), [
      "s.yaml:1:38: inbounds[0].users.bob: want text, got a number; put it in quotes",
    ]);
  });

  test("finds its way through aliases, and refuses a bomb of them", () => {
    assert.deepEqual(problemsOf("inbounds: [&a { socks: x }, *a]").toSorted(), [
      's.yaml:1:24: inbounds[0].socks: "x" is no port, host:port or /path',
      's.yaml:1:24: inbounds[1].socks: "x" is no port, host:port or /path',
    ]);
    const bomb = [
      "a: &a [x]",
      ..."bcdefghi".split("").map((next, index) => {
        const last = "abcdefgh"[index];
        return `${next}: &${next} [${Array.from({ length: 9 }, () => `*${last}`).join(", ")}]`;
      }),
    ].join("\n");
    assert.match(problemsOf(bomb).join("\n"), /excessive alias/i);
  });

  test("bounds the file", () => {
    assert.deepEqual(problemsOf("#".repeat(1_048_577)), [
      "s.yaml:1:1: file of 1048577 characters exceeds 1048576",
    ]);
  });

  test("answers any text with problems, never with another error", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        checkText(`serve: ${text}`);
        checkText(text);
      }),
    );
  });
});
