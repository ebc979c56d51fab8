import assert from "node:assert/strict";
import { settled } from "../support/turns.ts";
import { assertBytes } from "../support/hex.ts";
import { type OurEnd, startOurs } from "./linksocks-our-end.ts";
import { dialLink, type PlayedLink, PlayedSocket } from "./linksocks-peers.ts";
import { askHttp, assertAnswer, type HttpAnswer } from "./linksocks-http.ts";
import { type Asked, PlayedServer } from "./linksocks-played-server.ts";
import { PlayedTargets } from "./linksocks-played-targets.ts";
import { type Side, sideOf } from "./linksocks-sides.ts";
import type { Line, LinksocksTranscript, Role } from "./linksocks-transcript.ts";
import {
  channelOf,
  describe,
  failureOf,
  isUdp,
  mapPlaces,
  payloadOf,
  Type,
  typeOf,
  withChannel,
} from "./linksocks-wire.ts";

/** What an end of ours left unsaid, or said beyond the transcript. */
export interface Replayed {
  /** Messages nobody expected, described. */
  readonly surplus: readonly string[];
}

/**
 * Puts an end of ours in the place of a recorded one and plays all the others, over real sockets: a
 * line of ours is waited for and compared, any other line is done.
 */
export async function replay(transcript: LinksocksTranscript, role: Role): Promise<Replayed> {
  await using scope = new AsyncDisposableStack();
  const { conns } = transcript;
  const dialled = Object.entries(conns).filter(
    ([conn]) => sideOf(conns, Number(conn), role)?.kind === "target",
  );
  const targets = scope.use(await PlayedTargets.listen(Object.fromEntries(dialled)));
  const server = role === "server" ? undefined : scope.use(await PlayedServer.listen());
  const walk = new Walk(transcript, role, { targets, server, scope });
  return await walk.run();
}

class Walk {
  readonly #transcript: LinksocksTranscript;
  readonly #role: Role;
  readonly #targets: PlayedTargets;
  readonly #server: PlayedServer | undefined;
  readonly #scope: AsyncDisposableStack;
  readonly #ours: OurEnd[] = [];
  readonly #links = new Map<number, PlayedLink>();
  readonly #asked = new Map<number, Asked>();
  readonly #answers = new Map<number, Promise<HttpAnswer>>();
  readonly #apps = new Map<number, PlayedSocket>();
  readonly #expected = new Map<PlayedSocket, Buffer[]>();
  readonly #expectedData = new Map<string, Buffer[]>();
  /** Ids that our end made, by connection and the id of the recording. */
  readonly #ids = new Map<string, string>();
  readonly #instances = new Set<string>();

  constructor(
    transcript: LinksocksTranscript,
    role: Role,
    parts: {
      readonly targets: PlayedTargets;
      readonly server: PlayedServer | undefined;
      readonly scope: AsyncDisposableStack;
    },
  ) {
    this.#transcript = transcript;
    this.#role = role;
    this.#targets = parts.targets;
    this.#server = parts.server;
    this.#scope = parts.scope;
  }

