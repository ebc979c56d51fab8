import { createHash, randomUUID } from "node:crypto";
import type { RetryConfig } from "../config/config.ts";
import type { TunnelUrl } from "../config/tunnel-url.ts";
import { ConfigError } from "../errors.ts";
import { LinkSocksClient } from "../protocols/linksocks/client.ts";
import { LinkSocksProvider } from "../protocols/linksocks/provider.ts";
import type { LinkSocksDialOptions } from "../protocols/linksocks/threads.ts";
import type { Connection } from "../tunnel/connection.ts";
import { createDialer } from "./dialers.ts";
import { type Secrets, whose } from "./secrets.ts";
import type { ConnectHooks, SystemContext, TunnelSystem } from "./system.ts";

/** Dials as a forward client or as a connector: the token says which. */
export const connectLinkSocks: NonNullable<TunnelSystem["connect"]> = async (
  config,
  context,
  hooks,
) => {
  const options = await dialOptions(config, context, { hooks, isReverse: false });
  return new LinkSocksClient({ ...options, waitMs: config.wait });
};

/** Dials as a provider. */
export const provideLinkSocks: NonNullable<TunnelSystem["provide"]> = async (
  config,
  context,
  { hooks, takers },
) => {
  const options = await dialOptions(config, context, { hooks, isReverse: true });
  const { url } = config;
  const connectors = await Promise.all(
    (url.options.connector ?? []).map((token) =>
      context.secrets.line(token, whose("connector token", url)),
    ),
  );
  return new LinkSocksProvider({ ...options, ...takers, connectors });
};

/**
 * What a client or provider of LinkSocks dials with. On the path `/socket` the URL carries the
 * token's hash; on any other the first message carries the token.
 *
 * @throws ConfigError when the token is missing or cannot be had
 */
async function dialOptions(
  { url, retry }: { readonly url: TunnelUrl; readonly retry: RetryConfig },
  { name, runtime, logger, secrets }: SystemContext,
  { hooks, isReverse }: { readonly hooks: ConnectHooks; readonly isReverse: boolean },
): Promise<LinkSocksDialOptions> {
  const { options } = url;
  const token = await readToken(url, secrets);
  const instance = randomUUID();
  const path = url.path === "" || url.path === "/" ? "/socket" : url.path;
  const isInUrl = path === "/socket";
  const hash = createHash("sha256")
    .update(token ?? ANONYMOUS)
    .digest("hex");
  const query = `?instance=${instance}&reverse=${isReverse}&token=${hash}`;
  const websocket = {
    framing: "messages",
    path: isInUrl ? `${path}${query}` : path,
    maxRedirects: MAX_REDIRECTS,
    // The reference counts pongs alone as life, and only those it gets.
    pongMs: isReverse ? PONG_MS : undefined,
  } as const;
  const places = [{ host: url.host, port: url.port }, ...(options.failover ?? [])];
  const dialers = await Promise.all(
    places.map((place) => createDialer({ ...url, ...place }, runtime, secrets, websocket)),
  );
  const dial = async (signal: AbortSignal): Promise<Connection> => {
    for (const dialer of dialers.slice(0, -1)) {
      try {
        return await dialer.dial({ signal });
      } catch (thrown) {
        signal.throwIfAborted();
        const reason = thrown instanceof Error ? thrown.message : String(thrown);
        logger.warn("server not reached, trying the next", { tunnel: name, reason });
      }
    }
    const last = dialers.at(-1);
    if (last === undefined) throw new ConfigError(`${name}: no server`);
    return await last.dial({ signal });
  };
  return {
    name,
    runtime,
    logger,
    dial,
    // A server that swallows everything must not eat up the time of those behind it.
    dialTimeoutMs: places.length * SERVER_MS,
    login: {
      hasToken: token !== undefined,
      auth: isInUrl ? undefined : { token: token ?? ANONYMOUS, isReverse, instance },
    },
    threads: options.threads,
    session: {
      // The reference's server never says that a connector left: some of these nobody uses any more.
      ...(isReverse && { maxStreams: PROVIDER_STREAMS }),
      ...(options.ext === undefined ? {} : { extensions: options.ext }),
      ...(options.fastopen === undefined ? {} : { fastOpen: options.fastopen }),
      ...(options.gzip === undefined ? {} : { compressFromBytes: options.gzip }),
    },
    slowReaders: { mode: options.slow ?? "reset" },
    backoff: { minMs: retry.min, maxMs: retry.max },
    retryAuth: options.retryauth,
    onStatus: (status) => hooks.onStatus(status),
    onRefused: (error) => hooks.onRefused(error),
  };
}

async function readToken(url: TunnelUrl, secrets: Secrets): Promise<string | undefined> {
  if (url.credential === undefined) return undefined;
  const token = await secrets.line(url.credential, whose("token", url));
  if (Buffer.byteLength(token) <= MAX_TOKEN_BYTES) return token;
  throw new ConfigError(`the token is longer than ${MAX_TOKEN_BYTES} bytes`);
}

/** What the reference says when it was given no token. */
const ANONYMOUS = "anonymous";

const MAX_TOKEN_BYTES = 255;
const PROVIDER_STREAMS = 16_384;
const SERVER_MS = 15_000;
const MAX_REDIRECTS = 5;
const PONG_MS = 25_000;
