import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { Imported, ImportOptions } from "../../config/imported.ts";
import { parseConfig } from "../../config/parse-config.ts";
import { ConfigError } from "../../errors.ts";
import { importVproxyAgent } from "./convert-agent.ts";

const OPTIONS: ImportOptions = {
  name: "a.conf",
  inlineSecrets: false,
  wholeLabels: false,
  home: "/home/alice",
};

const convert = (text: string, options: Partial<ImportOptions> = {}): Imported =>
  importVproxyAgent(text, { ...OPTIONS, ...options });

/** A file with one group. */
const file = (group: string, agent = ""): string =>
  `{ agent { ${agent} }\n proxy { auth = u:p; groups = [ { ${group} } ] } }`;

const SERVER = "servers = [ websocks://h:1 ]";

/** The routes of a file with these rules, without the last, which is always `direct`. */
const routesOf = (rules: string, options: Partial<ImportOptions> = {}): unknown => {
  const { input } = convert(file(`${SERVER}\n domains = [ ${rules} ]`), options);
  const routes: unknown = input["routes"];
  assert.ok(Array.isArray(routes));
  assert.deepEqual(routes.at(-1), { via: "direct" });
  return routes.slice(0, -1);
};

describe("rules", () => {
  const table: readonly (readonly [string, unknown])[] = [
    ["ab.example", [{ regexp: [String.raw`.*ab\.example`], via: "DEFAULT" }]],
    [".ab.example", [{ domain: ["*.ab.example"], via: "DEFAULT" }]],
    ["-ab.example", [{ regexp: [String.raw`.*-ab\.example`], via: "DEFAULT" }]],
    ["192.0.2.1, 2001:db8::1", [{ cidr: ["192.0.2.1", "2001:db8::1"], via: "DEFAULT" }]],
    [".2.1", [{ regexp: [String.raw`.*\.2\.1`], via: "DEFAULT" }]],
    ["/.*ab.*/", [{ regexp: [".*ab.*"], via: "DEFAULT" }]],
    [":22, :23, :22", [{ port: [22, 23], via: "DEFAULT" }]],
    [
      "[~/x.txt], '[ /y~/z ]'",
      [{ list: ["file:/home/alice/x.txt", "file:/y~/z"], via: "DEFAULT" }],
    ],
    ["'[https://h.example/a/b.txt#x]'", [{ list: ["file:b.txt"], via: "DEFAULT" }]],
    ["/(?!x).*/", []],
    ["", []],
  ];
  for (const [rules, expected] of table) {
    test(`${rules === "" ? "none" : rules} become routes`, () =>
      assert.deepEqual(routesOf(rules), expected));
  }

  test("begin where labels do when that is wanted", () => {
    assert.deepEqual(routesOf("ab.example, -cdn.example, .2.1", { wholeLabels: true }), [
      {
        domain: [".ab.example"],
        regexp: [String.raw`.*-cdn\.example`, String.raw`.*\.2\.1`],
        via: "DEFAULT",
      },
    ]);
  });

  test("of exceptions come first, and the default group last", () => {
    const { input } = convert(`{ proxy { auth = u:p, groups = [
      { ${SERVER}, domains = [ /a/ ], no-proxy = [ /b/ ] }
      { name = work, servers = [ websocks://w:1 ], domains = [ /c/ ], no-proxy = [ :4 ] }
    ] } }`);
    assert.deepEqual(input["routes"], [
      { regexp: ["b"], via: "direct" },
      { port: [4], via: "direct" },
      { regexp: ["c"], via: "work" },
      { regexp: ["a"], via: "DEFAULT" },
      { via: "direct" },
    ]);
  });
});

