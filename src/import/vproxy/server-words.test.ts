import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ConfigError } from "../../errors.ts";
import { readServerWords } from "./server-words.ts";

const read = (line: string): ReturnType<typeof readServerWords> => readServerWords(line.split(" "));

describe("words of the server's command line", () => {
  test("come in any order, and the last of two counts", () => {
    const { users, ...rest } = read(
      "kcp keypem k certpem a,b webroot /w listen 1 ssl auth a:b,c:d domain h redirectport 80 listen 2",
    );
    assert.deepEqual(rest, {
      port: 2,
      hasTls: true,
      hasKcp: true,
      hasQuic: false,
      pkcs12: undefined,
      certificates: ["a", "b"],
      key: "k",
      domain: "h",
      redirectPort: 80,
      uotPort: undefined,
      webRoot: "/w",
    });
    assert.deepEqual(
      [...users],
      [
        ["a", "b"],
        ["c", "d"],
      ],
    );
  });

  const refused: readonly (readonly [string, RegExp])[] = [
    ["auth a:b", /^listen is missing: write listen 18686$/],
    ["listen 1", /^auth is missing: write auth user:password$/],
    ["listen 0 auth a:b", /^listen: "0" is no port$/],
    ["listen 1 auth", /^auth wants user:password behind it$/],
    ["listen 1 auth a:b,hunter2", /^auth: pair 2 is no user:password with exactly one colon$/],
    ["listen 1 auth a: hunter2", /^the word after auth is none of listen, auth, /],
    ["hunter2 listen 1", /^the first word is none of /],
    ["listen 1 auth a:b redirectpor 2", /\(did you mean "redirectport"\?\)$/],
    ["listen 1 auth a:b ssl", /^ssl wants a certificate: write certpem FILE keypem FILE$/],
    ["listen 1 auth a:b ssl certpem c", /^ssl wants a certificate/],
    ["listen 1 auth a:b certpem c keypem k", /^a certificate wants the word ssl$/],
    ["listen 1 auth a:b ssl pkcs12 p certpem c keypem k", /^pkcs12 and certpem are two kinds/],
    ["listen 1 auth a:b redirectport 1", /^redirectport is the port of listen$/],
    ["listen 1 auth a:b uot.port 2", /^uot.port wants the word kcp$/],
  ];
  for (const [line, expected] of refused) {
    test(`are refused: ${line}`, () => {
      assert.throws(
        () => read(line),
        (thrown) => {
          assert.ok(thrown instanceof ConfigError);
          assert.match(thrown.message, expected);
          assert.doesNotMatch(thrown.message, /hunter2/);
          return true;
        },
      );
    });
  }

  test("are read or refused, whatever they are", () => {
    const word = fc.oneof(
      fc.constantFrom("listen", "auth", "ssl", "kcp", "certpem", "1", "a:b", "quic", "uot.port"),
      fc.string(),
    );
    fc.assert(
      fc.property(fc.array(word), (words) => {
        try {
          readServerWords(words);
        } catch (thrown) {
          assert.ok(thrown instanceof ConfigError, String(thrown));
        }
      }),
    );
  });
});
