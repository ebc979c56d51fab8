import assert from "node:assert/strict";
import dgram from "node:dgram";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { KCP_PROFILES } from "../../src/transports/kcp/kcp-options.ts";
import { KcpSession } from "../../src/transports/kcp/kcp-session.ts";
import { tcpOrigin } from "../support/origin.ts";
import { socksConnect } from "../support/socks-app.ts";
import { VproxyTunnel } from "../support/vproxy-tunnel.ts";

const ADDRESSES = 100_000;
/** Source ports of one address of loopback. */
const PORTS = 25_000;
const FIRST_PORT = 33_000;
const AT_ONCE = 250;

describe("vproxy over kcp, under a flood", { timeout: 180_000 }, () => {
  test("stays small under datagrams from 100,000 addresses, and serves who is there", async () => {
    await using origin = await tcpOrigin((socket) => void socket.pipe(socket));
    await using tunnel = await VproxyTunnel.start({ transport: "kcp" });
    const app = await socksConnect(tunnel.proxyPort, { host: "127.0.0.1", port: origin.port });
    const echo = async (text: string): Promise<void> => {
      app.write(text);
      let heard = "";
      while (heard.length < text.length) {
        heard += await new Promise<string>((resolve) =>
          app.once("data", (data) => resolve(String(data))),
        );
      }
      assert.equal(heard, text);
    };
    await echo("before");
    let sent = await flood(tunnel.servePort, 0, ADDRESSES / 5);
    const before = residentBytes(tunnel.serve.process.pid);
    for (let fifth = 1; fifth < 5; fifth++) {
      sent += await flood(tunnel.servePort, (fifth * ADDRESSES) / 5, ADDRESSES / 5);
      await echo(`beside fifth ${fifth}`);
    }
    assert.ok(sent > 0.99 * ADDRESSES, `only ${sent} addresses were free`);
    const grown = residentBytes(tunnel.serve.process.pid) - before;
    assert.ok(grown < 48 * 1024 * 1024, `${grown} bytes more`);
    app.destroy();
    const lines = tunnel.serve.stderr.trim().split("\n");
    assert.ok(lines.length < 50, `${lines.length} log lines`);
  });
});

/** One datagram from each of so many addresses, by turns a beginning of KCP and junk. */
async function flood(port: number, first: number, count: number): Promise<number> {
  let sent = 0;
  const [opening] = new KcpSession(KCP_PROFILES.vproxy, 0).write(Buffer.from("hello"), 0).datagrams;
  const junk = Buffer.alloc(64, 0xa5);
  for (let index = first; index < first + count; index += AT_ONCE) {
    const senders = Array.from({ length: AT_ONCE }, (_, more) => index + more);
    const results = await Promise.all(
      senders.map((sender) => sendFrom(sender, sender % 2 === 0 ? (opening ?? junk) : junk, port)),
    );
    sent += results.filter((isSent) => isSent).length;
  }
  return sent;
}

/** @returns whether the address was free */
async function sendFrom(sender: number, datagram: Uint8Array, port: number): Promise<boolean> {
  const socket = dgram.createSocket("udp4");
  const address = `127.66.0.${1 + Math.floor(sender / PORTS)}`;
  const isSent = await new Promise<boolean>((resolve) => {
    socket.on("error", () => resolve(false)); // taken by somebody
    socket.bind({ port: FIRST_PORT + (sender % PORTS), address, exclusive: true }, () => {
      socket.send(datagram, port, "127.0.0.1", (error) => resolve(error === null));
    });
  });
  socket.close();
  return isSent;
}

function residentBytes(pid: number | undefined): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return 1024 * Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]);
}
