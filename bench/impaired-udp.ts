/**
 * A bad line for the datagrams of one peer at a time, where no TUN device is to be had: a relay on
 * loopback. Arguments: the port behind it, loss of 1, round trip in ms, seed.
 */
import dgram from "node:dgram";
import { once } from "node:events";
import { ImpairedLink } from "./impaired-link.ts";

const [port = "", loss = "0", roundTripMs = "0", seed = "1"] = process.argv.slice(2);
const size = 4 * 1024 * 1024;
const options = { type: "udp4", recvBufferSize: size, sendBufferSize: size } as const;
const line = { loss: Number(loss), roundTripMs: Number(roundTripMs) };
const front = dgram.createSocket(options);
const ways = new Map<string, { readonly up: ImpairedLink; readonly down: ImpairedLink }>();

/** Like a NAT: each peer has a socket of its own behind the line. */
function wayOf(from: dgram.RemoteInfo): { readonly up: ImpairedLink; readonly down: ImpairedLink } {
  const name = `${from.address} ${from.port}`;
  const known = ways.get(name);
  if (known !== undefined) return known;
  const behind = dgram.createSocket(options).bind(0, "127.0.0.1");
  const chance = Number(seed) + 2 * ways.size;
  const up = new ImpairedLink({ ...line, seed: chance }, (data) =>
    behind.send(data, Number(port), "127.0.0.1"),
  );
  const down = new ImpairedLink({ ...line, seed: chance + 1 }, (data) =>
    front.send(data, from.port, from.address),
  );
  behind.on("message", (data) => down.push(data));
  const way = { up, down };
  ways.set(name, way);
  return way;
}

front.on("message", (data, from) => wayOf(from).up.push(data));
setInterval(() => {
  for (const { up, down } of ways.values()) {
    up.run();
    down.run();
  }
}, 1);
front.bind(0, "127.0.0.1");
await once(front, "listening");
process.on("disconnect", () => process.exit());
process.send?.({ port: front.address().port });
