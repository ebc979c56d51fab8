import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  certificate,
  CLIENT_ID,
  PONG_TRANSPORTS,
  type PongTransport,
  SLUICE,
} from "../support/tunnel.ts";
import { skipWithoutMachines, twoMachines } from "../support/two-machines.ts";

const KEEPALIVE_MS = 2000;

/** Twice the keepalive, and what a loaded machine may add. */
const NOTICE_MS = 2 * KEEPALIVE_MS + 1500;

/** Sends all the time, reads everything, and says that it started. */
const CHATTER = `require("net").createServer((socket) => {
  console.log("connected");
  socket.on("error", () => {}).resume();
  setInterval(() => socket.write("tick"), 50);
}).listen(7000, "192.0.2.2", () => console.log("listening"))`;

describe("a cut cable", { skip: skipWithoutMachines(), timeout: 60_000, concurrency: 4 }, () => {
  for (const transport of PONG_TRANSPORTS) {
    test(`below busy pong over ${transport} is noticed by both ends`, async () => {
      const isPinged = transport === "ws" || transport === "wss";
      await notice(transport, true, isPinged ? /said nothing/ : /acknowledged nothing/);
    });
    test(`below idle pong over ${transport} is noticed by both ends`, async () => {
      await notice(transport, false, /said nothing|acknowledged nothing|ETIMEDOUT/);
    });
  }
});

/** Cuts the cable below a stream, and waits until both ends of the tunnel say `words`. */
async function notice(transport: PongTransport, isBusy: boolean, words: RegExp): Promise<void> {
  await using scope = new AsyncDisposableStack();
  const machines = scope.use(await twoMachines());
  const pem = certificate(scope);
  const isTls = transport === "tls" || transport === "wss";
  const chatter = machines.start("b", process.execPath, ["-e", CHATTER]);
  await chatter.waitFor(/listening/);
  // Without the extension there are no pings of ours, as with pong-go at the other end.
  const query = `ext=off&keepalive=${KEEPALIVE_MS}ms`;
  const serve = machines.start("b", process.execPath, [
    SLUICE,
    "serve",
    `pong+${transport}://${machines.b}:1080?${query}`,
    "--client",
    `test=${CLIENT_ID}`,
    "--allow",
    machines.b,
    ...(isTls ? ["--cert", pem.cert, "--key", pem.key] : []),
  ]);
  await serve.waitFor(/LISTENER/);
  const trust = isTls ? `&sni=localhost&ca=${encodeURIComponent(`file:${pem.cert}`)}` : "";
  const connect = machines.start("a", process.execPath, [
    SLUICE,
    "connect",
    `pong+${transport}://${CLIENT_ID}@${machines.b}:1080?${query}${trust}`,
    "-L",
    `-:${machines.b}:7000`,
  ]);
  const { stdin } = connect.process;
  assert.ok(stdin !== null);
  stdin.write("hello");
  await chatter.waitFor(/connected/);
  await connect.waitFor(/tick/);
  if (isBusy) {
    const talk = setInterval(() => void stdin.write("tock"), 50);
    scope.defer(() => clearInterval(talk));
  } else {
    chatter.process.kill("SIGSTOP");
    scope.defer(() => void chatter.process.kill("SIGCONT"));
  }
  machines.cutCable();
  const cutAt = performance.now();
  const heard = { on: "stderr", deadlineMs: 20_000 } as const;
  await Promise.all([connect.waitFor(words, heard), serve.waitFor(words, heard)]);
  const tookMs = performance.now() - cutAt;
  assert.ok(tookMs < NOTICE_MS, `${tookMs} ms`);
}
