import { EventEmitter } from "node:events";
import { startApp } from "../app.ts";
import { parseConfig } from "../config/parse-config.ts";
import type { TunnelError } from "../errors.ts";
import type { TunnelState } from "../registry/system.ts";
import type { StreamEvent } from "../relay/relay.ts";
import type { Logger } from "../tunnel/logger.ts";
import type { Runtime } from "../tunnel/runtime.ts";

/** Options of {@link provide}: an entry of `provide` in the configuration file, and what runs it. */
export interface ProvideOptions {
  /** Opens targets that are denied by default: `127.0.0.1:8080`. */
  readonly allow?: readonly string[] | undefined;
  readonly deny?: readonly string[] | undefined;
  /** @default silent */
  readonly logger?: Logger | undefined;
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
  readonly runtime?: Runtime | undefined;
}

/** What a {@link Provider} reports through its `events`. */
export interface ProviderEvents {
  /** The tunnel came up, went down, or waits to try again. */
  status: [state: TunnelState];
  /** The peer refused us for good. */
  refused: [error: TunnelError];
  /** A stream of the far side opened or closed. */
  stream: [event: StreamEvent];
}

/** A dialled tunnel that lends our network to the far side. */
export interface Provider extends AsyncDisposable {
  readonly events: EventEmitter<ProviderEvents>;
  status(): TunnelState | undefined;
  /** Takes nothing more, lets streams finish for `graceMs`, closes. @default 0 */
  close(graceMs?: number): Promise<void>;
}

/**
 * Dials a tunnel, keeps it up, and dials the targets the far side asks for.
 *
 * @throws ConfigError when the URL or an option is wrong, or its system has no such role
 */
export async function provide(url: string, options: ProvideOptions = {}): Promise<Provider> {
  const { logger, env, runtime, allow = [], deny = [] } = options;
  const events = new EventEmitter<ProviderEvents>();
  const config = parseConfig({ provide: { [NAME]: { url, allow, deny } } });
  const app = await startApp(config, {
    logger,
    env,
    runtime,
    onStream: (event) => void events.emit("stream", event),
    onTunnel: (state) => void events.emit("status", state),
  });
  void app.refused.then((error) => events.emit("refused", error));
  const close = async (graceMs = 0): Promise<void> => await app.close(graceMs);
  return {
    events,
    status: () => app.tunnels()[0],
    close,
    [Symbol.asyncDispose]: close,
  };
}

const NAME = "provider";
