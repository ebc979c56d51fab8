import type net from "node:net";
import koffi from "koffi";

/**
 * Makes a TCP socket control congestion with cubic, which most systems do anyway. Linux; elsewhere
 * nothing happens.
 *
 * @throws Error when the kernel has no cubic, or this process may not choose it
 */
export function useCubic(socket: net.Socket): void {
  if (process.platform !== "linux") return;
  const handle: unknown = Reflect.get(socket, "_handle");
  const fd = typeof handle === "object" && handle !== null ? Reflect.get(handle, "fd") : undefined;
  setsockopt ??= koffi
    .load(null)
    .func("int setsockopt(int fd, int level, int name, const void *value, uint32_t size)");
  const name = Buffer.from("cubic");
  if (setsockopt(Number(fd), IPPROTO_TCP, TCP_CONGESTION, name, name.byteLength) === 0) return;
  throw new Error("cannot make TCP use cubic");
}

type SetSockOpt = (fd: number, level: number, name: number, value: Buffer, size: number) => number;

let setsockopt: SetSockOpt | undefined;

const IPPROTO_TCP = 6;
const TCP_CONGESTION = 13;
