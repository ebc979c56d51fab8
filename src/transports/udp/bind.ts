import { createSocket, type Socket } from "node:dgram";
import { lookup } from "node:dns/promises";
import { isIP, isIPv4 } from "node:net";
import { plainIp } from "../../address/ip.ts";
import type { HostPort } from "../../address/socks-address.ts";
import { formatHostPort } from "../../address/target.ts";
import { ConfigError, systemCode } from "../../errors.ts";
import type { BindUdp, DatagramSocket } from "../../tunnel/datagrams.ts";
import { growBuffers } from "./buffers.ts";
import { connectSocket, peerError } from "./connect.ts";
import { offloadDatagrams } from "./offload.ts";

/**
 * Binds a UDP socket. One bound to `::` carries IPv4 as well.
 *
 * @throws ConfigError (`ERR_LISTEN`) when the address is taken, not ours, or not permitted;
 *   NetworkError when there is no way to `connectTo`
 */
export const bindUdp: BindUdp = async (options) => {
  const { at, connectTo } = options;
  if (at !== undefined) return await bindTo(at, options);
  if (connectTo !== undefined) {
    return await bindTo({ host: isIPv4(connectTo.host) ? "0.0.0.0" : "::", port: 0 }, options);
  }
  try {
    return await bindTo({ host: "::", port: 0 }, options);
  } catch {
    return await bindTo({ host: "0.0.0.0", port: 0 }, options); // a machine without IPv6
  }
};

type Options = Parameters<BindUdp>[0];

async function bindTo(
  { host, port }: HostPort,
  { onDatagram, connectTo, onError, bufferBytes, segmentBytes }: Options,
): Promise<DatagramSocket> {
  const name = formatHostPort(host, port);
  const address = isIP(host) === 0 ? await resolve(host, name) : host;
  const isV4 = isIPv4(address);
  const socket = createSocket({
    type: isV4 ? "udp4" : "udp6",
    recvBufferSize: bufferBytes === undefined ? RECEIVE_BUFFER_BYTES : undefined,
    // Only IP addresses come here; the default asks the resolver's thread pool about each.
    lookup: (literal, _options, done) => done(null, literal, isV4 ? 4 : 6),
  });
  await new Promise<void>((done, reject) => {
    const fail = (cause: Error): void => {
      socket.close();
      reject(bindError(cause, name));
    };
    socket.once("error", fail);
    socket.bind({ address, port, exclusive: true }, () => {
      socket.off("error", fail);
      done();
    });
  });
  if (connectTo !== undefined) await connectSocket(socket, connectTo);
  const tell = (cause: Error): void => {
    if (connectTo !== undefined) onError?.(peerError(cause, connectTo));
  };
  socket.on("error", tell); // one datagram could not be received; the next one may
  const from = { heard: "", host: "" };
  socket.on("message", (data, { address: sender, port: senderPort }) => {
    if (sender !== from.heard) {
      from.heard = sender;
      from.host = plainIp(sender);
    }
    onDatagram(data, { host: from.host, port: senderPort });
  });
  const bufferWarning =
    bufferBytes === undefined ? undefined : growBuffers(socket, bufferBytes, name);
  const isCut = segmentBytes !== undefined && offloadDatagrams(socket, segmentBytes);
  return new UdpSocket(socket, {
    isV4,
    bufferWarning,
    tell: connectTo && tell,
    segmentBytes: isCut ? segmentBytes : undefined,
  });
}

class UdpSocket implements DatagramSocket {
  readonly local: HostPort;
  readonly bufferWarning: string | undefined;
  dropped = 0;
  readonly #socket: Socket;
  readonly #isV4: boolean;
  /** Present when connected. */
  readonly #tell: ((cause: Error) => void) | undefined;
  /** The size of the pieces that the system cuts a write into; `undefined` where it does not. */
  #segmentBytes: number | undefined;
  #isClosed = false;
  /** The last address sent to, as given and as this socket spells it: mostly the next one too. */
  #to: { readonly host: string; readonly address: string | undefined } | undefined;

  constructor(
    socket: Socket,
    options: {
      readonly isV4: boolean;
      readonly bufferWarning: string | undefined;
      readonly tell: ((cause: Error) => void) | undefined;
      readonly segmentBytes: number | undefined;
    },
  ) {
    const { address, port } = socket.address();
    this.local = { host: plainIp(address), port };
    this.bufferWarning = options.bufferWarning;
    this.#socket = socket;
    this.#isV4 = options.isV4;
    this.#tell = options.tell;
    this.#segmentBytes = options.segmentBytes;
  }

  send(data: Uint8Array, to: HostPort): void {
    this.#send(data, to, this.#onSent);
  }

