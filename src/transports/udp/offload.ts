import type { Socket } from "node:dgram";
import { createRequire } from "node:module";
import type koffi from "koffi";

/**
 * Lets the kernel cut one write into datagrams of `bytes` (the last one may be shorter), and hand
 * over datagrams of one sender that arrived together as one: a system call for fifty datagrams.
 * Linux since 5.0, through `UDP_SEGMENT` and `UDP_GRO`, which Node does not offer.
 *
 * @returns whether writes are cut; without it everything works, at the price of a call each
 */
export function offloadDatagrams(socket: Socket, bytes: number): boolean {
  const fd = descriptorOf(socket);
  if (fd === undefined) return false;
  const setsockopt = findSetSockOpt();
  if (setsockopt === undefined) return false;
  const set = (name: number, value: number): boolean => {
    const bits = Buffer.alloc(4);
    new DataView(bits.buffer, bits.byteOffset).setInt32(0, value, IS_LITTLE_ENDIAN);
    return setsockopt(fd, SOL_UDP, name, bits, bits.byteLength) === 0;
  };
  set(UDP_GRO, 1); // each of the two is of use without the other
  return set(UDP_SEGMENT, bytes);
}

type SetSockOpt = (fd: number, level: number, name: number, value: Buffer, size: number) => number;

/** The C library's function, found in the running program itself: the same for glibc and musl. */
function findSetSockOpt(): SetSockOpt | undefined {
  if (process.platform !== "linux") return undefined;
  try {
    // Here and not at the top: few platforms lack the binary, and those lose no more than this.
    const library: typeof koffi = createRequire(import.meta.url)("koffi");
    return library
      .load(null)
      .func("int setsockopt(int fd, int level, int name, const void *value, uint32_t size)");
  } catch {
    return undefined;
  }
}

/** The file descriptor of a socket: not documented by Node. */
function descriptorOf(socket: Socket): number | undefined {
  for (const symbol of Object.getOwnPropertySymbols(socket)) {
    const state: unknown = Reflect.get(socket, symbol);
    if (typeof state !== "object" || state === null || !("handle" in state)) continue;
    const { handle } = state;
    if (typeof handle !== "object" || handle === null || !("fd" in handle)) continue;
    if (typeof handle.fd === "number" && handle.fd >= 0) return handle.fd;
  }
  return undefined;
}

const IS_LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

// Linux, include/uapi/linux/udp.h.
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const UDP_GRO = 104;