describe("groups", () => {
  test("of one name are one, with every server once", () => {
    const { input } = convert(`{ proxy { auth = u:p, groups = [
      { servers = [ websocks://a:1, websocks://b:1 ] }
      { name = DEFAULT, servers = [ websocks://b:1; websockss:kcp://c:2 ] }
    ] } }`);
    assert.deepEqual(input["connect"], {
      "DEFAULT-1": "vproxy+tcp://u:env:VPROXY_PASSWORD@a:1",
      "DEFAULT-2": "vproxy+tcp://u:env:VPROXY_PASSWORD@b:1",
      "DEFAULT-3": "vproxy+kcp+tls://u:env:VPROXY_PASSWORD@c:2",
    });
    assert.deepEqual(input["groups"], {
      DEFAULT: { tunnels: ["DEFAULT-1", "DEFAULT-2", "DEFAULT-3"] },
    });
  });

  test("get names that are free", () => {
    const names = ["direct", "a-1", "a", "ü", "a b", "a-b"];
    const groups = names.map((name) => `{ name = '${name}', ${SERVER} }`).join("\n");
    const { input } = convert(`{ proxy { auth = u:p, groups = [ ${groups} ] } }`);
    assert.deepEqual(Object.keys(Object(input["connect"])), [
      "direct-group2",
      "a-1",
      "a-group2",
      "group",
      "a-b",
      "a-b-group2",
    ]);
    parseConfig(input);
  });

  test("without a server that can be dialled are blocked, not sent direct", () => {
    const { input, notes } = convert(file("servers = [ websocks:quic://h:1 ], domains = [ /x/ ]"));
    assert.deepEqual(input["routes"], [{ regexp: ["x"], via: "block" }, { via: "direct" }]);
    assert.ok(notes.some(({ text }) => text.includes("what its rules match is blocked")));
  });
});

describe("what TLS trusts", () => {
  const url = (agent: string, server = "websockss://h:1"): unknown => {
    const { input } = convert(file(`servers = [ ${server} ]`, agent));
    return Object.values(Object(input["connect"]))[0];
  };
  const secret = "u:env:VPROXY_PASSWORD";

  test("is everything, the system's certificates, or a file", () => {
    assert.equal(url(""), `vproxy+tls://${secret}@h:1`);
    assert.equal(url("cert.verify = false"), `vproxy+tls://${secret}@h:1?insecure=on`);
    assert.equal(url("cacerts.path = my.jks"), `vproxy+tls://${secret}@h:1?ca=file:my.pem`);
    const both = "cert.verify = false; cacerts.path = my.jks";
    assert.equal(url(both), `vproxy+tls://${secret}@h:1?insecure=on`);
  });

  test("is nothing where there is no TLS", () => {
    assert.equal(url("cert.verify = false", "websocks://h:1"), `vproxy+tcp://${secret}@h:1`);
  });
});

describe("secrets", () => {
  test("are written only when that is asked for", () => {
    const text = `{ proxy { auth = "al@ice: h&n?ter/2 ", groups = [ { ${SERVER} } ] } }`;
    const hidden = convert(text);
    assert.doesNotMatch(JSON.stringify(hidden), /n\?ter/);
    const { input } = convert(text, { inlineSecrets: true });
    const { connect } = parseConfig(input);
    const { user, credential } = connect["DEFAULT"]?.url ?? {};
    assert.equal(user, "al@ice");
    assert.ok(credential?.kind === "literal");
    assert.equal(credential.secret.reveal(), "h&n?ter/2");
  });
});

describe("files that the original would refuse", () => {
  const table: readonly (readonly [string, string])[] = [
    ["{ proxy { } }", "a.conf:1:9: proxy.auth: is missing: write auth = user:password"],
    ["{}", "a.conf:1:1: proxy.auth: is missing: write auth = user:password"],
    ["[]", "a.conf:1:1: the file is one block: { agent { … } proxy { … } }"],
    ["{ a = ", "a.conf:1:7: the end of the file stands where a value should"],
    [
      "{ proxy { auth = a:b:hunter2 } }",
      "a.conf:1:18: proxy.auth: write user:password, with exactly one colon",
    ],
    [
      "{ agent = 1\n proxy { auth = a:b\n groups = { } } }",
      "a.conf:1:11: agent: wants a block: { … }\na.conf:3:11: proxy.groups: wants a list: [ { … } ]",
    ],
    [
      file(SERVER, "socks5.listen = 70000"),
      'a.conf:1:27: agent.socks5.listen: "70000" is no whole number from 0 to 65535',
    ],
    [file(SERVER, "gateway = yes"), 'a.conf:1:21: agent.gateway: "yes" is not true or false'],
    [
      file("servers = [ http://h:1, websocks://h ] "),
      'a.conf:2:47: proxy.groups[0].servers: "http://h:1" starts with none of websocks://, websockss://, websocks:kcp://, websockss:kcp://, websocks:uot:kcp://, websockss:uot:kcp://, websocks:quic://\n' +
        'a.conf:2:59: proxy.groups[0].servers: "websocks://h" has no host:port at its end, and the port is never left out',
    ],
    [file("resolve = [ x ]"), 'a.conf:2:33: group "DEFAULT" has rules, and no servers for them'],
    [
      file("domains = [ :0, [x, y] ]"),
      'a.conf:2:47: proxy.groups[0].domains: ":0" is no port rule: write :22\n' +
        "a.conf:2:51: proxy.groups[0].domains: wants texts, no blocks or lists",
    ],
  ];
  for (const [text, expected] of table) {
    test(JSON.stringify(text.slice(0, 60)), () => {
      assert.throws(
        () => convert(text),
        (thrown) => {
          assert.ok(thrown instanceof ConfigError);
          assert.equal(thrown.message, expected);
          return true;
        },
      );
    });
  }
});