  sendAll(datagrams: readonly Uint8Array[], to: HostPort): void {
    let at = 0;
    while (at < datagrams.length) {
      const count = segmentRun(datagrams, at, this.#segmentBytes);
      const run = datagrams.slice(at, at + count);
      at += count;
      const [first] = run;
      if (count === 1 && first !== undefined) this.send(first, to);
      else this.#send(run, to, (error) => this.#onRunSent(error, run, to));
    }
  }

  #send(
    data: Uint8Array | readonly Uint8Array[],
    { host, port }: HostPort,
    onSent: (error: Error | null) => void,
  ): void {
    const isFull = !this.#isClosed && this.#socket.getSendQueueSize() > MAX_QUEUED_BYTES;
    const count = data instanceof Uint8Array ? 1 : data.length;
    if (this.#isClosed || isFull) {
      this.dropped += count;
      return;
    }
    if (this.#tell !== undefined) {
      this.#socket.send(data, onSent);
      return;
    }
    if (this.#to?.host !== host) this.#to = { host, address: this.#addressOf(plainIp(host)) };
    const { address } = this.#to;
    if (address === undefined || port < 1 || port > 65_535) {
      this.dropped += count;
      return;
    }
    this.#socket.send(data, port, address, onSent);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#socket.close();
  }

  readonly #onSent = (error: Error | null): void => {
    if (error === null) return;
    this.dropped++;
    if (!this.#isClosed) this.#tell?.(error);
  };

  /** A run that the system will not cut, for want of a checksum or a path that wide, is no loss. */
  #onRunSent(error: Error | null, run: readonly Uint8Array[], to: HostPort): void {
    if (error === null) return;
    if (this.#isClosed || !CUT_ERRORS.has(systemCode(error) ?? "")) {
      this.dropped += run.length - 1;
      this.#onSent(error);
      return;
    }
    this.#segmentBytes = undefined;
    for (const data of run) this.send(data, to);
  }

  /** How this socket spells an address; `undefined` for what it cannot reach. */
  #addressOf(host: string): string | undefined {
    const family = isIP(host);
    if (this.#isV4) return family === 4 ? host : undefined;
    if (family === 4) return `::ffff:${host}`;
    return family === 6 ? host : undefined;
  }
}

/** How many datagrams from `at` on may leave in one write: full ones, and one shorter behind them. */
function segmentRun(
  datagrams: readonly Uint8Array[],
  at: number,
  segmentBytes: number | undefined,
): number {
  if (segmentBytes === undefined) return 1;
  const limit = Math.min(MAX_SEGMENTS, Math.floor(MAX_WRITE_BYTES / segmentBytes));
  let count = 0;
  while (count < limit) {
    const byteLength = datagrams[at + count]?.byteLength ?? segmentBytes + 1;
    if (byteLength > segmentBytes || byteLength === 0) break;
    count++;
    if (byteLength < segmentBytes) break;
  }
  return Math.max(1, count);
}

async function resolve(host: string, name: string): Promise<string> {
  try {
    return (await lookup(host)).address;
  } catch (cause) {
    throw bindError(cause, name);
  }
}

function bindError(cause: unknown, name: string): ConfigError {
  const [text, hint] = BIND_ERRORS[systemCode(cause) ?? ""] ?? [
    cause instanceof Error ? cause.message : String(cause),
    undefined,
  ];
  return new ConfigError(`cannot bind UDP ${name}: ${text}`, { code: "ERR_LISTEN", cause, hint });
}

/** What the system says to a write that it cannot cut. */
const CUT_ERRORS: ReadonlySet<string> = new Set(["EIO", "EINVAL", "EMSGSIZE", "EOPNOTSUPP"]);

/** Linux cuts a write into so many at most, and takes no longer one. */
const MAX_SEGMENTS = 64;
const MAX_WRITE_BYTES = 65_000;

const BIND_ERRORS: Readonly<Record<string, readonly [string, string] | undefined>> = {
  EADDRINUSE: ["the address is already in use", "choose another port, or stop the other program"],
  EADDRNOTAVAIL: ["the address is not one of this machine's", "bind 127.0.0.1 or 0.0.0.0"],
  EACCES: ["not permitted", "use a port from 1024 up"],
  ENOTFOUND: ["the name does not resolve", "bind an IP address"],
};

/** What a burst brings while we are busy elsewhere; the system may grant less. */
const RECEIVE_BUFFER_BYTES = 1024 * 1024;

/** Datagrams that wait for the network card; beyond it the newest are lost, as in any queue. */
const MAX_QUEUED_BYTES = 1024 * 1024;
