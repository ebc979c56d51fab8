import { connectVproxy } from "./vproxy-connect.ts";
import { serveVproxy } from "./vproxy-serve.ts";
import type { TunnelSystem } from "./system.ts";

/** vproxy's WebSocks: `connect` is its agent, `serve` its server. */
export const vproxy: TunnelSystem = { connect: connectVproxy, serve: serveVproxy };
