import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { describe, test } from "node:test";
import { until } from "../../../test/support/test-client.ts";
import { ConfigError } from "../../errors.ts";
import type { HostPort } from "../../address/socks-address.ts";
import type { DatagramSocket } from "../../tunnel/datagrams.ts";
import { bindUdp } from "./bind.ts";

/** A bound socket and what it heard; closed with its scope. */
class Ear implements Disposable {
  readonly heard: { readonly text: string; readonly from: HostPort }[] = [];
  #socket: DatagramSocket | undefined;

  static async bind(at?: HostPort): Promise<Ear> {
    const ear = new Ear();
    ear.#socket = await bindUdp({
      at,
      onDatagram: (data, from) => void ear.heard.push({ text: Buffer.from(data).toString(), from }),
    });
    return ear;
  }

  get socket(): DatagramSocket {
    return this.#socket ?? assert.fail("not bound");
  }

  [Symbol.dispose](): void {
    this.#socket?.close();
  }
}

const LOOPBACK = { host: "127.0.0.1", port: 0 };

describe("bound udp socket", () => {
  test("sends and receives, both families on one socket, IPv4 spelled as IPv4", async () => {
    using any = await Ear.bind();
    using four = await Ear.bind(LOOPBACK);
    using six = await Ear.bind({ host: "::1", port: 0 });
    const { port } = any.socket.local;
    any.socket.send(Buffer.from("to four"), four.socket.local);
    any.socket.send(Buffer.from("to six"), six.socket.local);
    await until(() => four.heard.length + six.heard.length === 2, "arrival");
    assert.deepEqual(four.heard, [{ text: "to four", from: { host: "127.0.0.1", port } }]);
    assert.deepEqual(six.heard, [{ text: "to six", from: { host: "::1", port } }]);
    four.socket.send(Buffer.from("from four"), { host: "127.0.0.1", port });
    await until(() => any.heard.length === 1, "arrival");
    assert.deepEqual(any.heard, [{ text: "from four", from: four.socket.local }]);
    assert.equal(any.socket.dropped, 0);
  });

  test("carries an empty datagram and the largest one", async () => {
    using ear = await Ear.bind(LOOPBACK);
    using mouth = await Ear.bind(LOOPBACK);
    mouth.socket.send(new Uint8Array(0), ear.socket.local);
    mouth.socket.send(new Uint8Array(65_507).fill(97), ear.socket.local);
    await until(() => ear.heard.length === 2, "arrival");
    assert.deepEqual(
      ear.heard.map(({ text }) => text.length),
      [0, 65_507],
    );
  });

  test("counts what cannot be sent, and goes on", async () => {
    using ear = await Ear.bind(LOOPBACK);
    using mouth = await Ear.bind(LOOPBACK);
    const { socket } = mouth;
    const here = ear.socket.local;
    socket.send(new Uint8Array(65_508), here);
    socket.send(new Uint8Array(1), { ...here, port: 0 });
    socket.send(new Uint8Array(1), { ...here, port: 65_536 });
    socket.send(new Uint8Array(1), { ...here, host: "::1" });
    socket.send(new Uint8Array(1), { ...here, host: "name.example" });
    socket.send(Buffer.from("still here"), { ...here, host: "::ffff:127.0.0.1" });
    await until(() => ear.heard.length === 1 && socket.dropped === 5, "arrival");
    assert.equal(ear.heard[0]?.text, "still here");
  });

  test("says which address is taken, and what to do", async () => {
    using ear = await Ear.bind(LOOPBACK);
    const at = ear.socket.local;
    await assert.rejects(bindUdp({ at, onDatagram: () => {} }), (thrown) => {
      assert.ok(thrown instanceof ConfigError);
      assert.equal(thrown.code, "ERR_LISTEN");
      assert.match(thrown.message, /^cannot bind UDP 127\.0\.0\.1:\d+: the address is already in/);
      return thrown.hint !== undefined;
    });
    const elsewhere = { host: "192.0.2.77", port: 0 };
    await assert.rejects(bindUdp({ at: elsewhere, onDatagram: () => {} }), /not one of this/);
  });

  test("frees its port when it is closed, once or twice, and drops what comes later", async () => {
    using ear = await Ear.bind(LOOPBACK);
    const at = ear.socket.local;
    ear.socket.close();
    ear.socket.close();
    ear.socket.send(new Uint8Array(1), at);
    assert.equal(ear.socket.dropped, 1);
    const again = createSocket("udp4").bind(at.port, at.host);
    await once(again, "listening");
    again.close();
  });

  test("talks to one address alone when connected, and hears that nobody listens there", async () => {
    using far = await Ear.bind(LOOPBACK);
    using stranger = await Ear.bind(LOOPBACK);
    const peer = far.socket.local;
    const heard: string[] = [];
    const errors: string[] = [];
    const socket = await bindUdp({
      connectTo: peer,
      bufferBytes: 256 * 1024,
      onDatagram: (data) => void heard.push(Buffer.from(data).toString()),
      onError: (error) => void errors.push(`${error.code} ${error.message}`),
    });
    socket.send(Buffer.from("hello"), peer);
    await until(() => far.heard.length === 1, "arrival");
    const here = { host: "127.0.0.1", port: socket.local.port };
    assert.deepEqual(far.heard, [{ text: "hello", from: here }]);
    stranger.socket.send(Buffer.from("not for you"), here);
    far.socket.send(Buffer.from("answer"), here);
    await until(() => heard.length > 0, "answer");
    assert.deepEqual(heard, ["answer"]);
    far[Symbol.dispose]();
    socket.send(Buffer.from("anybody?"), peer);
    await until(() => errors.length > 0, "the refusal");
    assert.match(errors[0] ?? "", /^ERR_DIAL_REFUSED udp 127\.0\.0\.1:\d+: nobody listens/);
    socket.close();
  });

  test("says when the system grants less than was asked for, and how to raise it", async () => {
    const tooMuch = 1024 * 1024 * 1024;
    const socket = await bindUdp({ at: LOOPBACK, bufferBytes: tooMuch, onDatagram: () => {} });
    socket.close();
    assert.match(socket.bufferWarning ?? "", /^UDP 127\.0\.0\.1:0: .* instead of 1048576 KiB/);
    if (process.platform === "linux") {
      assert.match(socket.bufferWarning ?? "", /sysctl -w net\.core\.rmem_max=1073741824 net/);
    }
    const modest = await bindUdp({ at: LOOPBACK, bufferBytes: 64 * 1024, onDatagram: () => {} });
    modest.close();
    assert.equal(modest.bufferWarning, undefined);
  });

  for (const segmentBytes of [undefined, 100]) {
    test(`sends many at once, cut at ${segmentBytes}, all of them in order`, async () => {
      using ear = await Ear.bind(LOOPBACK);
      const glued: Buffer[] = [];
      const at = LOOPBACK;
      const far = await bindUdp({
        at,
        segmentBytes,
        onDatagram: (data) => void glued.push(Buffer.from(data)),
      });
      const mouth = await bindUdp({ at, segmentBytes, onDatagram: () => {} });
      const sizes = [100, 7, 100, 100, 0, ...Array.from({ length: 700 }, () => 100), 99, 3];
      const datagrams = sizes.map((size, index) => Buffer.alloc(size, index));
      mouth.sendAll?.(datagrams, ear.socket.local);
      await until(() => ear.heard.length === sizes.length, "arrival, one by one");
      assert.deepEqual(
        ear.heard.map(({ text }) => text),
        datagrams.map((datagram) => datagram.toString()),
      );
      mouth.sendAll?.(datagrams, far.local);
      const total = sizes.reduce((sum, size) => sum + size, 0);
      await until(() => Buffer.concat(glued).byteLength === total, "arrival, glued");
      assert.ok(Buffer.concat(glued).equals(Buffer.concat(datagrams)));
      assert.equal(mouth.dropped, 0);
      mouth.close();
      far.close();
      mouth.sendAll?.(datagrams, far.local);
      assert.equal(mouth.dropped, sizes.length);
    });
  }

  test("sends one by one where the system will not cut", async () => {
    using ear = await Ear.bind(LOOPBACK);
    // More than any path takes in one piece: the system refuses to cut at it.
    const segmentBytes = 65_000 / 2;
    const mouth = await bindUdp({ at: LOOPBACK, segmentBytes, onDatagram: () => {} });
    const datagrams = [0, 1, 2, 3].map((fill) => Buffer.alloc(segmentBytes, fill));
    mouth.sendAll?.(datagrams, ear.socket.local);
    await until(() => ear.heard.length === 4, "arrival");
    mouth.close();
    assert.equal(mouth.dropped, 0);
  });

  test("binds a name", async () => {
    using ear = await Ear.bind({ host: "localhost", port: 0 });
    assert.match(ear.socket.local.host, /^(?:127\.0\.0\.1|::1)$/);
  });
});
