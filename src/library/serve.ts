import { EventEmitter } from "node:events";
import { type App, startApp } from "../app.ts";
import { parseConfig } from "../config/parse-config.ts";
import { NetworkError } from "../errors.ts";
import type { StreamEvent } from "../relay/relay.ts";
import type { Logger } from "../tunnel/logger.ts";
import type { Runtime } from "../tunnel/runtime.ts";

/** Options of {@link serve}: an entry of `serve` in the configuration file, and what runs it. */
export interface ServeOptions {
  /** Name to credential: a pong client id, `env:NAME`, `file:PATH`, `cmd:…`. */
  readonly clients?: Readonly<Record<string, string>> | undefined;
  /** LinkSocks: who dials for others, name to token or to `{ token, autonomy }`. */
  readonly providers?:
    | Readonly<Record<string, string | { readonly token: string; readonly autonomy?: boolean }>>
    | undefined;
  /** LinkSocks: whose targets a provider dials, by name. */
  readonly connectors?:
    | Readonly<Record<string, { readonly token: string; readonly provider: string }>>
    | undefined;
  /** LinkSocks: the HTTP API that manages tokens, and where the ports it opens are bound. */
  readonly api?: string | { readonly key: string; readonly bind?: string } | undefined;
  /** Lets everybody in. @default false */
  readonly anonymous?: boolean | undefined;
  /** Our certificate and key: PEM, `file:PATH`, or a path. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  /** Opens targets that are denied by default: `127.0.0.1:8080`. */
  readonly allow?: readonly string[] | undefined;
  readonly deny?: readonly string[] | undefined;
  /** @default silent */
  readonly logger?: Logger | undefined;
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  readonly runtime?: Runtime | undefined;
}

/** What a {@link Server} reports through its `events`. */
export interface ServerEvents {
  /** A client's stream opened or closed. */
  stream: [event: StreamEvent];
}

/** The listening end of a tunnel, dialling targets for its clients. */
export interface Server extends AsyncDisposable {
  readonly events: EventEmitter<ServerEvents>;
  /** Where it listens: `host:port` and path, with the port the system chose. */
  readonly address: string;
  streams(): ReturnType<App["streams"]>;
  /** Stops accepting, lets streams finish for `graceMs`, closes. @default 0 */
  close(graceMs?: number): Promise<void>;
}

/**
 * Listens for the peers of a tunnel.
 *
 * @throws ConfigError when the URL or an option is wrong, nobody could connect, or the address is
 *   taken
 */
export async function serve(url: string, options: ServeOptions = {}): Promise<Server> {
  const { logger, env, runtime, ...entry } = options;
  const events = new EventEmitter<ServerEvents>();
  const app = await startApp(parseConfig({ serve: [{ url, ...withoutUndefined(entry) }] }), {
    logger,
    env,
    runtime,
    onStream: (event) => void events.emit("stream", event),
  });
  const [listener] = app.listeners;
  if (listener === undefined) throw new NetworkError("ERR_LISTEN", "nothing listens");
  const close = async (graceMs = 0): Promise<void> => await app.close(graceMs);
  return {
    events,
    address: listener.address,
    streams: () => app.streams(),
    close,
    [Symbol.asyncDispose]: close,
  };
}

function withoutUndefined(entry: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(entry).filter(([, value]) => value !== undefined));
}
