import type { IncomingMessage } from "node:http";
import { type Duplex, finished } from "node:stream";
import { formatHostPort } from "../../address/target.ts";
import { toTunnelError, type TunnelError } from "../../errors.ts";
import { encodeAnswer, encodeHead, failureAnswer } from "./answer.ts";
import { type ExchangeOptions, openOriginRequest, originErrorCode } from "./exchange.ts";
import { clientResponseHeaders, endToEndHeaders, headerValue } from "./headers.ts";
import type { HttpClient } from "./http-client.ts";

/** An upgrade: what the client asks, and what it sent behind it. */
export interface UpgradeOptions extends ExchangeOptions {
  readonly client: HttpClient;
  readonly head: Uint8Array;
}

/** Whether a request asks to go on as a WebSocket. Other upgrades are declined by ignoring them. */
export function asksForWebSocket({ headers }: IncomingMessage): boolean {
  return /^\s*websocket\s*$/i.test(headers.upgrade ?? "");
}

/** Passes a WebSocket handshake on; when the origin agrees, both go on talking through us. */
export function upgrade(request: IncomingMessage, options: UpgradeOptions): void {
  const { client, target, head } = options;
  const { duplex } = client;
  const fail = (error: TunnelError): void => {
    if (duplex.destroyed) return;
    options.onFailed(error);
    const what = `opening ${formatHostPort(target.host, target.port)}`;
    client.hangUp(encodeAnswer(failureAnswer(what, error)));
  };
  const agreed = upgradeFields(headerValue(request.rawHeaders, "upgrade"));
  let hasResponse = false;
  try {
    const outgoing = openOriginRequest(request, options, agreed);
    outgoing.on("upgrade", (incoming, origin, originHead) => {
      hasResponse = true;
      const fields = upgradeFields(headerValue(incoming.rawHeaders, "upgrade"));
      const headers = [...endToEndHeaders(incoming.rawHeaders), ...fields];
      duplex.write(encodeHead(101, incoming.statusMessage ?? "Switching Protocols", headers));
      if (originHead.byteLength > 0) duplex.write(originHead);
      if (head.byteLength > 0) origin.write(head);
      join(duplex, origin);
    });
    outgoing.on("response", (incoming) => {
      hasResponse = true;
      decline(incoming, client);
    });
    outgoing.on("error", (cause) => {
      if (!hasResponse) fail(toTunnelError(cause, originErrorCode(cause), "origin"));
    });
    outgoing.end();
  } catch (thrown) {
    fail(toTunnelError(thrown, "ERR_PROTOCOL", "request"));
  }
}

/** The origin answered in plain HTTP: its answer is the last thing on this connection. */
function decline(incoming: IncomingMessage, client: HttpClient): void {
  const { duplex } = client;
  const headers = [...clientResponseHeaders(incoming.rawHeaders), "Connection", "close"];
  duplex.write(encodeHead(incoming.statusCode ?? 502, incoming.statusMessage ?? "", headers));
  incoming.on("error", (cause) => duplex.destroy(cause));
  incoming.once("end", () => client.hangUp());
  incoming.pipe(duplex, { end: false });
  duplex.resume();
}

/** Bytes and ends go both ways; what breaks on one side breaks the other. */
function join(client: Duplex, origin: Duplex): void {
  for (const [from, to] of [
    [client, origin],
    [origin, client],
  ] as const) {
    from.pipe(to);
    finished(from, (error) => {
      if (error) to.destroy(error);
    });
  }
}

function upgradeFields(protocol: string | undefined): string[] {
  return ["Connection", "Upgrade", "Upgrade", protocol ?? "websocket"];
}
