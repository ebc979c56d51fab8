import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import { createHttpInbound, type HttpInboundOptions } from "../../src/inbound/http/inbound.ts";
import { createMixedInbound } from "../../src/inbound/mixed/inbound.ts";
import { createSocks4Inbound } from "../../src/inbound/socks4/inbound.ts";
import { createSocks5Inbound } from "../../src/inbound/socks5/inbound.ts";
import { listenTcp } from "../../src/transports/tcp/listen.ts";
import { Logins } from "../../src/tunnel/logins.ts";
import type { OnRequest, Request } from "../../src/tunnel/request.ts";
import { systemRuntime } from "../../src/tunnel/runtime.ts";
import { directDial } from "./direct-dial.ts";
import { type LogLine, recordingLogger } from "./test-client.ts";

/** A listening proxy that dials directly, and what it saw. */
export interface ProxyPort extends AsyncDisposable {
  readonly port: number;
  readonly requests: Request[];
  readonly lines: LogLine[];
}

/** Options of {@link openProxyPort}. */
export interface ProxyPortOptions extends Partial<Omit<HttpInboundOptions, "logins">> {
  readonly users?: Readonly<Record<string, string>> | undefined;
}

/** SOCKS5, SOCKS4 and HTTP on one loopback port, as an application would put them together. */
export async function openProxyPort({
  users,
  runtime = systemRuntime(),
  onRequest,
  ...others
}: ProxyPortOptions = {}): Promise<ProxyPort> {
  const { logger, lines } = recordingLogger();
  const requests: Request[] = [];
  const ask: OnRequest =
    onRequest === undefined
      ? directDial(runtime, requests)
      : (request) => {
          requests.push(request);
          onRequest(request);
        };
  const guard = { blockedForMs: () => 0, recordFailure: () => {} };
  const logins = users && new Logins({ users: new Map(Object.entries(users)), guard });
  const options = { name: "proxy test", logger, runtime, logins, onRequest: ask, ...others };
  const handlers = {
    socks5: createSocks5Inbound(options),
    socks4: createSocks4Inbound(options),
    http: createHttpInbound(options),
  };
  const at = { host: "127.0.0.1", port: 0 };
  const listener = await listenTcp(
    { runtime: systemRuntime(), at },
    createMixedInbound(handlers, options),
  );
  return {
    port: Number(listener.address.split(":")[1]),
    requests,
    lines,
    [Symbol.asyncDispose]: async () => await listener.close(),
  };
}

/** A server on loopback that ends with its scope, connections and all. */
export interface Origin extends AsyncDisposable {
  readonly port: number;
  /** Connections it accepted so far. */
  readonly accepted: number;
}

/** Serves HTTP on loopback. */
export async function openHttpOrigin(
  handler: http.RequestListener,
  prepare: (server: http.Server) => void = () => {},
): Promise<Origin> {
  const server = http.createServer(handler);
  prepare(server);
  return await open(server);
}

/** Serves raw TCP on loopback; sockets may be half-open. */
export async function openTcpOrigin(onSocket: (socket: net.Socket) => void): Promise<Origin> {
  return await open(net.createServer({ allowHalfOpen: true }, onSocket));
}

async function open(server: net.Server): Promise<Origin> {
  const sockets = new Set<net.Socket>();
  let accepted = 0;
  server.on("connection", (socket: net.Socket) => {
    accepted++;
    sockets.add(socket);
    socket.on("error", () => {}); // resets are what many tests are about
    socket.once("close", () => sockets.delete(socket));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    get accepted() {
      return accepted;
    },
    [Symbol.asyncDispose]: async () => {
      server.close();
      for (const socket of sockets) socket.destroy();
      if (server.listening) await once(server, "close");
    },
  };
}
