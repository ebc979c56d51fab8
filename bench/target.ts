/**
 * The origin of every measurement, in its own process. The first byte of a connection chooses:
 * `U` counts what comes until the end and answers the count, `K` says how far it counted while it
 * does, `D` sends until the client leaves, `E` echoes, `A` takes as many bytes as the next four say,
 * says so, and echoes from there.
 */
import net from "node:net";

const CHUNK = Buffer.alloc(256 * 1024, 0x5a);
const TURN_CHUNKS = 4;

const server = net.createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true });
server.on("connection", (accepted) => {
  accepted.on("error", () => accepted.destroy());
  const endToo = (): void => void accepted.end();
  accepted.once("end", endToo);
  accepted.once("data", (first: Buffer) => {
    accepted.off("end", endToo); // each mode ends in its own way
    const mode = String.fromCharCode(first[0] ?? 0);
    if (mode === "U") sink(accepted, first.byteLength - 1);
    else if (mode === "K") tally(accepted, first.byteLength - 1);
    else if (mode === "D") source(accepted);
    else if (mode === "A") echoAfter(accepted, first.subarray(1));
    else echo(accepted, first.subarray(1));
  });
  accepted.resume();
});
server.listen(Number(process.argv[2]), "127.0.0.1", () => {
  const address = server.address();
  if (typeof address === "object" && address !== null) process.send?.({ port: address.port });
});

/** Reads as cheaply as Node can, so that the origin is not what is measured. */
function sink(socket: net.Socket, already: number): void {
  let count = already;
  socket.on("data", (chunk: Buffer) => {
    count += chunk.byteLength;
  });
  socket.on("end", () => socket.end(String(count)));
}

/** Says now and then how many bytes came. */
function tally(socket: net.Socket, already: number): void {
  let bytes = already;
  let said = 0;
  const timer = setInterval(() => {
    if (bytes !== said) socket.write(`${bytes}\n`);
    said = bytes;
  }, 20);
  socket.on("data", (chunk: Buffer) => {
    bytes += chunk.byteLength;
  });
  socket.on("close", () => clearInterval(timer));
  socket.on("end", () => socket.end());
}

function echoAfter(socket: net.Socket, first: Buffer): void {
  let head = first;
  let left = -1;
  const take = (chunk: Buffer): void => {
    if (left < 0) {
      head = Buffer.concat([head, chunk]);
      if (head.byteLength < 4) return;
      left = head.readUInt32BE(0) + 4 - head.byteLength;
    } else {
      left -= chunk.byteLength;
    }
    if (left > 0) return;
    socket.off("data", take);
    socket.write("k");
    echo(socket, Buffer.alloc(0));
  };
  socket.on("data", take);
  take(Buffer.alloc(0));
}

function source(socket: net.Socket): void {
  const pump = (): void => {
    for (let at = 0; at < TURN_CHUNKS; at++) {
      if (socket.destroyed || !socket.write(CHUNK)) return;
    }
    setImmediate(pump); // the echoes of others have their turn
  };
  socket.on("drain", pump);
  socket.on("end", () => socket.destroy());
  pump();
}

function echo(socket: net.Socket, first: Buffer): void {
  if (first.byteLength > 0) socket.write(first);
  socket.on("data", (chunk: Buffer) => socket.write(chunk));
  socket.on("end", () => socket.end());
}
