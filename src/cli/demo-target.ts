import http from "node:http";
import { formatHostPort } from "../address/target.ts";

/** A tiny HTTP server on loopback, for something to reach when there is no other network. */
export interface DemoTarget {
  /** `127.0.0.1:PORT`. */
  readonly address: string;
  close(): void;
}

/** Starts it on a free port. */
export async function startDemoTarget(): Promise<DemoTarget> {
  const server = http.createServer((request, response) => {
    request.resume();
    response.writeHead(200, { "content-type": "text/plain" });
    response.end("It works: this answer came through the tunnel.\n");
  });
  server.unref();
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(0, "127.0.0.1", resolve);
  });
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    address: formatHostPort("127.0.0.1", port),
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
