import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { VjsonError, type VjsonNode } from "./vjson.ts";
import { readVjson } from "./vjson-reader.ts";

/** The tree without places: objects, arrays and texts. */
function plain(node: VjsonNode): unknown {
  switch (node.kind) {
    case "scalar":
      return node.text;
    case "list":
      return node.items.map(plain);
    case "object":
      return Object.fromEntries(node.entries.map(({ key, value }) => [key, plain(value)]));
  }
}

const read = (text: string): unknown => plain(readVjson(text));

describe("relaxed JSON", () => {
  const accepted: readonly (readonly [string, string, unknown])[] = [
    ["JSON", '{"a": {"b": [1, true, null, "x"]}}', { a: { b: ["1", "true", "null", "x"] } }],
    ["= and :", "{ a = 1, b : 2 }", { a: "1", b: "2" }],
    ["keys with dots, which do not nest", "{ socks5.listen = 1 }", { "socks5.listen": "1" }],
    ["no colon before a brace", "{ a { b = c } d{} }", { a: { b: "c" }, d: {} }],
    [
      "lines, commas and semicolons",
      "{ a = 1\n b = 2, c = 3; d = [x\ny,z;w] }",
      {
        a: "1",
        b: "2",
        c: "3",
        d: ["x", "y", "z", "w"],
      },
    ],
    ["every kind of line end", "{ a = 1\r\nb = 2\rc = 3 }", { a: "1", b: "2", c: "3" }],
    ["a separator at the end", "{ a = [1, 2,], }", { a: ["1", "2"] }],
    ["a mark at the start", "\uFEFF{ a = 1 }", { a: "1" }],
    ["comments anywhere", "# x\n{ // y\n a /* z */ = /* w\n */ 1 # v\n } // u", { a: "1" }],
    [
      "comments behind bare texts",
      "{ a = b c # d\n e = f // g\n h = i/* j */k }",
      {
        a: "b c",
        e: "f",
        h: "ik",
      },
    ],
    ["quotes of both kinds", `{ a = 'x "y"', "b c" = "d 'e'" }`, { a: 'x "y"', "b c": "d 'e'" }],
    ["escapes", String.raw`{ a = "\"\\\/\n\u0041", b = '\'' }`, { a: '"\\/\nA', b: "'" }],
    ["comment signs and brackets in quotes", "{ a = '# // } ]' }", { a: "# // } ]" }],
    [
      "addresses without quotes",
      "{ a = [ websockss://h:1 // x\n websocks:kcp://h:2 ] }",
      {
        a: ["websockss://h:1", "websocks:kcp://h:2"],
      },
    ],
    ["addresses of files", "{ a = file:///list//x\n}", { a: "file:///list" }],
    ["colons and blanks in texts", "{ a = alice:p w , b = :22 }", { a: "alice:p w", b: ":22" }],
    [
      "brackets in texts, with what they hold",
      "{ a = /(x|y,z)[a-z]{1,2}/ }",
      {
        a: "/(x|y,z)[a-z]{1,2}/",
      },
    ],
    ["quotes in texts, as they are", "{ a = b 'c, d' e }", { a: "b 'c, d' e" }],
    ["lists as they nest", "[[a, b] [c]]", [["a", "b"], ["c"]]],
  ];
  for (const [what, text, expected] of accepted) {
    test(`has ${what}`, () => assert.deepEqual(read(text), expected));
  }

  test("says where everything stands", () => {
    const node = readVjson("{\r\n  a {\n    b = [ c\n d ]\n} }");
    assert.ok(node.kind === "object");
    const [a] = node.entries;
    assert.deepEqual(a?.place, { line: 2, column: 3 });
    assert.ok(a.value.kind === "object");
    assert.deepEqual(a.value.place, { line: 2, column: 5 });
    const list = a.value.entries[0]?.value;
    assert.ok(list?.kind === "list");
    assert.deepEqual(list.place, { line: 3, column: 9 });
    assert.deepEqual(
      list.items.map(({ place }) => place),
      [
        { line: 3, column: 11 },
        { line: 4, column: 2 },
      ],
    );
  });

  const refused: readonly (readonly [string, number, number, RegExp])[] = [
    ["", 1, 1, /nothing but blanks/],
    ["# only this", 1, 12, /nothing but blanks/],
    ["{ a = 1", 1, 1, /this \{ is never closed/],
    ["{ a = [1\n}", 2, 1, /"}" stands where a value should/],
    ["[ 1", 1, 1, /this \[ is never closed/],
    ["{} x", 1, 4, /"x" is after the end/],
    ["{ a }", 1, 3, /key "a" has no value: write a = …/],
    ["{ = 1 }", 1, 3, /"=" stands where a key should/],
    ["{ a = }", 1, 7, /"}" stands where a value should/],
    ["{ a = ", 1, 7, /the end of the file stands where a value should/],
    ["{ a = 'x\n' }", 1, 7, /this string is not closed on its line/],
    ["{ a = 'x", 1, 7, /this string is not closed on its line/],
    [String.raw`{ a = "\." }`, 1, 8, /\\\. means nothing in quotes/],
    ["{ a = (x\n}", 2, 1, /} closes nothing: \) is to come first/],
    ["{ a = (x", 1, 7, /this \( is never closed; put the text into quotes/],
    ["{ /* x", 1, 3, /this comment is never closed/],
    ["[".repeat(40), 1, 33, /nested more than 32 deep/],
    [" ".repeat(1_048_577), 1, 1, /1048577 characters are more than 1048576/],
  ];
  for (const [text, line, column, expected] of refused) {
    test(`refuses ${JSON.stringify(text.slice(0, 20))}`, () => {
      assert.throws(
        () => readVjson(text),
        (thrown) => {
          assert.ok(thrown instanceof VjsonError);
          assert.match(thrown.message, expected);
          assert.deepEqual(thrown.place, { line, column });
          return true;
        },
      );
    });
  }

  test("throws nothing but its own error", () => {
    const piece = fc.constantFrom(
      ..."{}[]()=:,;#/*'\"\\ \n\r\tab1.".split(""),
      "//",
      "/*",
      "*/",
      "://",
      "\\u00",
      "\0",
      "\uFEFF",
      "a = ",
    );
    const text = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.array(piece).map((all) => all.join("")),
    );
    fc.assert(
      fc.property(text, (input) => {
        try {
          readVjson(input);
        } catch (thrown) {
          assert.ok(thrown instanceof VjsonError, String(thrown));
          assert.ok(thrown.place.line >= 1 && thrown.place.column >= 1);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test("reads back what JSON.stringify writes", () => {
    const value = fc.letrec((tie) => ({
      node: fc.oneof(
        { maxDepth: 4 },
        fc.string({ unit: "grapheme" }),
        fc.array(tie("node"), { maxLength: 4 }),
        fc.dictionary(fc.string(), tie("node"), { maxKeys: 4, noNullPrototype: true }),
      ),
    })).node;
    fc.assert(
      fc.property(value, (input) => {
        assert.deepEqual(read(JSON.stringify(input)), input);
      }),
      { numRuns: 300 },
    );
  });

  test("takes time in proportion to the text", () => {
    for (const unit of ["/", "a/", "(", "{a{", "'x'", "#\n", "a:/", "[a,"]) {
      const started = performance.now();
      try {
        readVjson(unit.repeat(300_000).slice(0, 1_000_000));
      } catch (thrown) {
        assert.ok(thrown instanceof VjsonError);
      }
      assert.ok(performance.now() - started < 2_000, unit);
    }
  });
});
