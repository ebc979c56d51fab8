import { once } from "node:events";
import http from "node:http";
import type { Duplex } from "node:stream";
import { WebSocketServer } from "ws";
import { portOf } from "../support/sluice-process.ts";
import { PlayedLink } from "./linksocks-peers.ts";

/** One request of ours for a WebSocket, not answered yet. */
export interface Asked {
  /** Path and query. */
  readonly path: string;
  /** Says yes. */
  accept(): PlayedLink;
  /** Gives another answer, bytes of HTTP, and ends. */
  refuse(response: Uint8Array): void;
}

/** Listens in the place of a recorded server. */
export class PlayedServer implements AsyncDisposable {
  readonly #server: http.Server;
  readonly #sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });
  readonly #asked: Asked[] = [];
  readonly #upgraded = new Set<Duplex>();
  #waiting: ((asked: Asked) => void) | undefined;

  private constructor() {
    this.#server = http.createServer((_request, response) => response.writeHead(404).end());
    this.#server.on("upgrade", (request, socket, head) => {
      this.#upgraded.add(socket);
      this.#ask({
        path: request.url ?? "",
        accept: () => {
          const opened: PlayedLink[] = [];
          // Without extensions and verification it calls back at once.
          this.#sockets.handleUpgrade(request, socket, head, (ws) => {
            opened.push(new PlayedLink(ws));
          });
          const [link] = opened;
          if (link === undefined) throw new Error("the upgrade failed");
          return link;
        },
        refuse: (response) => void socket.end(response),
      });
    });
  }

  static async listen(): Promise<PlayedServer> {
    const server = new PlayedServer();
    server.#server.listen(0, "127.0.0.1");
    await once(server.#server, "listening");
    return server;
  }

  get port(): number {
    return portOf(this.#server);
  }

  /** The next request, in the order they came. */
  async next(): Promise<Asked> {
    const asked = this.#asked.shift();
    if (asked !== undefined) return asked;
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("ours opened no WebSocket")), OPEN_MS);
      this.#waiting = (next) => {
        clearTimeout(timer);
        resolve(next);
      };
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#upgraded) socket.destroy();
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  #ask(asked: Asked): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting === undefined) this.#asked.push(asked);
    else waiting(asked);
  }
}

/** Longer than ours waits before it dials again. */
const OPEN_MS = 8_000;
