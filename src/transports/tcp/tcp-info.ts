import { createRequire } from "node:module";
import type net from "node:net";
import type koffi from "koffi";

/** What the kernel knows of a connection's output. */
export interface TcpInfo {
  /** Whether the peer still owes an acknowledgement: of data, or of a probe of its closed window. */
  readonly isOwed: boolean;
  /** How long ago the last acknowledgement came, ms. */
  readonly lastAckMs: number;
}

/**
 * Reads `TCP_INFO` of a socket, which Node does not offer; `undefined` where the system has no such
 * thing, or the socket is none of TCP's or closed. Layout: Linux, `struct tcp_info` in
 * `include/uapi/linux/tcp.h`, which only ever grows at its end.
 */
export function readTcpInfo(socket: net.Socket): TcpInfo | undefined {
  const fd = descriptorOf(socket);
  if (fd === undefined) return undefined;
  getsockopt ??= findGetSockOpt();
  if (getsockopt === "none") return undefined;
  const info = Buffer.alloc(INFO_BYTES);
  const length = [INFO_BYTES];
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, length) !== 0) return undefined;
  if ((length[0] ?? 0) < LAST_ACK_RECV_AT + 4) return undefined;
  return {
    isOwed: info.readUInt32LE(UNACKED_AT) > 0 || info.readUInt8(PROBES_AT) > 0,
    lastAckMs: info.readUInt32LE(LAST_ACK_RECV_AT),
  };
}

type GetSockOpt = (
  fd: number,
  level: number,
  name: number,
  value: Buffer,
  length: number[],
) => number;

/** The C library's function, found in the running program itself: the same for glibc and musl. */
function findGetSockOpt(): GetSockOpt | "none" {
  if (process.platform !== "linux") return "none";
  try {
    // Here and not at the top: few platforms lack the binary, and those lose no more than this.
    const library: typeof koffi = createRequire(import.meta.url)("koffi");
    return library
      .load(null)
      .func(
        "int getsockopt(int fd, int level, int name, _Out_ void *value, _Inout_ uint32_t *length)",
      );
  } catch {
    return "none";
  }
}

/** The file descriptor of a socket, or of what TLS runs on: not documented by Node. */
function descriptorOf(socket: net.Socket): number | undefined {
  const handle: unknown = Reflect.get(socket, "_handle");
  if (typeof handle !== "object" || handle === null || !("fd" in handle)) return undefined;
  return typeof handle.fd === "number" && handle.fd >= 0 ? handle.fd : undefined;
}

const IPPROTO_TCP = 6;
const TCP_INFO = 11;
const PROBES_AT = 3;
const UNACKED_AT = 24;
const LAST_ACK_RECV_AT = 56;
const INFO_BYTES = 256;

let getsockopt: GetSockOpt | "none" | undefined;
