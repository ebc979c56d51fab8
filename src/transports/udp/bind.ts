import { createSocket, type Socket } from "node:dgram";
import { lookup } from "node:dns/promises";
import { isIP, isIPv4 } from "node:net";
import { plainIp } from "../../address/ip.ts";
import type { HostPort } from "../../address/socks-address.ts";
import { formatHostPort } from "../../address/target.ts";
import { ConfigError, systemCode } from "../../errors.ts";
import type { BindUdp, DatagramSocket } from "../../tunnel/datagrams.ts";

/**
 * Binds a UDP socket. One bound to `::` carries IPv4 as well.
 *
 * @throws ConfigError (`ERR_LISTEN`) when the address is taken, not ours, or not permitted
 */
export const bindUdp: BindUdp = async ({ at, onDatagram }) => {
  if (at !== undefined) return await bindTo(at, onDatagram);
  try {
    return await bindTo({ host: "::", port: 0 }, onDatagram);
  } catch {
    return await bindTo({ host: "0.0.0.0", port: 0 }, onDatagram); // a machine without IPv6
  }
};

type OnDatagram = Parameters<BindUdp>[0]["onDatagram"];

async function bindTo({ host, port }: HostPort, onDatagram: OnDatagram): Promise<DatagramSocket> {
  const name = formatHostPort(host, port);
  const address = isIP(host) === 0 ? await resolve(host, name) : host;
  const isV4 = isIPv4(address);
  const socket = createSocket({
    type: isV4 ? "udp4" : "udp6",
    recvBufferSize: RECEIVE_BUFFER_BYTES,
    // Only IP addresses come here; the default asks the resolver's thread pool about each.
    lookup: (literal, _options, done) => done(null, literal, isV4 ? 4 : 6),
  });
  await new Promise<void>((done, reject) => {
    const onError = (cause: Error): void => {
      socket.close();
      reject(bindError(cause, name));
    };
    socket.once("error", onError);
    socket.bind({ address, port, exclusive: true }, () => {
      socket.off("error", onError);
      done();
    });
  });
  socket.on("error", () => {}); // one datagram could not be received; the next one may
  socket.on("message", (data, from) =>
    onDatagram(data, { host: plainIp(from.address), port: from.port }),
  );
  return new UdpSocket(socket, isV4);
}

class UdpSocket implements DatagramSocket {
  readonly local: HostPort;
  dropped = 0;
  readonly #socket: Socket;
  readonly #isV4: boolean;
  #isClosed = false;

  constructor(socket: Socket, isV4: boolean) {
    const { address, port } = socket.address();
    this.local = { host: plainIp(address), port };
    this.#socket = socket;
    this.#isV4 = isV4;
  }

  send(data: Uint8Array, { host, port }: HostPort): void {
    const address = this.#addressOf(plainIp(host));
    const isFull = !this.#isClosed && this.#socket.getSendQueueSize() > MAX_QUEUED_BYTES;
    if (this.#isClosed || isFull || address === undefined || port < 1 || port > 65_535) {
      this.dropped++;
      return;
    }
    this.#socket.send(data, port, address, (error) => {
      if (error !== null) this.dropped++;
    });
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#socket.close();
  }

  /** How this socket spells an address; `undefined` for what it cannot reach. */
  #addressOf(host: string): string | undefined {
    const family = isIP(host);
    if (this.#isV4) return family === 4 ? host : undefined;
    if (family === 4) return `::ffff:${host}`;
    return family === 6 ? host : undefined;
  }
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
