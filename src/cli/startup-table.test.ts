import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { startupJson, startupTable } from "./startup-table.ts";

const now = new Date("2026-01-10T00:00:00Z");

describe("the start-up table", () => {
  test("shows every listener and every tunnel, and what comes next", () => {
    const text = startupTable({
      now,
      listeners: [
        { name: "a", kind: "socks", address: "127.0.0.1:1080", leadsTo: "home" },
        {
          name: "b",
          kind: "pong+tls",
          address: "0.0.0.0:443",
          leadsTo: "direct",
          certificateExpires: new Date("2026-06-01T00:00:00Z"),
        },
        {
          name: "c",
          kind: "pong+wss",
          address: "0.0.0.0:444/api",
          leadsTo: "direct",
          certificateExpires: new Date("2026-01-15T12:00:00Z"),
        },
        {
          name: "d",
          kind: "pong+tls",
          address: "0.0.0.0:445",
          leadsTo: "direct",
          certificateExpires: new Date("2026-01-01T00:00:00Z"),
        },
      ],
      tunnels: [
        { name: "home", url: "pong+tls://h:443", state: "up", detail: "", latencyMs: 12.34 },
        {
          name: "b",
          url: "pong+ws://b:80",
          state: "down",
          detail: "b:80: refused",
          latencyMs: undefined,
        },
        { name: "c", url: "pong+tcp://c:1", state: "connecting", detail: "", latencyMs: undefined },
        { name: "d", url: "pong+tcp://d:1", state: "idle", detail: "", latencyMs: 1.25 },
        { name: "e", url: "pong+tcp://e:1", state: "closed", detail: "", latencyMs: undefined },
      ],
    });
    assert.equal(
      text,
      `LISTENER  ADDRESS          LEADS TO  CERTIFICATE
socks     127.0.0.1:1080   home      -
pong+tls  0.0.0.0:443      direct    until 2026-06-01
pong+wss  0.0.0.0:444/api  direct    until 2026-01-15: 5 days left, renew it
pong+tls  0.0.0.0:445      direct    EXPIRED 2026-01-01: renew it

TUNNEL  URL               STATE       LATENCY  NEXT
home    pong+tls://h:443  up          12 ms    carries streams
b       pong+ws://b:80    down        -        dials again by itself: b:80: refused
c       pong+tcp://c:1    connecting  -        is being dialled; new connections wait for it
d       pong+tcp://d:1    idle        1.3 ms   is dialled by the first connection
e       pong+tcp://e:1    closed      -        stays closed
`,
    );
  });

  test("says so when there is nothing", () => {
    assert.equal(startupTable({ now, listeners: [], tunnels: [] }), "nothing to do\n");
  });

  test("is one JSON object on one line for programs", () => {
    const tunnels = [
      { name: "a", url: "pong+tcp://a:1", state: "up", detail: "x", latencyMs: 1 },
    ] as const;
    const text = startupJson({ now, listeners: [], tunnels });
    assert.deepEqual(JSON.parse(text), { listeners: [], tunnels });
    assert.match(text, /^[^\n]+\n$/);
  });
});
