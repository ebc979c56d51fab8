import type { Socket } from "node:dgram";

/**
 * Asks the system to hold `bytes` of datagrams each way.
 *
 * @returns what to tell the operator when the system grants less: a burst that finds no room is
 *   lost without a word
 */
export function growBuffers(
  socket: Socket,
  bytes: number,
  name: string,
  platform: NodeJS.Platform = process.platform,
): string | undefined {
  const receive = grown(bytes, platform, {
    set: (size) => socket.setRecvBufferSize(size),
    get: () => socket.getRecvBufferSize(),
  });
  const send = grown(bytes, platform, {
    set: (size) => socket.setSendBufferSize(size),
    get: () => socket.getSendBufferSize(),
  });
  if (receive >= bytes && send >= bytes) return undefined;
  const got = `${kib(receive)} to receive and ${kib(send)} to send instead of ${kib(bytes)}`;
  const remedy = COMMANDS[platform]?.(bytes);
  const hint = remedy === undefined ? "" : `; raise the limit: ${remedy}`;
  return `UDP ${name}: the system grants buffers of ${got}, so bursts lose datagrams${hint}`;
}

interface BufferSize {
  readonly set: (bytes: number) => void;
  readonly get: () => number;
}

/** The size that was granted. Some systems cut the wish, others refuse it whole. */
function grown(bytes: number, platform: NodeJS.Platform, { set, get }: BufferSize): number {
  for (let wish = bytes; wish >= MIN_WISH_BYTES; wish /= 2) {
    try {
      set(wish);
      break;
    } catch {
      // Too much for this system: half of it may do.
    }
  }
  // Linux counts its own bookkeeping in, and doubles every wish for it.
  return platform === "linux" ? get() / 2 : get();
}

function kib(bytes: number): string {
  return `${Math.floor(bytes / 1024)} KiB`;
}

const COMMANDS: Partial<Record<NodeJS.Platform, (bytes: number) => string>> = {
  linux: (bytes) => `sysctl -w net.core.rmem_max=${bytes} net.core.wmem_max=${bytes}`,
  darwin: (bytes) => `sysctl -w kern.ipc.maxsockbuf=${2 * bytes}`,
  freebsd: (bytes) => `sysctl kern.ipc.maxsockbuf=${2 * bytes}`,
};

const MIN_WISH_BYTES = 64 * 1024;
