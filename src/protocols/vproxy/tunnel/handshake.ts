import type { ByteReader, Parser } from "../../../bytes/byte-reader.ts";
import { NetworkError, ProtocolError, toTunnelError } from "../../../errors.ts";
import type { Connection } from "../../../tunnel/connection.ts";
import { handshake } from "../../../tunnel/handshake.ts";
import type { Runtime } from "../../../tunnel/runtime.ts";
import {
  decodeGoaway,
  encodeFrame,
  encodeGoaway,
  FRAME_HEADER_BYTES,
  FrameType,
} from "./frames.ts";

/** What both ends of a handshake need. */
export interface TunnelHandshakeOptions {
  readonly runtime: Runtime;
  readonly signal?: AbortSignal | undefined;
  /** For the peer's nine bytes, ms. @default 5000 */
  readonly timeoutMs?: number | undefined;
}

/**
 * A client's handshake on a fresh connection: says ours, and waits for the same in return.
 *
 * @returns the connection, paused, with whatever came behind; it is closed when this throws
 * @throws ProtocolError when the peer says something else; NetworkError when it says goodbye,
 *   nothing in time, or is gone; `signal.reason`
 */
export async function openTunnel(
  connection: Connection,
  options: TunnelHandshakeOptions,
): Promise<Connection> {
  connection.write([handshakeFrame()]);
  await readHandshake(connection, options);
  return connection;
}

/** A server's: waits for the client's, and says the same. Everything else as {@link openTunnel}. */
export async function acceptTunnel(
  connection: Connection,
  options: TunnelHandshakeOptions,
): Promise<Connection> {
  await readHandshake(connection, options);
  connection.write([handshakeFrame()]);
  return connection;
}

async function readHandshake(
  connection: Connection,
  { runtime, signal, timeoutMs = HANDSHAKE_TIMEOUT_MS }: TunnelHandshakeOptions,
): Promise<void> {
  try {
    await handshake(connection, parseHandshake, {
      runtime,
      timeoutMs,
      phase: "vproxy tunnel handshake",
      signal,
    });
  } catch (thrown) {
    const error = toTunnelError(thrown, "ERR_PROTOCOL", "vproxy tunnel handshake");
    // Silence gets silence: over UDP, whoever says nothing may not even be there.
    if (error.code === "ERR_PROTOCOL") connection.write([encodeGoaway(INVALID_REASON)]);
    connection.close();
    throw error;
  }
}

/** The peer's nine bytes, or the GOAWAY it may send in their place. */
function* parseHandshake(reader: ByteReader): Parser<void> {
  const bytes = yield* reader.read(FRAME_HEADER_BYTES);
  if (Buffer.compare(bytes, handshakeFrame()) === 0) return;
  const length = Buffer.from(bytes).readUIntBE(0, 3);
  if (bytes[3] !== FrameType.goaway || length > MAX_GOAWAY_BYTES) {
    throw new ProtocolError(INVALID_REASON, {
      hint: "check that the peer is a vproxy tunnel, and that both ends use the same transport",
    });
  }
  const reason = decodeGoaway(yield* reader.read(length));
  throw new NetworkError("ERR_TUNNEL_LOST", `peer shut the tunnel down: ${reason || "no reason"}`);
}

/** Empty SETTINGS: the same nine bytes both ways. Spec: vproxy 3.6. */
function handshakeFrame(): Uint8Array {
  const [bytes = NO_BYTES] = encodeFrame({
    type: FrameType.settings,
    flags: 0,
    streamId: 0,
    payload: NO_BYTES,
  });
  return bytes;
}

/** The reference's own words. Spec: vproxy 3.4. */
const INVALID_REASON = "handshake message is invalid";

const NO_BYTES = new Uint8Array(0);

/** Spec: vproxy 3.10. */
const HANDSHAKE_TIMEOUT_MS = 5000;

/** A sentence; a longer one is no GOAWAY we would wait for. */
const MAX_GOAWAY_BYTES = 4096;
