import type net from "node:net";

/** Asks a SOCKS5 port for a port of loopback. @throws Error when it says no */
export async function socksHandshake(socket: net.Socket, port: number): Promise<void> {
  socket.write(Buffer.of(5, 1, 0));
  await take(socket, 2);
  socket.write(Buffer.of(5, 1, 0, 1, 127, 0, 0, 1, port >> 8, port & 0xff));
  const reply = await take(socket, 10);
  if (reply[1] !== 0) throw new Error(`refused with SOCKS5 reply ${reply[1]}`);
}

/** So many bytes. */
function take(socket: net.Socket, count: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const finish = (): void => {
      socket.off("data", onData).off("error", reject).off("close", onClose);
    };
    const onClose = (): void => reject(new Error("the SOCKS5 port closed the connection"));
    const onData = (chunk: Buffer): void => {
      chunks.push(chunk);
      const bytes = Buffer.concat(chunks);
      if (bytes.byteLength < count) return;
      finish();
      resolve(bytes); // the origin says nothing unasked: there is no more
    };
    socket.on("data", onData).on("error", reject).on("close", onClose);
  });
}
