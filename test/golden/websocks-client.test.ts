import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { decodeSocksAddress } from "../../src/address/socks-address.ts";
import type { Target } from "../../src/address/target.ts";
import { toTunnelError } from "../../src/errors.ts";
import { acceptOf } from "../../src/protocols/vproxy/websocks/upgrade.ts";
import type { Connection } from "../../src/tunnel/connection.ts";
import { assertBytes } from "../support/hex.ts";
import { Recorder } from "../support/recorder.ts";
import { turns } from "../support/turns.ts";
import { START_UNIX_MS, WebSocksHouse } from "../support/websocks-house.ts";
import { WEBSOCKS_FREEDOMS } from "./websocks-plans.ts";
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

describe("a WebSocks client in the place of the recorded one", { timeout: 60_000 }, () => {
  for (const name of webSocksNames()) {
    const transcript = readWebSocks(name);
    for (const conn of transcript.conns.filter(isUpgrade)) {
      test(`asks and hears as on connection ${conn.conn} of ${name}`, async () => {
        await new ClientReplay(transcript, conn).run();
      });
    }
  }

  test("takes freedoms on recorded connections only", () => {
    const known = webSocksNames().flatMap((name) =>
      readWebSocks(name).conns.map(({ conn }) => `${name} ${conn}`),
    );
    for (const [name, freedoms] of Object.entries(WEBSOCKS_FREEDOMS)) {
      for (const conn of Object.keys(freedoms ?? {})) assert.ok(known.includes(`${name} ${conn}`));
    }
  });
});

/** Plays the server of one connection, and the app behind our client. */
class ClientReplay {
  readonly #transcript: WebSocksTranscript;
  readonly #conn: WebSocksConn;
  readonly #house: WebSocksHouse;
  /** The target of the recorded request; absent: the connection was never used. */
  readonly #target: Target | undefined;
  /** Where the payload begins in what the recorded client sent. */
  readonly #payloadAt: number;
  #server: Recorder | undefined;
  #opening: Promise<Connection | string> | undefined;
  #app: Recorder | undefined;
  /** Of the recorded client's bytes so far. */
  #recordedBytes = 0;

