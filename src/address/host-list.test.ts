import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ConfigError } from "../errors.ts";
import { readHostList } from "./host-list.ts";

function names(text: string, host: string): boolean {
  return readHostList(text).list.matchesTarget({ network: "tcp", host, port: 443 });
}

describe("host list", () => {
  test("names the hosts of every kind of line", () => {
    const table: readonly (readonly [
      line: string,
      yes: readonly string[],
      no: readonly string[],
    ])[] = [
      ["||a.example", ["a.example", "x.y.A.Example."], ["xa.example", "example", "a.example.net"]],
      ["||a.example^$third-party", ["a.example", "b.a.example"], ["aa.example"]],
      ["||a.example/path", ["a.example", "b.a.example"], ["example"]],
      ["|http://a.example", ["a.example"], ["b.a.example", "a.example.net"]],
      ["|https://a.example:8443/path?x", ["a.example"], ["b.a.example"]],
      ["|http://192.0.2.1/", ["192.0.2.1", "::ffff:192.0.2.1"], ["192.0.2.10"]],
      ["||[2001:db8::1]", ["2001:db8::1"], ["2001:db8::2"]],
      [".a.example", ["a.example", "b.a.example"], ["ba.example"]],
      [".a.example/path", ["b.a.example"], ["ba.example"]],
      ["a.exa", ["a.example", "xa.example.net"], ["b.example"]],
      ["http://a.example/path", ["a.example"], ["b.example"]],
      ["GooGle", ["www.google.com"], ["goggle.com"]],
      ["||google.*^", ["google.com", "www.google.co.uk"], ["agoogle.com"]],
      ["goo*e.", ["www.google.com"], ["google"]],
      [
        String.raw`/^https?:\/\/([^\/]+\.)*google\.(ac|ad)\/.*/`,
        ["google.ac", "a.google.ad"],
        ["google.com", "xgoogle.ac"],
      ],
      [String.raw`/.*\.a\.example/`, ["b.a.example"], ["a.example"]],
      ["||bücher.example", ["xn--bcher-kva.example", "bücher.example"], ["bucher.example"]],
      ["! a.example", [], ["a.example"]],
      ["[AutoProxy 0.2.9]", [], ["a.example", "autoproxy"]],
      ["a.example##.ad", [], ["a.example"]],
      ["/falun", [], ["falun", "a.example"]],
      ["*", [], ["a.example"]],
    ];
    for (const [line, yes, no] of table) {
      for (const host of yes) assert.ok(names(line, host), `${line} names ${host}`);
      for (const host of no) assert.ok(!names(line, host), `${line} does not name ${host}`);
    }
  });

  test("leaves out what an exclusion names, wherever it stands", () => {
    const excluded: readonly (readonly [line: string, out: string, still: string])[] = [
      ["@@||cn.a.example", "x.cn.a.example", "long.name.a.example"],
      ["@@|http://cn.a.example", "cn.a.example", "cn.a.example.a.example"],
      ["@@.cn.a.example", "b.cn.a.example", "bcn.a.example"],
      ["@@cn", "xcnx.a.example", "c.a.example"],
      [String.raw`@@/.*cn\d\.a\..*/`, "cn1.a.example", "cn.a.example"],
    ];
    for (const [line, out, still] of excluded) {
      for (const text of [`||a.example\n${line}`, `${line}\r\n||a.example`]) {
        assert.ok(!names(text, out), `${line} leaves out ${out}`);
        assert.ok(names(text, still), `${line} leaves in ${still}`);
      }
      assert.ok(!names(line, still), "an exclusion alone names nothing");
    }
  });

  test("does not take one page for its site when it is excluded", () => {
    const text = "||a.example\n@@||a.example/page\n@@|http://b.a.example/*";
    assert.ok(names(text, "a.example"));
    assert.ok(!names(text, "b.a.example"));
    assert.equal(readHostList(text).skippedCount, 1);
  });

  test("reads base64 in lines, and plain text that looks like it", () => {
    const plain = "[AutoProxy 0.2.9]\n! title\n||a.example\n@@||b.a.example\n";
    const packed = Buffer.from(plain).toString("base64").replaceAll(/.{16}/g, "$&\r\n");
    assert.ok(names(packed, "x.a.example"));
    assert.ok(!names(packed, "b.a.example"));
    assert.ok(names("test", "www.test.example"));
    assert.equal(readHostList("").list.size, 0);
  });

  test("names the lines it cannot read, and reads on", () => {
    const text = `||a.example\n/(/\n\n@@/a++/\n${"x".repeat(8_193)}\n||b.example`;
    const { list, problems, problemCount } = readHostList(text);
    assert.deepEqual(problems, [
      { line: 2, message: 'regular expression "(": a ( without its ), at character 1' },
      {
        line: 4,
        message: 'regular expression "a++": possessive repetition is not supported, at character 3',
      },
      { line: 5, message: "line of 8193 characters exceeds 8192" },
    ]);
    assert.equal(problemCount, 3);
    assert.equal(list.size, 2);
    assert.equal(readHostList("/(/\n".repeat(30)).problems.length, 20);
    assert.equal(readHostList("/(/\n".repeat(30)).problemCount, 30);
  });

  test("bounds lines, and what every request would wait for", () => {
    assert.throws(() => readHostList("\n".repeat(200_000)), /more than 200000 lines/);
    const texts = Array.from({ length: 65_537 }, (_, index) => `text${index}`).join("\n");
    assert.throws(() => readHostList(texts), /line 65537: expressions and plain texts/);
    assert.throws(() => readHostList("/a{4000}/\n".repeat(20)), /line 17: expressions/);
    const domains = Array.from({ length: 100_000 }, (_, index) => `||d${index}.example`).join("\n");
    assert.ok(names(domains, "x.d99999.example"));
  });

  test("answers any text with a list or a ConfigError", () => {
    const text = fc.string({ unit: fc.constantFrom(...Array.from("@|./*^$[]!:a1é\n #(~-")) });
    fc.assert(
      fc.property(text, fc.string(), (list, host) => {
        try {
          names(list, host);
        } catch (thrown) {
          assert.ok(thrown instanceof ConfigError);
        }
      }),
    );
  });
});
