import { readFile } from "node:fs/promises";
import type { ServeConfig } from "../config/config.ts";
import { Secret } from "../config/secret.ts";
import { ConfigError } from "../errors.ts";
import { LinkSocksServer, type LinkSocksServerOptions } from "../protocols/linksocks/server.ts";
import type { ProxyPort, ProxyPortWish } from "../protocols/linksocks/server-api.ts";
import { createLoginGuard } from "./login-guard.ts";
import { type Secrets, whose } from "./secrets.ts";
import type { FedTunnel, ServeHooks, TunnelSystem } from "./system.ts";

/** Listens for forward clients, providers and connectors. */
export const serveLinkSocks: NonNullable<TunnelSystem["serve"]> = async (
  config,
  { name, runtime, logger, secrets },
  hooks,
) => {
  const { url, anonymous } = config;
  const { options } = url;
  const server = new LinkSocksServer({
    name,
    runtime,
    logger,
    anonymous,
    path: url.path === "" ? undefined : url.path,
    wallTime: () => new Date(),
    ...(await readTokens(config, secrets)),
    onRequest: hooks.onRequest,
    onPacketRequest: hooks.onPacketRequest,
    outbounds: {
      add: (outbound) => hooks.addOutbound(outbound),
      remove: (outbound) => hooks.removeOutbound(outbound),
    },
    api: await readApi(config, secrets, hooks),
    options: {
      ...(options.ext === undefined ? {} : { extensions: options.ext }),
      ...(options.gzip === undefined ? {} : { compressFromBytes: options.gzip }),
    },
    slowReaders: { mode: options.slow ?? "reset" },
    direct: options.direct,
    waitMs: options.wait,
    balance: options.balance,
    guard: createLoginGuard(runtime.clock),
  });
  const served: FedTunnel = {
    accept: (connection, path) => server.accept(connection, path),
    web: {
      isSocket: (path) => server.isSocket(path),
      answer: async (question) => await server.answer(question),
    },
    close: async (graceMs) => await server.close(graceMs),
  };
  return served;
};

/** Every token of the entry; a credential in the URL is that of a client. */
async function readTokens(
  { url, clients, providers = {}, connectors = {}, anonymous, api }: ServeConfig,
  secrets: Secrets,
): Promise<Pick<LinkSocksServerOptions, "clients" | "providers" | "connectors">> {
  const found = {
    clients: await Promise.all(
      Object.entries(clients).map(async ([name, { id }]) => ({
        name,
        token: await secrets.line(id, `client "${name}"`),
      })),
    ),
    providers: await Promise.all(
      Object.entries(providers).map(async ([name, { token, autonomy }]) => ({
        name,
        autonomy,
        token: await secrets.line(token, `provider "${name}"`),
      })),
    ),
    connectors: await Promise.all(
      Object.entries(connectors).map(async ([name, { token, provider }]) => ({
        name,
        provider,
        token: await secrets.line(token, `connector "${name}"`),
      })),
    ),
  };
  if (url.credential !== undefined) {
    const token = await secrets.line(url.credential, whose("token", url));
    found.clients.push({ name: "default", token });
  }
  const count = found.clients.length + found.providers.length + found.connectors.length;
  if (count === 0 && api === undefined && !anonymous) {
    throw new ConfigError(`${url.system} would let nobody in: no token is configured`, {
      hint: "name one with --client alice=TOKEN or --provider office=TOKEN",
    });
  }
  return found;
}

async function readApi(
  { url, api }: ServeConfig,
  secrets: Secrets,
  hooks: ServeHooks,
): Promise<LinkSocksServerOptions["api"]> {
  if (api === undefined) return undefined;
  return {
    key: await secrets.line(api.key, whose("API key", url)),
    version: await readVersion(),
    openPort: async (wish) => await openPort(wish, api.bind, hooks),
  };
}

async function openPort(
  { port, login, via }: ProxyPortWish,
  host: string,
  hooks: ServeHooks,
): Promise<ProxyPort> {
  const listener = await hooks.openProxy({
    kind: "socks",
    name: `socks of ${via}`,
    listen: { host, port },
    users:
      login === undefined
        ? {}
        : { [login.user]: { kind: "literal", secret: new Secret(login.password) } },
    via,
  });
  return {
    port: Number(/\d+$/.exec(listener.address)?.[0]),
    close: async () => await listener.close(),
  };
}

async function readVersion(): Promise<string> {
  // Two folders up from here, both in `src` and in `dist`.
  const text = await readFile(new URL("../../package.json", import.meta.url), "utf8");
  const { version }: { version?: unknown } = { ...Object(JSON.parse(text)) };
  return `sluice v${String(version)}`;
}