describe("any file", () => {
  const word = fc.oneof(
    fc.constantFrom("", "a", "a.example", ".x", "1.2.3.4", "::1", ":22", "/a.*/", "[l]", "~", "*"),
    fc.string(),
  );
  const port = fc.nat({ max: 65_535 });
  const server = fc
    .tuple(
      fc.constantFrom("websocks", "websockss", "websocks:kcp", "websockss:kcp", "websocks:quic"),
      fc.constantFrom("h", "192.0.2.1", "2001:db8::1", "[::1]", "a-b.example"),
      fc.integer({ min: 1, max: 65_535 }),
    )
    .map(([scheme, host, at]) => `${scheme}://${host}:${at}`);
  const rule = fc.oneof(
    fc.constantFrom(
      ".x",
      "1.2.3.4",
      ":22",
      "/a.*/",
      "/(/",
      "[l]",
      "[ftp://x/]",
      "*",
      "-",
      "é",
      "a_b",
    ),
    fc.string({ minLength: 1 }).filter((text) => !text.startsWith(":")),
  );
  const rules = fc.array(rule, { maxLength: 4 });
  const secret = fc
    .string({ minLength: 1 })
    .filter((text) => !text.includes(":") && text.trim() !== "");
  const good = fc.record(
    {
      agent: fc.record(
        {
          "cert.verify": fc.boolean(),
          "cacerts.path": word,
          gateway: fc.boolean(),
          strict: fc.boolean(),
          pool: fc.nat({ max: 1_000 }),
          "ss.listen": port,
        },
        { requiredKeys: [] },
      ),
      proxy: fc.record({
        auth: fc.tuple(secret, secret).map((pair) => pair.join(":")),
        groups: fc.array(
          fc.record({
            name: fc.oneof(word, fc.constantFrom("direct", "block", "DEFAULT", "DEFAULT-1")),
            servers: fc.array(server, { minLength: 1, maxLength: 3 }),
            domains: rules,
            "no-proxy": rules,
          }),
          { maxLength: 4 },
        ),
      }),
    },
    { requiredKeys: ["proxy"] },
  );

  test("that the original takes becomes a configuration that holds", () => {
    fc.assert(
      fc.property(good, fc.boolean(), fc.boolean(), (tree, inlineSecrets, wholeLabels) => {
        try {
          parseConfig(convert(JSON.stringify(tree), { inlineSecrets, wholeLabels }).input);
        } catch (thrown) {
          // A list without a name is refused there, too.
          if (!/the rule list has no name/.test(String(thrown))) throw thrown;
        }
      }),
      { numRuns: 500 },
    );
  });

  test("is converted, or refused with its places", () => {
    const key = fc.constantFrom(
      "agent",
      "proxy",
      "auth",
      "groups",
      "servers",
      "domains",
      "uot",
      "x",
    );
    const tree = fc.letrec((tie) => ({
      node: fc.oneof(
        { maxDepth: 4 },
        word,
        fc.boolean(),
        fc.constant(null),
        fc.array(tie("node"), { maxLength: 3 }),
        fc.dictionary(key, tie("node"), { maxKeys: 4 }),
      ),
    })).node;
    fc.assert(
      fc.property(tree, (input) => {
        try {
          convert(JSON.stringify(input));
        } catch (thrown) {
          assert.ok(thrown instanceof ConfigError, String(thrown));
          for (const line of thrown.message.split("\n")) assert.match(line, /^a\.conf:\d+:\d+: \S/);
        }
      }),
      { numRuns: 1_000 },
    );
  });
});
