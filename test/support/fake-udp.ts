import assert from "node:assert/strict";
import type { HostPort } from "../../src/address/socks-address.ts";
import type { BindUdp, DatagramSocket } from "../../src/tunnel/datagrams.ts";

/** A UDP socket in memory: the test is the network. */
export class FakeSocket implements DatagramSocket {
  readonly local: HostPort;
  /** `text -> host:port`, in order. */
  readonly sent: string[] = [];
  readonly datagrams: Uint8Array[] = [];
  dropped = 0;
  isClosed = false;
  readonly #onDatagram: (data: Uint8Array, from: HostPort) => void;

  constructor(local: HostPort, onDatagram: (data: Uint8Array, from: HostPort) => void) {
    this.local = local;
    this.#onDatagram = onDatagram;
  }

  send(data: Uint8Array, { host, port }: HostPort): void {
    assert.ok(!this.isClosed, "sent after close");
    this.datagrams.push(data);
    this.sent.push(`${Buffer.from(data).toString("latin1")} -> ${host} ${port}`);
  }

  close(): void {
    this.isClosed = true;
  }

  /** A datagram of the network arrives. */
  receive(data: Uint8Array | string, host: string, port: number): void {
    if (!this.isClosed) this.#onDatagram(Buffer.from(data), { host, port });
  }
}

/** Binds sockets in memory, and keeps them for the test. */
export class FakeUdp {
  readonly sockets: FakeSocket[] = [];
  /** Set it, and the next bind fails. */
  failure: Error | undefined;

  readonly bindUdp: BindUdp = async ({ at = { host: "::", port: 0 }, onDatagram }) => {
    await Promise.resolve();
    if (this.failure !== undefined) throw this.failure;
    const port = at.port === 0 ? 40_001 + this.sockets.length : at.port;
    const socket = new FakeSocket({ host: at.host, port }, onDatagram);
    this.sockets.push(socket);
    return socket;
  };

  /** The latest one. */
  get socket(): FakeSocket {
    return this.sockets.at(-1) ?? assert.fail("nothing was bound");
  }
}
