import { randomBytes } from "node:crypto";
import { formatTarget, type Target } from "../../../address/target.ts";
import type { ByteReader, Parser } from "../../../bytes/byte-reader.ts";
import {
  type ErrorCode,
  MisuseError,
  NetworkError,
  ProtocolError,
  StreamReset,
  TunnelError,
} from "../../../errors.ts";
import type { Connection } from "../../../tunnel/connection.ts";
import { handshake, type HandshakeOptions } from "../../../tunnel/handshake.ts";
import { authorizationOf } from "./authorization.ts";
import { MARKER, readMarker } from "./marker.ts";
import { encodeConnect, GREETING, readAnswers, readMethod, readReply } from "./socks.ts";
import { encodeRequest, judgeAnswer, readAnswer } from "./upgrade.ts";

/** Who asks whom for an upgrade. */
export interface UpgradeOptions extends Omit<HandshakeOptions, "phase"> {
  /** The server as configured. */
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  /** The wall clock. */
  readonly unixMs: () => number;
  /** base64 of 16 bytes. @default random */
  readonly key?: string | undefined;
}

/**
 * Upgrades a fresh carrier: the request, then the 101. Afterwards it is paused, and nothing may come
 * on it before our marker went.
 *
 * @throws TunnelError saying why not ({@link judgeAnswer}); the connection is closed
 */
export async function upgradeCarrier(
  connection: Connection,
  { host, port, user, password, unixMs, key = randomKey(), ...bounds }: UpgradeOptions,
): Promise<void> {
  const { peer } = connection.info;
  try {
    const askedAt = unixMs();
    const authorization = authorizationOf(user, password, askedAt);
    // Nothing may follow before the answer: the original takes it for a body.
    connection.write([encodeRequest({ host, port, key, authorization })]);
    const answer = await handshake(connection, readAnswer, {
      ...bounds,
      phase: "upgrade answer",
    }).catch((thrown: unknown) => {
      throw explained(thrown, peer);
    });
    const refusal = judgeAnswer(answer, { peer, key, askedAt, answeredAt: unixMs() });
    if (refusal !== undefined) throw refusal;
  } catch (thrown) {
    connection.close();
    throw thrown;
  }
}

/** How an upgraded connection is put to use. */
export interface ConnectOptions extends Omit<HandshakeOptions, "phase"> {
  /** Whether each message waits for the answer to the one before. */
  readonly isStrict: boolean;
}

/**
 * Asks for a target on an upgraded connection: marker, greeting and request, in one write unless
 * strict. Afterwards it is paused; what the target already said is in it.
 *
 * Spec: vproxy 1.5, 1.7. Payload may only go behind the reply, that is, after this.
 *
 * @throws StreamReset with the server's reason, TunnelError; the connection is ended
 */
export async function connectThrough(
  connection: Connection,
  target: Target,
  { isStrict, ...bounds }: ConnectOptions,
): Promise<void> {
  const request = encodeTarget(target);
  const { peer } = connection.info;
  const { host } = target;
  const answer = { ...bounds, phase: `answer for ${formatTarget(target)}` };
  const marker = { ...bounds, phase: "marker", timeoutMs: MARKER_TIMEOUT_MS };
  const hear = async (parse: (reader: ByteReader) => Parser<void>): Promise<void> => {
    await handshake(connection, parse, answer).catch((thrown: unknown) => {
      throw lost(thrown, peer, "ERR_DIAL_TIMEOUT");
    });
  };
  try {
    connection.write([isStrict ? MARKER.slice() : Buffer.concat([MARKER, GREETING, request])]);
    // The server says it at once, before it looks for the target: a dead connection shows here.
    await handshake(connection, readMarker, marker).catch((thrown: unknown) => {
      throw lost(thrown, peer, "ERR_TUNNEL_LOST");
    });
    if (!isStrict) {
      await hear((reader) => readAnswers(reader, host));
      return;
    }
    connection.write([GREETING.slice()]);
    await hear(readMethod);
    connection.write([request]);
    await hear((reader) => readReply(reader, host));
  } catch (thrown) {
    connection.close();
    throw thrown;
  }
}

/**
 * The request for a target; call it before a connection is used up for what cannot be asked.
 *
 * @throws TunnelError `ERR_COMMAND_UNSUPPORTED`, `ERR_ADDRESS_UNSUPPORTED`
 */
export function encodeTarget(target: Target): Uint8Array {
  if (target.network !== "tcp") {
    const text = `${formatTarget(target)}: WebSocks carries TCP only`;
    throw new TunnelError("ERR_COMMAND_UNSUPPORTED", text);
  }
  try {
    return encodeConnect(target);
  } catch (cause) {
    if (!(cause instanceof ProtocolError)) throw new MisuseError("cannot encode", { cause });
    throw new TunnelError("ERR_ADDRESS_UNSUPPORTED", cause.message, { cause });
  }
}

/** A carrier that ends or answers nonsense instead of a 101 was most likely the wrong one. */
function explained(thrown: unknown, peer: string): unknown {
  if (!(thrown instanceof TunnelError)) return thrown;
  const hint = "check host and port, and whether the server wants TLS";
  const text = `${peer}: no answer to the upgrade: ${thrown.message}`;
  if (thrown.code === "ERR_PROTOCOL") return new ProtocolError(text, { cause: thrown, hint });
  if (thrown.code !== "ERR_CONNECTION_RESET") return thrown;
  return new NetworkError("ERR_TUNNEL_DOWN", text, { cause: thrown, hint });
}

/** Before the answer is there, all that fails but the answer itself is the way to the server. */
function lost(thrown: unknown, peer: string, timeoutCode: ErrorCode): unknown {
  if (thrown instanceof StreamReset || !(thrown instanceof TunnelError)) return thrown;
  if (thrown.code === "ERR_HANDSHAKE_TIMEOUT") {
    return new NetworkError(timeoutCode, thrown.message, { cause: thrown });
  }
  if (thrown.code !== "ERR_CONNECTION_RESET" && thrown.code !== "ERR_PROTOCOL") return thrown;
  const text = `${peer}: connection lost before the answer: ${thrown.message}`;
  return new NetworkError("ERR_TUNNEL_LOST", text, { cause: thrown, hint: thrown.hint });
}

function randomKey(): string {
  return randomBytes(16).toString("base64");
}

/** Two round trips over the worst of links. */
const MARKER_TIMEOUT_MS = 5_000;
