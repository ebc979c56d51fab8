import http from "node:http";
import https from "node:https";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import tls from "node:tls";
import type { Dispatcher } from "undici";
import { ConfigError } from "../errors.ts";
import type { SocketLike } from "./socket-like.ts";

/** Opens a stream to a host and port: `Tunnel.open`. */
export type OpenStream = (target: {
  readonly host: string;
  readonly port: number;
}) => Promise<SocketLike>;

type Created = (error: Error | null, stream?: Duplex) => void;

/** An agent for `node:http` whose connections are streams of a tunnel. */
export function createHttpAgent(open: OpenStream, options: http.AgentOptions = {}): http.Agent {
  const agent = new http.Agent({ keepAlive: true, timeout: IDLE_TIMEOUT_MS, ...options });
  const createConnection = ({ host, port }: ConnectTo, onCreated: Created): undefined => {
    settle(open({ host: host ?? "localhost", port: Number(port ?? 80) }), onCreated);
  };
  return Object.assign(agent, { createConnection });
}

/** An agent for `node:https`: TLS to the target itself, inside streams of a tunnel. */
export function createHttpsAgent(open: OpenStream, options: https.AgentOptions = {}): https.Agent {
  const agent = new https.Agent({ keepAlive: true, timeout: IDLE_TIMEOUT_MS, ...options });
  const createConnection = (to: SecureTo, onCreated: Created): undefined => {
    settle(openTls(open, to), onCreated);
  };
  return Object.assign(agent, { createConnection });
}

/**
 * A dispatcher for `fetch` and undici.
 *
 * @throws ConfigError when the package `undici` is not installed
 */
export async function createDispatcher(open: OpenStream): Promise<Dispatcher> {
  const { Agent } = await import("undici").catch((cause: unknown) => {
    throw new ConfigError("a dispatcher needs the package undici", {
      cause,
      hint: "npm install undici",
    });
  });
  return new Agent({
    connect: ({ hostname, port, protocol, servername }, onCreated) => {
      const isTls = protocol === "https:";
      const to = { host: hostname, port: port === "" ? (isTls ? 443 : 80) : Number(port) };
      const opened = isTls
        ? openTls(open, { ...to, servername: servername ?? hostname, ALPNProtocols: ["http/1.1"] })
        : open(to);
      settle(opened, (error, stream) => {
        if (error !== null || stream === undefined) onCreated(error ?? new Error("none"), null);
        // oxlint-disable-next-line typescript/consistent-type-assertions -- the types name a socket; what undici uses of it every duplex has
        else onCreated(null, stream as Socket);
      });
    },
  });
}

interface ConnectTo {
  readonly host?: string | undefined;
  readonly port?: string | number | undefined;
}

type SecureTo = ConnectTo & Omit<tls.ConnectionOptions, keyof ConnectTo | "path">;

async function openTls(open: OpenStream, to: SecureTo): Promise<Duplex> {
  const { host = "localhost", port = 443 } = to;
  const stream = endWithPeer(await open({ host, port: Number(port) }));
  return await new Promise((resolve, reject) => {
    const options = { ...to, host, port: Number(port), path: undefined, socket: stream };
    const secured = tls.connect(options);
    secured.once("error", reject).once("secureConnect", () => {
      secured.off("error", reject);
      resolve(secured);
    });
  });
}

function settle(opened: Promise<Duplex>, onCreated: Created): void {
  opened.then(
    (stream) => onCreated(null, endWithPeer(stream)),
    (error: Error) => onCreated(error),
  );
}

/** As sockets do without half-open: an idle connection the target ended must not be used again. */
function endWithPeer<Stream extends Duplex>(stream: Stream): Stream {
  stream.allowHalfOpen = false;
  return stream;
}

/** How long an idle connection is kept for the next request. */
const IDLE_TIMEOUT_MS = 30_000;
