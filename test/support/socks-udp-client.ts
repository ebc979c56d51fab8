import assert from "node:assert/strict";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import net from "node:net";
import { formatHostPort } from "../../src/address/target.ts";

/** What came back: the payload, and who said it. */
export interface UdpAnswer {
  readonly text: string;
  readonly from: string;
}

/** A SOCKS5 client with one UDP association; written from RFC 1928, not from our codec. */
export class SocksUdpClient implements AsyncDisposable {
  readonly answers: UdpAnswer[] = [];
  /** Where the proxy takes datagrams. */
  readonly relayPort: number;
  readonly control: net.Socket;
  readonly socket: Socket;

  private constructor(control: net.Socket, socket: Socket, relayPort: number) {
    this.control = control;
    this.socket = socket;
    this.relayPort = relayPort;
    socket.on("message", (datagram) => void this.answers.push(readAnswer(datagram)));
  }

  /** Asks for an association; fails with the reply's code when there is none. */
  static async associate(proxyPort: number): Promise<SocksUdpClient> {
    const control = net.connect({ host: "127.0.0.1", port: proxyPort });
    control.on("error", () => {}); // tests look at its end
    control.write(Buffer.from([5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0]));
    let bytes = Buffer.alloc(0);
    while (bytes.byteLength < 12) {
      const [chunk] = await once(control, "data");
      assert.ok(Buffer.isBuffer(chunk));
      bytes = Buffer.concat([bytes, chunk]);
    }
    const reply = bytes.subarray(2);
    if (reply[1] !== 0) control.destroy();
    assert.equal(reply[1], 0, `reply ${reply[1]}`);
    assert.deepEqual([...reply.subarray(3, 8)], [1, 127, 0, 0, 1]);
    const socket = createSocket("udp4");
    socket.bind(0, "127.0.0.1");
    await once(socket, "listening");
    return new SocksUdpClient(control, socket, reply.readUInt16BE(8));
  }

  /** Sends text to a target, by IPv4, IPv6 or name. */
  send(text: string, host: string, port: number): void {
    const tail = Buffer.alloc(2);
    tail.writeUInt16BE(port);
    this.sendRaw(Buffer.concat([Buffer.from([0, 0, 0]), address(host), tail, Buffer.from(text)]));
  }

  /** Sends bytes as they are to the relay port. */
  sendRaw(datagram: Uint8Array): void {
    this.socket.send(datagram, this.relayPort, "127.0.0.1");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.control.destroy();
    this.socket.close();
    await once(this.socket, "close");
  }
}

/** A UDP server that sends everything back with its name in front. */
export class UdpEcho implements AsyncDisposable {
  readonly port: number;
  readonly heard: string[] = [];
  readonly #socket: Socket;

  private constructor(socket: Socket, name: string) {
    this.#socket = socket;
    this.port = socket.address().port;
    socket.on("message", (data, { port, address: from }) => {
      this.heard.push(data.toString());
      socket.send(`${name}${data.toString()}`, port, from);
    });
  }

  /** Listens on loopback. */
  static async start(name = "", host = "127.0.0.1"): Promise<UdpEcho> {
    const socket = createSocket(net.isIPv6(host) ? "udp6" : "udp4");
    socket.bind(0, host);
    await once(socket, "listening");
    return new UdpEcho(socket, name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.close();
    await once(this.#socket, "close");
  }
}

function address(host: string): Buffer {
  if (net.isIPv4(host)) return Buffer.from([1, ...host.split(".").map(Number)]);
  if (host === "::1") return Buffer.from([4, ...Array.from({ length: 15 }, () => 0), 1]);
  assert.equal(net.isIP(host), 0, "this client spells no other IPv6 address");
  return Buffer.concat([Buffer.from([3, host.length]), Buffer.from(host)]);
}

function readAnswer(datagram: Buffer): UdpAnswer {
  assert.deepEqual([...datagram.subarray(0, 3)], [0, 0, 0]);
  const isV4 = datagram[3] === 1;
  const end = isV4 ? 8 : 20;
  const bytes = [...datagram.subarray(4, end)];
  const isLoopback = bytes.slice(0, -1).every((byte) => byte === 0) && bytes.at(-1) === 1;
  const v6 = isLoopback ? "::1" : Buffer.from(bytes).toString("hex");
  const host = isV4 ? bytes.join(".") : v6;
  return {
    from: formatHostPort(host, datagram.readUInt16BE(end)),
    text: datagram.subarray(end + 2).toString(),
  };
}
