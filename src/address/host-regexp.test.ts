import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ConfigError } from "../errors.ts";
import { HostRegexp, MAX_STEPS } from "./host-regexp.ts";

describe("host regular expression", () => {
  test("matches all of a host, in either case, names and addresses", () => {
    const table: readonly (readonly [source: string, yes: string, no: string])[] = [
      [String.raw`.*\.example\.com`, "A.Example.COM.", "example.com"],
      [String.raw`(.*\.)?example\.com`, "example.com", "xexample.com"],
      ["example", "example", "an.example"],
      ["^example$", "example", "examples"],
      ["[A-C]+", "abc", "abd"],
      ["[^A-C]+", "xyz", "xaz"],
      [String.raw`[\w.-]+:?`, "a-b.c", "a b"],
      [String.raw`10(\.\d{1,3}){3}`, "10.0.0.1", "10.0.0"],
      ["(?:a|b|)c{2,}d?", "bccc", "bcd"],
      ["(?<name>a+?)b*?", "aab", "ba"],
      [String.raw`\Qa.b\E.*`, "a.bc", "axbc"],
      [String.raw`\x61\u0062[\x63]`, "abc", "abd"],
      [String.raw`.*\bads?\b.*`, "my.ad.net", "my.adx.net"],
      [String.raw`a\B.*`, "ab", "a.b"],
      ["(?i)ABC", "abc", "ab"],
      ["a{2}", "aa", "aaa"],
      ["[]a]+", "a", "b"],
      ["[a-]+", "a-a", "b"],
      ["::1", "::1", "::2"],
      ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"],
      ["xn--bcher-kva", "bücher", "bucher"],
      ["(a*)*", "aaa", "ab"],
      ["(){1000}a", "a", "b"],
    ];
    for (const [source, yes, no] of table) {
      const pattern = new HostRegexp(source);
      const matches = (host: string): boolean =>
        pattern.matchesTarget({ network: "tcp", host, port: 443 });
      assert.ok(matches(yes), `${source} matches ${yes}`);
      assert.ok(!matches(no), `${source} does not match ${no}`);
      assert.equal(String(pattern), source);
    }
  });

  test("finds a part when it is asked for one", () => {
    const finds = (source: string, text: string): boolean =>
      new HostRegexp(source).matches(text, "part");
    assert.ok(finds("b", "abc"));
    assert.ok(finds("c$", "abc"));
    assert.ok(!finds("^b", "abc"));
    assert.ok(!finds("a$", "abc"));
  });

  test("refuses what it cannot do, and says where", () => {
    const table: Readonly<Record<string, string>> = {
      "": "is empty",
      "a(": "a ( without its ), at character 2",
      "a\\": "it ends in the middle, at character 2",
      "(a": "a ( without its ), at character 2",
      "a)": "a ) without its (, at character 2",
      "[a": "it ends in the middle, at character 2",
      "*a": "nothing stands before *, at character 2",
      "a**": "two repetitions in a row, at character 3",
      "a++": "possessive repetition is not supported, at character 3",
      "a{x}": "after { come counts: {2}, {2,} or {2,5}, at character 2",
      "a{3,2}": "the counts of {3,2} run backwards, at character 2",
      "^*": "an edge cannot be repeated, at character 2",
      "[z-a]": "a range in a class that runs backwards, at character 5",
      "[a&&b]": "the intersection of classes is not supported, at character 3",
      "[a[b]]": "a class inside a class; write \\[ for the bracket, at character 3",
      "(?=a)":
        "groups that begin with (? are not supported, except (?:…) and (?<name>…), at character 3",
      "(?<!a)b":
        "groups that begin with (? are not supported, except (?:…) and (?<name>…), at character 3",
      "(a)\\1": "references to groups are not supported, at character 5",
      "\\p{L}": "\\p is not supported, at character 3",
      "\\xg0": "\\x wants 2 hexadecimal digits, at character 3",
      "((a{99}){99}){99}": `its repetitions multiply to more than ${MAX_STEPS} steps`,
    };
    for (const [source, why] of Object.entries(table)) {
      assert.throws(
        () => new HostRegexp(source),
        (thrown) => {
          assert.ok(thrown instanceof ConfigError);
          assert.equal(thrown.message, `regular expression "${source}": ${why}`);
          return true;
        },
      );
    }
    assert.throws(() => new HostRegexp("(".repeat(60)), /groups deeper than 50/);
    assert.throws(() => new HostRegexp("a".repeat(4_097)), /4097 characters exceed 4096/);
  });

  test("takes no longer for what makes others backtrack", { timeout: 10_000 }, () => {
    const host = `${"a".repeat(250)}!`;
    for (const source of [
      "(a+)+b",
      "(a|a)*b",
      "(a*)*b",
      "(.*)*x",
      `${"a?".repeat(200)}${"a".repeat(200)}b`,
      `[${"a".repeat(2_000)}]{1500}b`,
      "(((((){999}){999}){999}){999}){999}b",
    ]) {
      const pattern = new HostRegexp(source);
      assert.ok(!pattern.matches(host, "whole"), source);
      assert.ok(!pattern.matches(host, "part"), source);
    }
  });

  test("agrees with the engine of the language", () => {
    const atom = fc.constantFrom(
      "a",
      "b",
      ".",
      "[ab]",
      "[^a]",
      "\\.",
      "\\d",
      "\\w",
      "^",
      "$",
      "\\b",
    );
    const { source: sources } = fc.letrec<{ source: string }>((tie) => ({
      source: fc.oneof(
        { maxDepth: 4 },
        atom,
        fc.tuple(tie("source"), tie("source")).map(([one, two]) => one + two),
        fc.tuple(tie("source"), tie("source")).map(([one, two]) => `(?:${one}|${two})`),
        fc
          .tuple(tie("source"), fc.constantFrom("*", "+", "?", "{2}", "{1,2}", "*?"))
          .map(([one, mark]) => `(${one})${mark}`),
      ),
    }));
    const texts = fc.string({ unit: fc.constantFrom("a", "b", ".", "1"), maxLength: 6 });
    fc.assert(
      fc.property(sources, texts, (source, text) => {
        const pattern = new HostRegexp(source);
        assert.equal(pattern.matches(text, "part"), new RegExp(source, "i").test(text));
        const whole = new RegExp(`^(?:${source})$`, "i").test(text);
        assert.equal(pattern.matches(text, "whole"), whole);
      }),
      { numRuns: 1000 },
    );
  });

  test("answers any text with an expression or a ConfigError", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom(...Array.from("ab()[]{}*+?|\\^$.-,19Qx&<:=")) }),
        (source) => {
          try {
            new HostRegexp(source).matches("abba", "part");
          } catch (thrown) {
            assert.ok(thrown instanceof ConfigError);
          }
        },
      ),
    );
  });
});