  constructor(transcript: WebSocksTranscript, conn: WebSocksConn) {
    this.#transcript = transcript;
    this.#conn = conn;
    const [target, payloadAt] = askedFor(sentBy(conn, "client"));
    this.#target = target;
    this.#payloadAt = payloadAt;
    const [login] = conn.logins;
    const { user = "alice", password = "?", minuteOffset = 0 } = login ?? {};
    const wallOffset = transcript.startedUnixMs - START_UNIX_MS + minuteOffset;
    const isPooled = transcript.hasAgent || target === undefined;
    this.#house = new WebSocksHouse({
      user,
      password,
      isStrict: transcript.isStrict,
      pool: { size: isPooled ? 1 : 0, waitMs: 60_000 },
      unixMs: () => this.#house.unixMs + wallOffset,
    });
    this.#house.isSilent = true;
    // When the request left: the hash depends on it.
    const asked = conn.lines.find(({ event }) => event === "data");
    this.#house.clock.advance(asked?.at ?? 0);
    if (isPooled) this.#house.client.start();
    else this.#open();
  }

  async run(): Promise<void> {
    await turns(6);
    const carrier = this.#house.carriers[0]?.[1] ?? assert.fail("no carrier");
    this.#server = new Recorder(carrier);
    carrier.resume();
    await turns(6);
    for (const line of this.#conn.lines) {
      this.#house.clock.advance(Math.max(0, line.at - this.#house.clock.now()));
      await turns(6);
      if (line.from === "client") await this.#playApp(line);
      else await this.#playServer(line);
    }
    await turns(10);
    await this.#compare();
  }

  /** The recorded client asks, and its app says something and ends. */
  async #playApp({ event, bytes }: WebSocksLine): Promise<void> {
    const before = this.#recordedBytes;
    this.#recordedBytes += bytes.byteLength;
    const isAsking = isPastHead(this.#conn, before) && !isPong(bytes);
    if (event === "data" && isAsking && this.#target !== undefined) this.#open();
    await turns(6);
    const payload = bytes.subarray(Math.max(0, this.#payloadAt - before));
    if (payload.byteLength > 0) this.#app?.connection.write([Uint8Array.from(payload)]);
    if (event === "end") this.#app?.connection.finish();
    await turns(6);
  }

  async #playServer({ event, bytes }: WebSocksLine): Promise<void> {
    const { connection } = this.#server ?? assert.fail();
    if (event === "data") {
      // The answer to the constant key of the original would not do for ours.
      const key = headOf(Buffer.from(this.#server?.bytes ?? [])).fields.get("sec-websocket-key");
      const text = bytes.toString("latin1");
      const answer = text.replace(/(?<=Accept: )\S+/i, () => acceptOf(key ?? ""));
      connection.write([Buffer.from(answer, "latin1")]);
    }
    if (event === "end") connection.finish();
    await turns(6);
  }

  #open(): void {
    const target = this.#target ?? { network: "tcp", host: "192.0.2.1", port: 1 };
    this.#opening ??= this.#house.open(target).then(
      (stream) => {
        this.#app = new Recorder(stream);
        stream.resume();
        return stream;
      },
      (thrown: unknown) => toTunnelError(thrown, "ERR_MISUSE", "open").code,
    );
  }

  async #compare(): Promise<void> {
    const sent = Buffer.from(this.#server?.bytes ?? []);
    const recorded = sentBy(this.#conn, "client");
    this.#compareRequest(sent, recorded);
    const freedom = WEBSOCKS_FREEDOMS[this.#transcript.name]?.[this.#conn.conn];
    const failure = await this.#failure();
    if (freedom?.fails !== undefined || failure !== undefined) {
      const [login] = this.#conn.logins;
      const expected = login?.status === 401 ? "ERR_REFUSED_FOR_GOOD" : undefined;
      assert.equal(failure, freedom?.fails ?? expected);
      return;
    }
    assert.ok(this.#house.states.includes("up"), "the answer was taken");
    if (!this.#transcript.hasAgent && this.#target === undefined) return;
    if (this.#transcript.hasAgent) {
      const behind = (bytes: Buffer): Buffer => bytes.subarray(headLength(bytes));
      assertBytes(behind(sent), behind(recorded), "what ours said behind its request");
    }
    if (this.#target === undefined) return;
    const server = sentBy(this.#conn, "server");
    const payload = server.subarray(headLength(server) + MARKER_AND_SOCKS_BYTES);
    assertBytes(this.#app?.bytes ?? [], payload, "what the app got");
  }

  /** Byte for byte, with the key and the host of the recording in place of ours. */
  #compareRequest(sent: Buffer, recorded: Buffer): void {
    const [ours, theirs] = [headOf(sent), headOf(recorded)];
    const [login] = this.#conn.logins;
    const isReal =
      login?.user !== undefined &&
      theirs.fields.get("authorization")?.startsWith("Basic ") === true;
    for (const name of ["host", "sec-websocket-key", ...(isReal ? [] : ["authorization"])]) {
      theirs.fields.delete(name);
      ours.fields.delete(name);
    }
    // A probe may ask in its own way; the original may not.
    if (this.#transcript.hasAgent) assert.equal(ours.start, theirs.start);
    if (this.#transcript.hasAgent) assert.deepEqual([...ours.fields], [...theirs.fields]);
    else if (isReal) {
      assert.equal(ours.fields.get("authorization"), theirs.fields.get("authorization"));
    }
  }

  async #failure(): Promise<string | undefined> {
    const pending = Symbol("pending");
    const opened = await Promise.race([this.#opening, turns(5).then(() => pending)]);
    if (typeof opened === "string") return opened;
    if (/our clock is 2 min|our clock is 1 min/.test(this.#house.clientLogs.text))
      return "ERR_AUTH";
    return this.#house.refusals[0]?.code;
  }
}

function isUpgrade(conn: WebSocksConn): boolean {
  return /upgrade: websocket/i.test(sentBy(conn, "client").toString("latin1"));
}

function isPastHead(conn: WebSocksConn, at: number): boolean {
  return at >= headLength(sentBy(conn, "client"));
}

function isPong(bytes: Buffer): boolean {
  return bytes.byteLength > 0 && bytes.every((byte, at) => byte === (at % 2 === 0 ? 0x8a : 0x00));
}

/** What a recorded client asked for, if it was one thing that can be asked, and where that ends. */
function askedFor(sent: Buffer): readonly [Target | undefined, number] {
  if (!sent.includes("\r\n\r\n")) return [undefined, Number.POSITIVE_INFINITY];
  let at = headLength(sent);
  while (((sent[at] ?? 0) & 0x0f) === 0x0a) at += 2;
  at += MARKER_BYTES + GREETING_BYTES + 3;
  const command = sent[at - 2];
  const type = sent[at] ?? 0;
  const fallback = { network: "tcp", host: "192.0.2.1", port: 80 } as const;
  if (
    sent.byteLength <= headLength(sent) ||
    sent.subarray(headLength(sent)).toString("latin1").startsWith("GET ")
  ) {
    return [undefined, Number.POSITIVE_INFINITY];
  }
  if (command !== 1 || ![1, 3, 4].includes(type)) return [fallback, Number.POSITIVE_INFINITY];
  const length = type === 3 ? 4 + (sent[at + 1] ?? 0) : type === 1 ? 7 : 19;
  const { host, port } = decodeSocksAddress(sent.subarray(at));
  return [{ network: "tcp", host, port }, at + length];
}

const MARKER_BYTES = 10;
const GREETING_BYTES = 3;
const MARKER_AND_SOCKS_BYTES = 22;
