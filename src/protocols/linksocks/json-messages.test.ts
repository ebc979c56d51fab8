import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { decodeJson, encodeJson, type JsonMessage } from "./json-messages.ts";
import { MessageType } from "./messages.ts";

const SESSION = "00112233-4455-6677-8899-aabbccddeeff";
const NIL = "00000000-0000-0000-0000-000000000000";

function decode(type: keyof typeof MessageType, json: string): JsonMessage {
  return decodeJson(MessageType[type], Buffer.from(json));
}

describe("linksocks JSON messages", () => {
  test("match keys in any case, and ignore unknown ones", () => {
    assert.deepEqual(decode("log", '{"LEVEL":"warn","Msg":"hi","extra":{"a":1}}'), {
      type: "log",
      level: "warn",
      text: "hi",
    });
  });

  test("are empty where members are absent or null", () => {
    assert.deepEqual(decode("log", "{}"), { type: "log", level: "", text: "" });
    assert.deepEqual(decode("log", "null"), { type: "log", level: "", text: "" });
    assert.deepEqual(decode("partners", '{"count":null}'), { type: "partners", count: 0 });
    assert.deepEqual(decode("directStatus", "{}"), {
      type: "directStatus",
      sessionId: NIL,
      status: "",
      rttMs: 0,
      lossPpm: 0,
      reason: "",
    });
    assert.deepEqual(decode("directCapabilities", '{"candidates":[{}]}'), {
      type: "directCapabilities",
      sessionId: NIL,
      candidates: [{ address: "", port: 0, kind: "" }],
      discoveries: [],
      publicKey: new Uint8Array(0),
    });
  });

  test("are written as the reference writes them, empty members left out", () => {
    const status = { type: "directStatus", sessionId: SESSION, status: "failed" } as const;
    const cases: readonly (readonly [JsonMessage, string])[] = [
      [
        { type: "log", level: "info", text: "<b>&\u2028é" },
        '{"level":"info","msg":"\\u003cb\\u003e\\u0026\\u2028é"}',
      ],
      [
        { ...status, rttMs: 0, lossPpm: 0, reason: "" },
        `{"session_id":"${SESSION}","status":"failed","metrics":{}}`,
      ],
      [
        { ...status, rttMs: 1, lossPpm: 2, reason: "no" },
        `{"session_id":"${SESSION}","status":"failed","metrics":{"rtt_ms":1,"loss_ppm":2,"reason":"no"}}`,
      ],
      [
        {
          type: "directRendezvous",
          sessionId: SESSION,
          remoteSessionId: NIL,
          candidates: [{ address: "::1", port: 1, kind: "" }],
          publicKey: Uint8Array.of(1, 2, 3),
        },
        `{"session_id":"${SESSION}","remote_session_id":"${NIL}","candidates":[{"addr":"::1","port":1}],"public_key":"AQID"}`,
      ],
    ];
    for (const [message, json] of cases) {
      assert.equal(encodeJson(message), json);
      assert.deepEqual(decode(message.type, json), message);
    }
  });

  test("take UUIDs in capitals and without hyphens", () => {
    for (const id of [SESSION.toUpperCase(), SESSION.replaceAll("-", "")]) {
      const status = decode("directStatus", `{"session_id":"${id}"}`);
      assert.equal(status.type === "directStatus" && status.sessionId, SESSION);
    }
  });

  test("refuse members of the wrong form, and too much of them", () => {
    const many = `[${Array<string>(65).fill('"stun"').join(",")}]`;
    const cases: readonly (readonly [keyof typeof MessageType, string, RegExp])[] = [
      ["log", "", /JSON/],
      ["log", "[]", /no object/],
      ["log", '"text"', /no object/],
      ["log", '{"msg":1}', /msg is no text/],
      ["log", `{"msg":"${"x".repeat(256 * 1024)}"}`, /exceeds 262144/],
      ["partners", '{"count":"1"}', /count is no integer/],
      ["partners", '{"count":1.5}', /count is no integer/],
      ["directStatus", '{"session_id":"no"}', /session_id is no UUID/],
      ["directStatus", '{"metrics":1}', /no object/],
      ["directCapabilities", '{"candidates":{}}', /candidates is no list/],
      ["directCapabilities", '{"discoveries":[1]}', /something else/],
      ["directCapabilities", `{"discoveries":${many}}`, /65 items, more than 64/],
      ["directCapabilities", '{"public_key":"?"}', /public_key is no base64/],
      ["data", "{}", /has no JSON/],
    ];
    for (const [type, json, message] of cases) {
      assert.throws(() => decode(type, json), { message }, `${type} ${json.slice(0, 40)}`);
    }
  });
});
