import type { Listener } from "../tunnel/connection.ts";

/** Several ports as one: its address is that of the first. */
export function bundleListeners(first: Listener, ...others: readonly Listener[]): Listener {
  const close = async (): Promise<void> => {
    await Promise.all([first, ...others].map((listener) => listener.close()));
  };
  return { address: first.address, close, [Symbol.asyncDispose]: close };
}
