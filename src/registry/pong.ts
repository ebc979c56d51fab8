import { parseClientId } from "../config/client-id.ts";
import type { ServeConfig } from "../config/config.ts";
import type { TunnelUrl } from "../config/tunnel-url.ts";
import { ConfigError } from "../errors.ts";
import { PongClient } from "../protocols/pong/client.ts";
import type { PongOptions } from "../protocols/pong/options.ts";
import { PongServer, type PongServerClient } from "../protocols/pong/server.ts";
import { createDialer } from "./dialers.ts";
import { createLoginGuard } from "./login-guard.ts";
import { type Secrets, whose } from "./secrets.ts";
import type { TunnelSystem } from "./system.ts";

/** pong: `connect` is its local, `serve` its remote. */
export const pong: TunnelSystem = {
  async connect({ url, retry, wait }, { name, runtime, logger, secrets }, hooks) {
    if (url.credential === undefined) {
      throw new ConfigError(`${name}: the URL has no client id`, {
        hint: "write it before the host: pong+tls://UUID@host:443, or env:NAME@host:443",
      });
    }
    const clientId = parseClientId(await secrets.line(url.credential, whose("client id", url)));
    const { options } = url;
    return new PongClient({
      name,
      runtime,
      logger,
      clientId,
      dialer: await createDialer(url, runtime, secrets),
      session: sessionOptions(url),
      slowReaders: { mode: options.slow ?? "reset" },
      onStatus: (status) => hooks.onStatus(status),
      pool: {
        waitMs: wait,
        backoff: { minMs: retry.min, maxMs: retry.max },
        ...(options.streams === undefined ? {} : { maxStreams: options.streams }),
        ...(options.spare === undefined ? {} : { spare: options.spare }),
        ...(options.idle === undefined ? {} : { idleMs: options.idle }),
        ...(options.maxage === undefined ? {} : { maxAgeMs: options.maxage }),
      },
    });
  },

  async serve(config, { name, runtime, logger, secrets }, { onRequest }) {
    const clients = await readClients(config, secrets);
    return new PongServer({
      name,
      clients: config.anonymous ? undefined : clients,
      onRequest,
      runtime,
      logger,
      options: sessionOptions(config.url),
      slowReaders: { mode: config.url.options.slow ?? "reset" },
      guard: createLoginGuard(runtime.clock),
    });
  },
};

/** The named clients, and the one a credential in the URL stands for. */
async function readClients(config: ServeConfig, secrets: Secrets): Promise<PongServerClient[]> {
  const { url, clients } = config;
  const found: PongServerClient[] = [];
  for (const [name, { id }] of Object.entries(clients)) {
    found.push({ name, id: parseClientId(await secrets.line(id, `client "${name}"`)) });
  }
  if (url.credential !== undefined) {
    const id = parseClientId(await secrets.line(url.credential, whose("client id", url)));
    found.push({ name: "default", id });
  }
  if (found.length === 0 && !config.anonymous) {
    throw new ConfigError(`${url.system} would let nobody in: no client is configured`, {
      hint: "name one with --client alice=UUID, or let everybody in with --anonymous",
    });
  }
  return found;
}

function sessionOptions({ options }: TunnelUrl): Partial<PongOptions> {
  const { ext, peer, keepalive, hold } = options;
  return {
    ...(ext === undefined ? {} : { extensions: ext }),
    ...(peer === undefined ? {} : { peer }),
    ...(keepalive === undefined ? {} : { keepaliveMs: keepalive }),
    ...(hold === undefined ? {} : { holdMs: hold }),
  };
}
