import { once } from "node:events";
import net from "node:net";
import WebSocket from "ws";
import { channelOf, isUdp, logText, payloadOf, Type, typeOf } from "./linksocks-wire.ts";

/** Something we play in a scenario, whose doings tests wait for. */
abstract class Played {
  readonly #looks = new Set<() => void>();

  /** Waits for what an end of ours does. */
  async until<Value>(find: () => Value | undefined, what: string): Promise<Value> {
    const found = Promise.withResolvers<Value>();
    const look = (): void => {
      const value = find();
      if (value !== undefined) found.resolve(value);
    };
    const timer = setTimeout(() => {
      found.reject(new Error(`${what}: not within ${EXPECT_MS} ms; ${this.state()}`));
    }, EXPECT_MS);
    this.#looks.add(look);
    look();
    try {
      return await found.promise;
    } finally {
      clearTimeout(timer);
      this.#looks.delete(look);
    }
  }

  protected changed(): void {
    for (const look of this.#looks) look();
  }

  protected abstract state(): string;
}

/** The other end of a WebSocket of ours. */
export class PlayedLink extends Played {
  readonly #socket: WebSocket;
  /** What ours said that nobody has asked for yet, TCP data apart. */
  readonly heard: Buffer[] = [];
  /** TCP data by channel. */
  readonly data: Map<string, Buffer[]> = new Map();
  readonly pongs: Buffer[] = [];
  /** The first message of ours, whatever it was. */
  first: Buffer | undefined;
  isClosed = false;
  closeCode: number | undefined;

  /** @param early messages that came before there was somebody to take them */
  constructor(socket: WebSocket, early: readonly Buffer[] = []) {
    super();
    this.#socket = socket;
    for (const message of early) this.#hear(message);
    socket.on("message", (message: Buffer) => {
      this.#hear(message);
      this.changed();
    });
    socket.on("pong", (bytes: Buffer) => {
      this.pongs.push(bytes);
      this.changed();
    });
    socket.on("error", () => {}); // shows as a close
    socket.on("close", (code) => {
      this.isClosed = true;
      this.closeCode = code;
      this.changed();
    });
    if (socket.readyState === WebSocket.CLOSED) this.isClosed = true;
  }

  send(bytes: Buffer, { opcode = 2, frames = 1 }: { opcode?: number; frames?: number } = {}): void {
    if (opcode === PING) this.#socket.ping(bytes);
    else if (opcode === PONG) this.#socket.pong(bytes);
    else if (opcode === CLOSE) this.#socket.close(bytes.readUInt16BE(0), bytes.subarray(2));
    else {
      const size = Math.ceil(bytes.byteLength / frames) || 1;
      for (let at = 0; at === 0 || at < bytes.byteLength; at += size) {
        const fin = at + size >= bytes.byteLength;
        this.#socket.send(bytes.subarray(at, at + size), { binary: opcode !== TEXT, fin });
      }
    }
  }

  /** Takes the oldest message that is meant. */
  async take(isMeant: (message: Buffer) => boolean, what: string): Promise<Buffer> {
    return await this.until(() => {
      const at = this.heard.findIndex(isMeant);
      return at < 0 ? undefined : this.heard.splice(at, 1)[0];
    }, what);
  }

  /** All the TCP data of a channel so far. */
  received(channel: string): Buffer {
    return Buffer.concat(this.data.get(channel) ?? []);
  }

  cut(): void {
    this.#socket.terminate();
  }

  protected state(): string {
    const heard = this.heard.map((it) => it.subarray(0, 60).toString("hex")).join(", ");
    return `heard [${heard}]${this.isClosed ? `, closed with ${this.closeCode}` : ""}`;
  }

  #hear(message: Buffer): void {
    this.first ??= message;
    // A Sluice says who it is; whoever does not know that takes it for a log line.
    if (typeOf(message) === Type.log && logText(message).includes("sluice")) return;
    const channel = channelOf(message);
    if (typeOf(message) === Type.data && !isUdp(message) && channel !== undefined) {
      const chunks = this.data.get(channel) ?? [];
      chunks.push(payloadOf(message));
      this.data.set(channel, chunks);
    } else {
      this.heard.push(message);
    }
  }
}

/** An application, or a target: the other end of a TCP connection of ours. */
export class PlayedSocket extends Played {
  readonly socket: net.Socket;
  #received = Buffer.alloc(0);
  isEnded = false;

  constructor(socket: net.Socket) {
    super();
    this.socket = socket;
    socket.on("error", () => {}); // shows as an end
    socket.on("data", (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      this.changed();
    });
    for (const event of ["end", "close"]) {
      socket.on(event, () => {
        this.isEnded = true;
        this.changed();
      });
    }
  }

  /** An application's connection to a port of ours. */
  static async connect(port: number): Promise<PlayedSocket> {
    const socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    await once(socket, "connect");
    return new PlayedSocket(socket);
  }

  get received(): Buffer {
    return this.#received;
  }

  protected state(): string {
    const shown = this.#received.subarray(0, 60).toString("hex");
    return `got ${this.#received.byteLength} bytes ${shown}${this.isEnded ? ", ended" : ""}`;
  }
}

/** A WebSocket to a server of ours, open. Its first messages are not lost. */
export async function dialLink(port: number, path: string): Promise<PlayedLink> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, { perMessageDeflate: false });
  const early: Buffer[] = [];
  const keep = (message: Buffer): void => void early.push(message);
  socket.on("message", keep);
  await once(socket, "open");
  socket.off("message", keep);
  return new PlayedLink(socket, early);
}

const TEXT = 1;
const CLOSE = 8;
const PING = 9;
const PONG = 10;

/** Longer than whatever ours waits for before it acts, in these scenarios. */
const EXPECT_MS = 8_000;
