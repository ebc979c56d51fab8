import net from "node:net";

/** The first port from `preferred` on that is free on 127.0.0.1; any free one after ten. */
export async function freePort(preferred: number): Promise<number> {
  for (let port = preferred; port < preferred + 10 && port <= 65_535; port++) {
    const found = await tryPort(port);
    if (found !== undefined) return found;
  }
  return (await tryPort(0)) ?? 0;
}

/** Listens for a moment. @returns the port, the system's choice for 0; `undefined` when taken */
export function tryPort(port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.once("error", () => resolve(undefined));
    server.listen(port, "127.0.0.1", () => {
      const address = server.address();
      const chosen = typeof address === "object" ? address?.port : undefined;
      server.close(() => resolve(chosen));
    });
  });
}
