import type { Agent, IncomingMessage } from "node:http";
import { type Duplex, finished } from "node:stream";
import { toTunnelError, type TunnelError } from "../../../errors.ts";
import type { Runtime } from "../../../tunnel/runtime.ts";
import { openOriginRequest, originErrorCode, watchOrigin } from "./exchange.ts";
import {
  clientResponseHeaders,
  encodeHead,
  endToEndHeaders,
  type Forwarded,
  headerValue,
} from "./headers.ts";

/** An upgrade: where it goes, and what the client sent behind its request. */
export interface UpgradeOptions {
  readonly runtime: Runtime;
  readonly client: Duplex;
  readonly head: Uint8Array;
  readonly agent: Agent;
  readonly path: string;
  readonly forwarded: Forwarded;
  readonly headerTimeoutMs: number;
  /** Nothing was said to the client yet. */
  onFailed(error: TunnelError): void;
}

/** Whether a request asks to go on as a WebSocket. Other upgrades are declined by ignoring them. */
export function asksForWebSocket({ headers }: IncomingMessage): boolean {
  return /^\s*websocket\s*$/i.test(headers.upgrade ?? "");
}

/** Passes a WebSocket handshake on; when the origin agrees, both go on talking through us. */
export function upgrade(request: IncomingMessage, options: UpgradeOptions): void {
  const { client, head } = options;
  const fail = (error: TunnelError): void => {
    if (!client.destroyed) options.onFailed(error);
  };
  const agreed = upgradeFields(headerValue(request.rawHeaders, "upgrade"));
  let hasResponse = false;
  try {
    const outgoing = openOriginRequest(request, options, agreed);
    const watch = watchOrigin(outgoing, options);
    const onGone = (): void => void outgoing.destroy();
    client.once("close", onGone);
    outgoing.on("upgrade", (incoming, origin, originHead) => {
      hasResponse = true;
      watch.cancel();
      const fields = upgradeFields(headerValue(incoming.rawHeaders, "upgrade"));
      const headers = [...endToEndHeaders(incoming.rawHeaders), ...fields];
      client.write(encodeHead(101, incoming.statusMessage ?? "Switching Protocols", headers));
      if (originHead.byteLength > 0) client.write(originHead);
      if (head.byteLength > 0) origin.write(head);
      join(client, origin);
    });
    outgoing.on("response", (incoming) => {
      hasResponse = true;
      watch.cancel();
      decline(incoming, client);
    });
    outgoing.on("error", (cause) => {
      watch.cancel();
      if (!hasResponse) fail(toTunnelError(cause, originErrorCode(cause), "origin"));
    });
    outgoing.end();
  } catch (thrown) {
    fail(toTunnelError(thrown, "ERR_PROTOCOL", "request"));
  }
}

/** The origin answered in plain HTTP: its answer is the last thing on this connection. */
function decline(incoming: IncomingMessage, client: Duplex): void {
  const headers = [...clientResponseHeaders(incoming.rawHeaders), "Connection", "close"];
  client.write(encodeHead(incoming.statusCode ?? 502, incoming.statusMessage ?? "", headers));
  incoming.on("error", (cause) => client.destroy(cause));
  incoming.once("end", () => client.end(() => client.destroy()));
  incoming.pipe(client, { end: false });
  client.resume();
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
