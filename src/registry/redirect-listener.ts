import { serveName } from "../config/references.ts";
import type { ServeConfig } from "../config/config.ts";
import { readHead } from "../protocols/vproxy/websocks/http-head.ts";
import { closeWith } from "../protocols/vproxy/websocks/send-page.ts";
import { redirectPage } from "../protocols/vproxy/websocks/web.ts";
import { listenTcp } from "../transports/tcp/listen.ts";
import type { Listener } from "../tunnel/connection.ts";
import { Handshakes, peekFirstByte } from "../tunnel/handshakes.ts";
import type { Logger } from "../tunnel/logger.ts";
import type { Runtime } from "../tunnel/runtime.ts";

/**
 * Listens where browsers come that know nothing of TLS, and sends them on.
 *
 * @param port of the tunnel, where they are sent
 * @throws ConfigError when the address is not to be had
 */
export async function listenForRedirects(
  config: ServeConfig,
  { runtime, logger, port }: { runtime: Runtime; logger: Logger; port: number },
): Promise<Listener | undefined> {
  const { url } = config;
  const { redirect, domain } = url.options;
  if (redirect === undefined) return undefined;
  const handshakes = new Handshakes("redirect", { name: serveName(config), runtime, logger });
  return await listenTcp({ runtime, at: { host: url.host, port: redirect } }, (connection) => {
    handshakes.serve(connection, async (read) => {
      await read("first byte", peekFirstByte);
      const head = await read("request", readHead);
      closeWith(connection, redirectPage(head, { domain, port }), new Date().getTime());
    });
  });
}
