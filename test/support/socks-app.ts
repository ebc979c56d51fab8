import dgram from "node:dgram";
import { once } from "node:events";
import net from "node:net";

/** A target as an application names it. */
export interface SocksTarget {
  /** A name, or an IPv4 or IPv6 address without brackets. */
  readonly host: string;
  readonly port: number;
}

/** A SOCKS5 port said no. */
export class SocksRefused extends Error {
  /** The reply code; `undefined` when the port closed the connection without one. */
  readonly reply: number | undefined;

  constructor(reply: number | undefined) {
    super(`refused with SOCKS5 reply ${reply ?? "none"}`);
    this.reply = reply;
  }
}

/**
 * An application's connection through a SOCKS5 port on loopback; half-open allowed.
 *
 * @throws SocksRefused
 */
export async function socksConnect(
  socksPort: number,
  target: SocksTarget,
  login?: { readonly user: string; readonly password: string },
): Promise<net.Socket> {
  const { socket } = await request(socksPort, CONNECT, target, login);
  return socket;
}

/** An application's UDP association. */
export interface SocksAssociation extends AsyncDisposable {
  /** The connection the association lives as long as. */
  readonly control: net.Socket;
  /** Datagrams that came back, oldest first; `from` is what the header says. */
  readonly received: readonly { readonly from: SocksTarget; readonly data: Buffer }[];
  send(target: SocksTarget, data: Uint8Array): void;
  /** Sends bytes as they are to the relay's port. */
  sendRaw(datagram: Uint8Array): void;
}

/** Opens a UDP association. @throws SocksRefused */
export async function socksAssociate(socksPort: number): Promise<SocksAssociation> {
  const nowhere = { host: "0.0.0.0", port: 0 };
  const { socket: control, bound } = await request(socksPort, ASSOCIATE, nowhere);
  const relay = bound.host === "0.0.0.0" ? { ...bound, host: "127.0.0.1" } : bound;
  const socket = dgram.createSocket(net.isIPv6(relay.host) ? "udp6" : "udp4");
  const received: { from: SocksTarget; data: Buffer }[] = [];
  socket.on("message", (datagram) => {
    const { target: from, length } = readAddress(datagram.subarray(3));
    received.push({ from, data: datagram.subarray(3 + length) });
  });
  socket.on("error", () => {}); // a relay that is gone
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  const sendRaw = (datagram: Uint8Array): void => {
    socket.send(datagram, relay.port, relay.host);
  };
  return {
    control,
    received,
    sendRaw,
    send: (target, data) => sendRaw(Buffer.concat([Buffer.alloc(3), writeAddress(target), data])),
    [Symbol.asyncDispose]: async () => {
      control.destroy();
      socket.close();
      await once(socket, "close");
    },
  };
}

/** The address of a SOCKS5 request or datagram. */
export function writeAddress({ host, port }: SocksTarget): Buffer {
  const tail = Buffer.alloc(2);
  tail.writeUInt16BE(port);
  if (net.isIPv4(host)) return Buffer.concat([Buffer.of(1, ...host.split(".").map(Number)), tail]);
  if (net.isIPv6(host)) return Buffer.concat([Buffer.of(4), ipv6Bytes(host), tail]);
  const name = Buffer.from(host);
  return Buffer.concat([Buffer.of(3, name.byteLength), name, tail]);
}

async function request(
  socksPort: number,
  command: number,
  target: SocksTarget,
  login?: { readonly user: string; readonly password: string },
): Promise<{ socket: net.Socket; bound: SocksTarget }> {
  const socket = net.connect({ port: socksPort, host: "127.0.0.1", allowHalfOpen: true });
  try {
    socket.write(login === undefined ? Buffer.of(5, 1, 0) : Buffer.of(5, 1, 2));
    const [, method] = await take(socket, 2);
    if (method === 0xff) throw new SocksRefused(method);
    if (login !== undefined) {
      const [user, password] = [Buffer.from(login.user), Buffer.from(login.password)];
      const lengths = [Buffer.of(1, user.byteLength), user, Buffer.of(password.byteLength)];
      socket.write(Buffer.concat([...lengths, password]));
      const [, status] = await take(socket, 2);
      if (status !== 0) throw new SocksRefused(status);
    }
    socket.write(Buffer.concat([Buffer.of(5, command, 0), writeAddress(target)]));
    const head = await take(socket, 5);
    const rest = await take(socket, { 1: 5, 3: 2 + (head[4] ?? 0), 4: 17 }[head[3] ?? 1] ?? 5);
    if (head[1] !== 0) throw new SocksRefused(head[1]);
    const { target: bound } = readAddress(Buffer.concat([head.subarray(3), rest]));
    return { socket, bound };
  } catch (thrown) {
    socket.on("error", () => {}).destroy();
    throw thrown;
  }
}

/** So many bytes. @throws SocksRefused when it ends before */
function take(socket: net.Socket, count: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const finish = (): void => {
      socket.off("readable", look).off("end", refuse).off("error", refuse).off("close", refuse);
    };
    const refuse = (): void => {
      finish();
      reject(new SocksRefused(undefined));
    };
    const look = (): void => {
      const bytes: unknown = socket.read(count);
      if (!(bytes instanceof Buffer) || bytes.byteLength < count) return;
      finish();
      resolve(bytes);
    };
    socket.on("readable", look).on("end", refuse).on("error", refuse).on("close", refuse);
    look();
  });
}

function readAddress(bytes: Buffer): { target: SocksTarget; length: number } {
  const kind = bytes[0];
  const length = kind === 1 ? 7 : kind === 4 ? 19 : 4 + (bytes[1] ?? 0);
  const address = bytes.subarray(kind === 3 ? 2 : 1, length - 2);
  const host = kind === 1 ? address.join(".") : kind === 4 ? ipv6Text(address) : address.toString();
  return { target: { host, port: bytes.readUInt16BE(length - 2) }, length };
}

function ipv6Bytes(host: string): Buffer {
  const [head = "", tail] = host.split("::");
  const groups = (text: string): number[] =>
    text === "" ? [] : text.split(":").map((group) => Number.parseInt(group, 16));
  const [before, after] = [groups(head), groups(tail ?? "")];
  const middle = Array.from({ length: 8 - before.length - after.length }, () => 0);
  const bytes = Buffer.alloc(16);
  for (const [at, group] of [...before, ...middle, ...after].entries()) {
    bytes.writeUInt16BE(group, 2 * at);
  }
  return bytes;
}

function ipv6Text(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, at) => bytes.readUInt16BE(2 * at).toString(16));
  return new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1);
}

const CONNECT = 1;
const ASSOCIATE = 3;
