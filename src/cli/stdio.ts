import { createWriteStream, fstatSync } from "node:fs";
import { Socket } from "node:net";
import { Duplex, type Readable, type Writable } from "node:stream";

/**
 * Standard input and output as one duplex with half-close each way: the end of the tunnel's data
 * closes our output, so that a program behind a pipe sees it while its own end stays open.
 */
export function joinStreams(input: Readable, output: Writable): Duplex {
  const duplex = new Duplex({
    allowHalfOpen: true,
    read: () => void input.resume(),
    write(chunk: Uint8Array, _encoding, callback) {
      output.write(chunk, callback);
    },
    final(callback) {
      output.end(() => callback());
    },
    destroy(error, callback) {
      input.destroy();
      output.destroy();
      callback(error);
    },
  });
  input.on("data", (chunk: Uint8Array) => {
    if (!duplex.push(chunk)) input.pause();
  });
  input.once("end", () => duplex.push(null));
  input.pause();
  for (const stream of [input, output]) {
    stream.once("error", (error) => duplex.destroy(error));
  }
  return duplex;
}

/**
 * Standard output as a stream that really closes. Node's own `process.stdout` never does, and a
 * program that waits for the end of what we print would wait for ever.
 */
export function closableStdout(): Writable {
  const stats = fstatSync(STDOUT);
  if (stats.isFIFO() || stats.isSocket()) {
    return new Socket({ fd: STDOUT, readable: false, writable: true });
  }
  return stats.isFile() ? createWriteStream("", { fd: STDOUT }) : process.stdout;
}

const STDOUT = 1;
