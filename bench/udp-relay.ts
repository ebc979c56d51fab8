/**
 * A plain relay of datagrams in its own process, `udp-relay.ts <target's port>`: each sender has a
 * socket of its own to the target. What a hop costs without a protocol.
 */
import dgram from "node:dgram";

const target = Number(process.argv[2]);
const BUFFERS = { recvBufferSize: 4 * 1024 * 1024, sendBufferSize: 4 * 1024 * 1024 };
const near = dgram.createSocket({ type: "udp4", ...BUFFERS });
const onward = new Map<string, dgram.Socket>();

near.on("message", (data, { address, port }) => {
  const name = `${address} ${port}`;
  const known = onward.get(name);
  if (known !== undefined) {
    known.send(data);
    return;
  }
  const socket = dgram.createSocket({ type: "udp4", ...BUFFERS });
  onward.set(name, socket);
  socket.on("message", (answer) => near.send(answer, port, address));
  socket.connect(target, "127.0.0.1", () => socket.send(data));
});
near.bind(0, "127.0.0.1", () => process.send?.({ port: near.address().port }));
process.on("disconnect", () => process.exit());
