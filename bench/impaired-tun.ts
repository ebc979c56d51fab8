/**
 * A bad line between two network namespaces, for whatever protocol: a TUN device in each, and this
 * process between them. Arguments: two process ids that live in the namespaces, loss of 1, round trip
 * in ms, seed. Linux, root.
 */
import { execFileSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import koffi from "koffi";
import { ImpairedLink } from "./impaired-link.ts";

const [pidA = "", pidB = "", loss = "0", roundTripMs = "0", seed = "1"] = process.argv.slice(2);
const libc = koffi.load(null);
const setns: (fd: number, kind: number) => number = libc.func("int setns(int fd, int nstype)");
const open: (path: string, flags: number) => number = libc.func(
  "int open(const char *path, int flags)",
);
const ioctl: (fd: number, request: number, value: Buffer) => number = libc.func(
  "int ioctl(int fd, unsigned long request, _Inout_ void *value)",
);
const read: (fd: number, buffer: Buffer, size: number) => number = libc.func(
  "intptr_t read(int fd, _Out_ void *buffer, size_t size)",
);
const write: (fd: number, bytes: Uint8Array, size: number) => number = libc.func(
  "intptr_t write(int fd, const void *bytes, size_t size)",
);

const O_RDWR = 2;
const O_NONBLOCK = 0o4000;
const CLONE_NEWNET = 0x4000_0000;
const TUNSETIFF = 0x4004_54ca;
const IFF_TUN_NO_PI = 0x1001;
const IFREQ_BYTES = 40;
const MAX_PACKET_BYTES = 65_536;
const TURN_PACKETS = 256;

function tun(pid: string, address: string): number {
  const namespace = openSync(`/proc/${pid}/ns/net`, "r");
  if (setns(namespace, CLONE_NEWNET) !== 0) throw new Error("setns failed: not root?");
  closeSync(namespace);
  const fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
  const request = Buffer.alloc(IFREQ_BYTES);
  request.write("line0");
  request.writeUInt16LE(IFF_TUN_NO_PI, 16);
  if (fd < 0 || ioctl(fd, TUNSETIFF, request) < 0) throw new Error("no TUN device");
  // This process is in the namespace now, and so are its children.
  execFileSync("ip", ["addr", "add", `${address}/24`, "dev", "line0"]);
  execFileSync("ip", ["link", "set", "line0", "mtu", "1500", "txqueuelen", "20000", "up"]);
  return fd;
}

const a = tun(pidA, "192.0.2.1");
const b = tun(pidB, "192.0.2.2");
const line = { loss: Number(loss), roundTripMs: Number(roundTripMs) };
const links = [
  { from: a, link: into(b, Number(seed)) },
  { from: b, link: into(a, Number(seed) + 1) },
];

function into(fd: number, seeded: number): ImpairedLink {
  return new ImpairedLink({ ...line, seed: seeded }, (packet) => {
    write(fd, packet, packet.byteLength);
  });
}

const buffer = Buffer.alloc(MAX_PACKET_BYTES);

/** @returns whether there may be more */
function take(from: number, link: ImpairedLink): boolean {
  for (let count = 0; count < TURN_PACKETS; count++) {
    const size = read(from, buffer, buffer.byteLength);
    if (size <= 0) return false;
    link.push(Uint8Array.from(buffer.subarray(0, size)));
  }
  return true;
}

function turn(): void {
  let isBusy = false;
  for (const { from, link } of links) {
    if (take(from, link)) isBusy = true;
    link.run();
  }
  if (isBusy) setImmediate(turn);
  else setTimeout(turn, 1);
}

turn();
process.on("disconnect", () => process.exit());
process.send?.({ port: 0 });
