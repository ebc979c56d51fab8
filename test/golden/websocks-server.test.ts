import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { NetworkError } from "../../src/errors.ts";
import type { Request } from "../../src/tunnel/request.ts";
import { assertBytes, hex } from "../support/hex.ts";
import { Recorder } from "../support/recorder.ts";
import { turns } from "../support/turns.ts";
import { START_UNIX_MS, WebSocksHouse } from "../support/websocks-house.ts";
import { WEBSOCKS_FREEDOMS, type WebSocksFreedom } from "./websocks-plans.ts";
import {
  headLength,
  headOf,
  readWebSocks,
  sentBy,
  type WebSocksConn,
  type WebSocksLine,
  webSocksNames,
  type WebSocksTranscript,
} from "./websocks-transcript.ts";

describe("a WebSocks server in the place of the recorded one", { timeout: 60_000 }, () => {
  for (const name of webSocksNames()) {
    const transcript = readWebSocks(name);
    for (const conn of transcript.conns) {
      const freedom = WEBSOCKS_FREEDOMS[name]?.[conn.conn];
      test(`answers connection ${conn.conn} of ${name}`, async () => {
        await new ServerReplay(transcript, conn, freedom).run();
      });
    }
  }
});

/** Plays the client and the target of one connection. */
class ServerReplay {
  readonly #conn: WebSocksConn;
  readonly #freedom: WebSocksFreedom | undefined;
  readonly #house: WebSocksHouse;
  readonly #client: Recorder;
  #target: Recorder | undefined;
  /** Of the recorded server's bytes so far. */
  #recordedBytes = 0;

  constructor(
    transcript: WebSocksTranscript,
    conn: WebSocksConn,
    freedom: WebSocksFreedom | undefined,
  ) {
    this.#conn = conn;
    this.#freedom = freedom;
    const wallOffset = transcript.startedUnixMs - START_UNIX_MS;
    this.#house = new WebSocksHouse(
      {},
      {
        users: transcript.users,
        unixMs: () => this.#house.unixMs + wallOffset,
        onRequest: (request) => this.#onRequest(request),
        web: { resolve: resolveLocalhost, isResolveOpen: true },
      },
    );
    this.#house.clock.advance(conn.lines[0]?.at ?? 0);
    this.#client = this.#house.visit();
  }

  async run(): Promise<void> {
    for (const line of this.#conn.lines) {
      this.#house.clock.advance(Math.max(0, line.at - this.#house.clock.now()));
      if (line.from === "client") await this.#playClient(line);
      else await this.#playTarget(line);
      // A page ended it.
      if (this.#client.events.includes("end") && this.#target === undefined) break;
    }
    await turns(10);
    this.#compare();
  }

  async #playClient({ event, bytes }: WebSocksLine): Promise<void> {
    const { connection } = this.#client;
    if (event === "data") connection.write([Uint8Array.from(bytes)]);
    if (event === "end") connection.finish();
    if (event === "reset") connection.reset(new NetworkError("ERR_CONNECTION_RESET", "played"));
    await turns(6);
  }

  /** What the recorded server sent behind its reply came from the target. */
  async #playTarget({ event, bytes }: WebSocksLine): Promise<void> {
    if (event === "data") {
      const from = Math.max(0, this.#ownBytes() - this.#recordedBytes);
      this.#recordedBytes += bytes.byteLength;
      const part = bytes.subarray(from);
      if (part.byteLength > 0) this.#target?.connection.write([Uint8Array.from(part)]);
    }
    if (event === "end" && this.#freedom?.target === "resets") {
      this.#target?.connection.reset(new NetworkError("ERR_CONNECTION_RESET", "played"));
    } else if (event === "end") {
      this.#target?.connection.finish();
    }
    await turns(6);
  }

  #onRequest(request: Request): void {
    const failure = this.#freedom?.target;
    if (failure !== undefined && failure !== "resets") {
      request.reject(new NetworkError(failure, "played"));
      return;
    }
    this.#target = new Recorder(request.accept());
    this.#target.connection.resume();
  }

  /** How many of the recorded server's bytes are its own. */
  #ownBytes(): number {
    if (this.#target === undefined) return Number.POSITIVE_INFINITY;
    const all = sentBy(this.#conn, "server");
    return headLength(all) + MARKER_AND_SOCKS_BYTES;
  }

  #compare(): void {
    const recorded = sentBy(this.#conn, "server");
    const heard = Buffer.from(this.#client.bytes);
    const { answers, target } = this.#freedom ?? {};
    if (typeof answers === "number") {
      assert.ok(headOf(heard).start.startsWith(`HTTP/1.1 ${answers} `));
      return;
    }
    if (recorded.byteLength === 0) {
      assert.equal(heard.byteLength, 0, "nothing is answered");
      return;
    }
    const status = compareHeads(heard, recorded);
    if (status !== "101") return;
    const body = heard.subarray(headLength(heard));
    if (answers === undefined) assertBytes(body, recorded.subarray(headLength(recorded)));
    else assertBytes(body, hex(answers));
    if (target === "resets") assert.equal(this.#client.closeError?.code, "ERR_CONNECTION_RESET");
    if (this.#target === undefined) return;
    const client = sentBy(this.#conn, "client");
    const payload = client.subarray(payloadOffset(client));
    assertBytes(this.#target.bytes, payload, "what the target got");
  }
}

/** Status and fields, but for who we are, when it is, and the words of pages. */
function compareHeads(heard: Buffer, recorded: Buffer): string {
  const [ours, theirs] = [headOf(heard), headOf(recorded)];
  assert.equal(ours.start, theirs.start);
  const status = ours.start.split(" ")[1] ?? "";
  for (const [name, value] of theirs.fields) {
    if (FREE_FIELDS.has(name)) continue;
    assert.equal(ours.fields.get(name), value, name);
  }
  const order = (fields: Iterable<string>): string[] =>
    Array.from(fields).filter((name) => theirs.fields.has(name) && !FREE_FIELDS.has(name));
  assert.deepEqual(order(ours.fields.keys()), order(theirs.fields.keys()));
  if (theirs.fields.get("content-type") === "application/json") {
    assertBytes(heard.subarray(headLength(heard)), recorded.subarray(headLength(recorded)));
  }
  return status;
}

/** Where the payload begins in what a client sent on an upgraded connection. */
function payloadOffset(sent: Buffer): number {
  let at = headLength(sent);
  while (((sent[at] ?? 0) & 0x0f) === 0x0a) at += 2;
  at += MARKER_BYTES + GREETING_BYTES;
  const isName = sent[at + 3] === 0x03;
  return at + (isName ? 7 + (sent[at + 4] ?? 0) : 10);
}

function resolveLocalhost(name: string): Promise<readonly string[]> {
  if (name === "localhost") return Promise.resolve(["127.0.0.1"]);
  return Promise.reject(new NetworkError("ERR_DNS", "played"));
}

const FREE_FIELDS: ReadonlySet<string> = new Set([
  "server",
  "date",
  "content-length",
  "content-type",
]);
const MARKER_BYTES = 10;
const GREETING_BYTES = 3;
const MARKER_AND_SOCKS_BYTES = 22;