  async run(): Promise<Replayed> {
    if (this.#role === "server") await this.#start();
    for (const line of this.#transcript.lines) {
      const { conns } = this.#transcript;
      const side = sideOf(conns, line.conn, this.#role);
      if (side === undefined) continue;
      try {
        await this.#play(line, side);
      } catch (thrown) {
        const { number, layer, event, from, conn } = line;
        const what = `line ${number}: ${from} ${layer} ${event} on ${conn} (${conns[conn]})`;
        throw new Error(what, { cause: thrown });
      }
    }
    await settled(
      () => [...this.#links.values()].reduce((sum, it) => sum + it.heard.length, 0),
      50,
    );
    for (const [socket, parts] of this.#expected) {
      assertBytes(socket.received, parts, "all that an application or a target got");
    }
    for (const [key, parts] of this.#expectedData) {
      const [conn, channel = ""] = key.split(" ");
      const received = this.#links.get(Number(conn))?.received(channel) ?? Buffer.alloc(0);
      assertBytes(received, parts, `all the data of a channel on connection ${conn}`);
    }
    return { surplus: [...this.#links.values()].flatMap(({ heard }) => heard.map(describe)) };
  }

  async #play(line: Line, side: Side): Promise<void> {
    const isOurs = line.from === side.ours;
    switch (side.kind) {
      case "link":
        if (line.layer === "ws") await (isOurs ? this.#expectMessage(line) : this.#say(line));
        else if (isOurs) await this.#expectLink(line);
        else await this.#playLink(line);
        break;
      case "app":
        await (isOurs ? this.#expectAtSocket(line, await this.#app(line)) : this.#playApp(line));
        break;
      case "target":
        if (line.layer === "target-udp") await this.#playUdpTarget(line, isOurs);
        else if (isOurs) await this.#expectAtTarget(line);
        else this.#playSocket(line, await this.#targets.connection(line.conn));
        break;
      case "api":
        await this.#playHttp(line, isOurs);
        break;
      case "relay":
        await this.#playRelay(line, isOurs);
        break;
    }
  }

  async #start(): Promise<OurEnd> {
    const end = await startOurs(this.#transcript, this.#role, this.#server?.port);
    this.#scope.use(end);
    this.#ours.push(end);
    return end;
  }

  /** Our end opens a WebSocket: the first of a client of its own, or again. */
  async #expectLink({ event, conn, bytes }: Line): Promise<void> {
    const request = bytes.toString("latin1");
    if (event === "data" && this.#role !== "server" && request.startsWith("GET ")) {
      const [instance] = /instance=[\w-]+/.exec(request) ?? [[...this.#instances][0] ?? "first"];
      if (!this.#instances.has(instance)) await this.#start();
      this.#instances.add(instance);
      const server = this.#server;
      assert.ok(server !== undefined);
      const asked = await server.next();
      this.#asked.set(conn, asked);
      const { path } = asked;
      const [, recorded = ""] = /^GET (\S+)/.exec(request) ?? [];
      const uuid = /instance=[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}/;
      assert.equal(path.replace(uuid, "instance=?"), recorded.replace(uuid, "instance=?"));
    } else if (event === "end" && this.#role === "server") {
      const link = this.#link(conn);
      await link.until(() => (link.isClosed ? true : undefined), "our end of the WebSocket");
    }
  }

  /** Another end opens a WebSocket to our server, or ends one. */
  async #playLink({ event, conn, bytes }: Line): Promise<void> {
    const head = bytes.toString("latin1");
    if (event === "data" && this.#role === "server" && head.startsWith("GET ")) {
      const [, path = "/socket"] = /^GET (\S+)/.exec(head) ?? [];
      this.#links.set(conn, await dialLink(this.#ours[0]?.port ?? 0, path));
    } else if (event === "data" && head.startsWith("HTTP/1.1 ")) {
      const asked = this.#asked.get(conn);
      if (asked === undefined) throw new Error("ours did not ask");
      if (head.startsWith("HTTP/1.1 101")) this.#links.set(conn, asked.accept());
      else asked.refuse(Buffer.from(head.replace(/:8765/, `:${this.#server?.port}`)));
    } else if (event === "end" || event === "reset") {
      this.#links.get(conn)?.cut();
    }
  }

  async #expectMessage({ conn, bytes, opcode }: Line): Promise<void> {
    const link = this.#link(conn);
    if (opcode > TEXT_OR_BINARY) {
      // When ours pings is its own business; a ping is answered with its bytes.
      if (opcode !== PONG) return;
      const at = (): number => link.pongs.findIndex((pong) => pong.equals(bytes));
      await link.until(() => (at() < 0 ? undefined : true), "the answer to a ping");
      link.pongs.splice(at(), 1);
      return;
    }
    const recordedId = channelOf(bytes);
    if (typeOf(bytes) === Type.data && !isUdp(bytes)) {
      await this.#expectData(link, conn, bytes);
      return;
    }
    if (isNew(bytes) && recordedId !== undefined && !this.#ids.has(`${conn} ${recordedId}`)) {
      const made = await link.take((it) => typeOf(it) === typeOf(bytes), describe(bytes));
      this.#ids.set(`${conn} ${recordedId}`, channelOf(made) ?? "");
      assertBytes(made, [this.#mapped(bytes, conn)], describe(bytes));
      return;
    }
    const expected = this.#mapped(bytes, conn);
    const isPartners = typeOf(bytes) === Type.partners;
    const got = await link.take(
      // Of counts only the right one will do: ours tells more of them.
      (it) =>
        isPartners
          ? bytes.equals(it)
          : typeOf(it) === typeOf(bytes) && channelOf(it) === channelOf(expected),
      describe(bytes),
    );
    if (typeOf(bytes) === Type.disconnect) return; // its text is for people
    if (typeOf(bytes) === Type.auth) {
      // All but the instance, which is random.
      const length = bytes.byteLength - 16;
      assert.equal(got.byteLength, bytes.byteLength);
      assertBytes(got.subarray(0, length), [bytes.subarray(0, length)], "Auth");
      return;
    }
    if (failureOf(bytes) !== undefined) {
      assert.notEqual(failureOf(got), undefined, "the failure has a text, and its length");
      return;
    }
    if (typeOf(bytes) === Type.connectorResponse && GENERATED.test(tokenOf(bytes))) {
      assert.match(tokenOf(got), GENERATED, "a generated token");
      return;
    }
    // A channel id may be used again: what came of the former channel is accounted for.
    if (typeOf(bytes) === Type.connectResponse) this.#settleChannel(link, conn, channelOf(got));
    if (typeOf(bytes) === Type.authResponse) assert.equal(got, link.first, "the first message");
    const places = mapPlaces(got, (place) => this.#targets.recorded(place));
    assertBytes(places, [expected], describe(bytes));
  }

  #settleChannel(link: PlayedLink, conn: number, channel = ""): void {
    const key = `${conn} ${channel}`;
    const parts = this.#expectedData.get(key);
    if (parts === undefined) return;
    assertBytes(link.received(channel), parts, "all the data of a channel whose id is used again");
    link.data.delete(channel);
    this.#expectedData.delete(key);
  }

  async #expectData(link: PlayedLink, conn: number, bytes: Buffer): Promise<void> {
    const channel = channelOf(this.#mapped(bytes, conn)) ?? "";
    const key = `${conn} ${channel}`;
    const parts = this.#expectedData.get(key) ?? [];
    parts.push(payloadOf(bytes));
    this.#expectedData.set(key, parts);
    const expected = Buffer.concat(parts);
    const isThere = (): true | undefined =>
      link.received(channel).byteLength >= expected.byteLength ? true : undefined;
    await link.until(isThere, describe(bytes));
    assertBytes(link.received(channel).subarray(0, expected.byteLength), [expected], "data");
  }

  #say({ conn, bytes, opcode, frames }: Line): void {
    if (opcode > TEXT_OR_BINARY) {
      if (opcode !== PONG) this.#link(conn).send(bytes, { opcode });
      return;
    }
    const message = mapPlaces(this.#mapped(bytes, conn), (place) => this.#targets.here(place));
    this.#link(conn).send(message, { opcode, frames });
  }

  async #app({ conn }: Line): Promise<PlayedSocket> {
    const known = this.#apps.get(conn);
    if (known !== undefined) return known;
    const app = await PlayedSocket.connect(this.#ours.at(-1)?.socksPort ?? 0);
    this.#scope.defer(() => void app.socket.destroy());
    this.#apps.set(conn, app);
    return app;
  }

  async #playApp(line: Line): Promise<void> {
    this.#playSocket(line, await this.#app(line));
  }

  #playSocket({ event, bytes }: Line, { socket }: PlayedSocket): void {
    if (event === "data") socket.write(bytes);
    if (event === "end") socket.end();
    if (event === "reset") socket.resetAndDestroy();
  }

  async #expectAtTarget(line: Line): Promise<void> {
    if (line.event === "open") await this.#targets.accept(line.conn);
    else await this.#expectAtSocket(line, await this.#targets.connection(line.conn));
  }

  async #expectAtSocket({ event, bytes }: Line, socket: PlayedSocket): Promise<void> {
    if (event === "end") {
      await socket.until(() => (socket.isEnded ? true : undefined), "its end");
      return;
    }
    if (event !== "data") return;
    const parts = this.#expected.get(socket) ?? [];
    this.#expected.set(socket, parts);
    if (this.#targets.isRelayReply(bytes)) {
      const before = parts.reduce((sum, { byteLength }) => sum + byteLength, 0);
      const end = before + bytes.byteLength;
      await socket.until(() => (socket.received.byteLength >= end ? true : undefined), "a port");
      parts.push(socket.received.subarray(before, end));
      return;
    }
    parts.push(bytes);
    const expected = Buffer.concat(parts);
    const isThere = (): true | undefined =>
      socket.received.byteLength >= expected.byteLength ? true : undefined;
    await socket.until(isThere, `${bytes.byteLength} bytes`);
    assertBytes(socket.received.subarray(0, expected.byteLength), [expected], "bytes");
  }

  async #playUdpTarget(line: Line, isOurs: boolean): Promise<void> {
    if (isOurs) await this.#targets.expectDatagram(line);
    else await this.#targets.answer(line);
  }

  async #playHttp({ conn, http }: Line, isOurs: boolean): Promise<void> {
    if (http === undefined) return;
    if (!isOurs) {
      this.#answers.set(conn, askHttp(this.#ours[0]?.port ?? 0, http));
      return;
    }
    const answer = await this.#answers.get(conn);
    if (answer === undefined) throw new Error("nothing was asked");
    assertAnswer(answer, http);
  }

  async #playRelay(line: Line, isOurs: boolean): Promise<void> {
    const apps = [...this.#apps.values()];
    const relay = await this.#targets.relay(apps.at(-1)?.received);
    if (isOurs) await relay.expect(line.bytes);
    else relay.send(line.bytes);
  }

  #mapped(bytes: Buffer, conn: number): Buffer {
    const id = this.#ids.get(`${conn} ${channelOf(bytes)}`);
    return id === undefined ? bytes : withChannel(bytes, id);
  }

  #link(conn: number): PlayedLink {
    const link = this.#links.get(conn);
    if (link === undefined) throw new Error(`connection ${conn} was never opened`);
    return link;
  }
}

/** Whether who sends it makes up its id. */
function isNew(message: Uint8Array): boolean {
  return typeOf(message) === Type.connect || typeOf(message) === Type.connector;
}

/** The token of a ConnectorResponse that says yes. */
function tokenOf(message: Buffer): string {
  return message[18] === 1 ? message.subarray(20).toString() : "";
}

const GENERATED = /^[\da-f]{16}$/;
const TEXT_OR_BINARY = 2;
const PONG = 10;
