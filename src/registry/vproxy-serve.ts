import { lookup } from "node:dns/promises";
import type { ServeConfig } from "../config/config.ts";
import { toTunnelError } from "../errors.ts";
import { TunnelServer } from "../protocols/vproxy/tunnel/tunnel-server.ts";
import { VproxyServer } from "../protocols/vproxy/websocks/server.ts";
import type { WebOptions } from "../protocols/vproxy/websocks/web.ts";
import { type TlsAcceptor, tlsAcceptor } from "../transports/tls/accept.ts";
import type { Connection } from "../tunnel/connection.ts";
import { RenamedConnection } from "../tunnel/renamed-connection.ts";
import { tunnelTuning } from "./kcp.ts";
import { createLoginGuard } from "./login-guard.ts";
import type { FedTunnel, SystemContext, TunnelSystem } from "./system.ts";
import { readServerTls } from "./tls-settings.ts";
import { readUsers } from "./vproxy-login.ts";
import { openWebFiles } from "./web-files.ts";

/** Listens for agents. */
export const serveVproxy: NonNullable<TunnelSystem["serve"]> = async (
  config,
  context,
  { onRequest },
) => {
  const { name, runtime, logger, secrets } = context;
  const { transport } = config.url;
  const server = new VproxyServer({
    name,
    users: await readUsers(config, secrets),
    onRequest,
    runtime,
    logger,
    unixMs: () => new Date().getTime(),
    guard: createLoginGuard(runtime.clock),
    web: await webOptions(config),
  });
  if (transport === "tcp" || transport === "tls") {
    const direct: FedTunnel = {
      accept: (connection) => server.accept(connection),
      close: async (graceMs) => await server.close(graceMs),
    };
    return direct;
  }
  const tls =
    transport === "kcp+tls"
      ? tlsAcceptor({ runtime, tls: await readServerTls(config, secrets) })
      : undefined;
  return serveTunnels(config, context, { server, tls });
};

/** Takes KCP sessions: each is a tunnel, and each of its streams an agent's connection. */
function serveTunnels(
  { url }: ServeConfig,
  { runtime, logger }: SystemContext,
  { server, tls }: { readonly server: VproxyServer; readonly tls: TlsAcceptor | undefined },
): FedTunnel {
  const { host, port, options } = url;
  const accept = (connection: Connection): void => {
    if (tls === undefined) {
      server.accept(connection);
      return;
    }
    const { peer } = connection.info;
    tls.accept(connection).then(
      (secured) => server.accept(secured),
      (thrown: unknown) => {
        const { message: reason } = toTunnelError(thrown, "ERR_TLS", peer);
        logger.warn("connection refused", { peer, phase: "tls handshake", reason });
      },
    );
  };
  const tunnels = new TunnelServer({
    runtime,
    logger,
    system: "kcp",
    target: { network: "tcp", host, port },
    tunnel: tunnelTuning(options),
    slowReaders: { mode: options.slow ?? "reset" },
    onStream: ({ stream, link, source }) => {
      link.accept(stream);
      // A stream's own ends are those of its tunnel's far side.
      const info = { transport: "kcp", local: link.info.local, peer: source };
      accept(new RenamedConnection(stream, info));
    },
  });
  return {
    accept: (connection) => tunnels.accept(connection),
    close: async (graceMs) => {
      await server.close(graceMs);
      await tunnels.close(0);
    },
  };
}

async function webOptions({ url }: ServeConfig): Promise<WebOptions> {
  const { webroot, resolve = "users" } = url.options;
  return {
    ...(webroot === undefined ? {} : { files: await openWebFiles(webroot) }),
    ...(resolve === "off" ? {} : { resolve: resolveName }),
    isResolveOpen: resolve === "anybody",
  };
}

async function resolveName(host: string): Promise<readonly string[]> {
  return (await lookup(host, { all: true })).map(({ address }) => address);
}
