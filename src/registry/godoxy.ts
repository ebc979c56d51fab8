import { connectGodoxy } from "./godoxy-connect.ts";
import { serveGodoxy } from "./godoxy-serve.ts";
import type { TunnelSystem } from "./system.ts";

/** GoDoxy's streams: each is a TLS connection or a DTLS session, certificates decide. */
export const godoxy: TunnelSystem = { connect: connectGodoxy, serve: serveGodoxy };
