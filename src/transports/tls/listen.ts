import type net from "node:net";
import tls from "node:tls";
import { formatHostPort } from "../../address/target.ts";
import type { Timer } from "../../clock/clock.ts";
import { ConfigError, NetworkError, PolicyError, type TunnelError } from "../../errors.ts";
import type { Listener, OnConnection } from "../../tunnel/connection.ts";
import { listenSockets, type TcpListenOptions } from "../tcp/listen.ts";
import { tlsConnection } from "./dial.ts";
import { endQuietly, rawSocketOf } from "./raw-socket.ts";
import { clientRefused, type TlsEndOptions, tlsError, toPem } from "./tls-options.ts";

/** Certificate and key of a listening end, PEM. */
export interface TlsServerOptions extends TlsEndOptions {
  readonly cert: string | Uint8Array;
  readonly key: string | Uint8Array;
  /** With it, clients must show a certificate that one of these PEM CAs signed. */
  readonly ca?: string | Uint8Array | undefined;
  readonly alpn?: readonly string[] | undefined;
  /** The only name clients may ask for; those that ask for none are welcome. @default any */
  readonly serverName?: string | undefined;
}

/** Where to listen, and as whom. */
export interface TlsListenOptions extends TcpListenOptions {
  readonly tls: TlsServerOptions;
  /** How long a peer may take over its handshake, ms. @default 10000 */
  readonly handshakeTimeoutMs?: number | undefined;
  /** Hears of every failed handshake. */
  readonly onHandshakeError?: ((error: Error, peer: string) => void) | undefined;
  /** Handshakes in progress at one time; past it the oldest one is ended. @default no limit of its own */
  readonly maxHandshakes?: number | undefined;
  /** What a client hears that speaks HTTP without TLS, before it is hung up on. @default nothing */
  readonly plaintextAnswer?: string | undefined;
}

/** A listener whose certificate can change while it listens. */
export interface TlsListener extends Listener {
  /**
   * Shows another certificate to whoever comes from now on; who is there already stays undisturbed.
   *
   * @throws ConfigError when certificate and key do not fit; the former ones stay in use then
   */
  replaceCertificate(cert: string | Uint8Array, key: string | Uint8Array): void;
}

/**
 * Listens for TLS 1.2 or newer.
 *
 * @throws ConfigError when the address is not to be had, or certificate and key do not fit
 */
export async function listenTls(
  options: TlsListenOptions,
  onConnection: OnConnection,
): Promise<Listener> {
  return await listenTlsSockets(options, (socket) => {
    const raw = rawSocketOf(socket);
    if (options.tls.endsQuietly === true && raw !== undefined) endQuietly(socket, raw);
    onConnection(tlsConnection(socket, options));
  });
}

/** Hands over the TLS sockets whose handshake is done, for layers that wrap them. */
export async function listenTlsSockets(
  options: TlsListenOptions,
  onSocket: (socket: tls.TLSSocket) => void,
): Promise<TlsListener> {
  const server = createTlsServer(options.tls);
  const handshakes = new WeakMap<net.Socket, PendingHandshake>();
  /** Oldest first. */
  const pending = new Set<PendingHandshake>();
  server.on("secureConnection", (socket) => {
    const raw = rawSocketOf(socket);
    if (raw !== undefined) handshakes.get(raw)?.settle();
    onSocket(socket);
  });
  server.on("tlsClientError", (error, socket) => {
    const raw = rawSocketOf(socket);
    const verdict: unknown = socket.authorizationError; // a code, or null
    const code = typeof verdict === "string" ? verdict : undefined;
    const answer = isPlaintextHttp(error) ? options.plaintextAnswer : undefined;
    // Below TLS, which has said nothing yet.
    if (answer !== undefined) raw?.write(answer);
    if (raw !== undefined) handshakes.get(raw)?.fail(error, code);
    if (answer === undefined) socket.destroy();
  });
  const listener = await listenSockets(options, (raw) => {
    const entry: PendingHandshake = new PendingHandshake(raw, {
      ...options,
      onSettled: () => void pending.delete(entry),
    });
    handshakes.set(raw, entry);
    pending.add(entry);
    const [oldest] = pending;
    if (pending.size > (options.maxHandshakes ?? Infinity)) oldest?.giveWay();
    server.emit("connection", raw);
  });
  const replaceCertificate: TlsListener["replaceCertificate"] = (cert, key) => {
    readServerOptions({ ...options.tls, cert, key }, (read) => {
      tls.createSecureContext(read); // throws before anything changed
      server.setSecureContext(read);
    });
  };
  return { ...listener, replaceCertificate };
}

function isPlaintextHttp(error: Error): boolean {
  const code = "code" in error ? error.code : undefined;
  return code === "ERR_SSL_HTTP_REQUEST" || code === "ERR_SSL_HTTPS_PROXY_REQUEST";
}

/** One handshake, from the accepted socket to its end. */
class PendingHandshake {
  readonly #raw: net.Socket;
  readonly #onError: TlsListenOptions["onHandshakeError"];
  readonly #onSettled: () => void;
  /** Asked before it is gone. */
  readonly #peer: string;
  readonly #timer: Timer;
  #isSettled = false;

  constructor(raw: net.Socket, options: TlsListenOptions & { readonly onSettled: () => void }) {
    const { runtime, handshakeTimeoutMs = 10_000, onHandshakeError, onSettled } = options;
    this.#raw = raw;
    this.#onError = onHandshakeError;
    this.#onSettled = onSettled;
    this.#peer = formatHostPort(raw.remoteAddress ?? "-", raw.remotePort ?? 0);
    // All of it, not one read: dripping bytes does not stretch it.
    this.#timer = runtime.clock.schedule(handshakeTimeoutMs, () => {
      const text = `${this.#peer}: tls handshake not complete within ${handshakeTimeoutMs} ms`;
      this.#failed(new NetworkError("ERR_HANDSHAKE_TIMEOUT", text));
    });
    raw.on("error", (error) => this.fail(error));
    // What TLS has to say of it comes a little later.
    raw.on("close", () => setImmediate(() => this.fail(LEFT)));
  }

  settle(): void {
    this.#isSettled = true;
    this.#timer.cancel();
    this.#onSettled();
  }

  /** Others came after it, and too many. */
  giveWay(): void {
    const text = `${this.#peer}: tls handshake ended: too many are in progress`;
    this.#failed(new PolicyError("ERR_LIMIT", text));
  }

  /** @param verdict what is wrong with the client's certificate, if that is it */
  fail(error: Error, verdict?: string): void {
    if (verdict === undefined) {
      this.#failed(tlsError(error, this.#peer));
      return;
    }
    // Node says no alert here, and in TLS 1.3 the client takes itself for welcome: a FIN would look
    // like the orderly end of what it asked for.
    const reset = (): void => void this.#raw.resetAndDestroy();
    this.#failed(clientRefused(error, verdict, this.#peer), reset);
  }

  #failed(error: TunnelError, end = (): void => this.#raw.destroySoon()): void {
    if (this.#isSettled) return;
    this.settle();
    end();
    this.#onError?.(error, this.#peer);
  }
}

/** Clients that ask for another name are refused. */
function onlyName(serverName: string): NonNullable<tls.TlsOptions["SNICallback"]> {
  return (asked, done) => {
    const isOurs = asked.toLowerCase() === serverName.toLowerCase();
    done(isOurs ? null : new Error(`asked for ${asked}, and this is ${serverName}`));
  };
}

function createTlsServer(settings: TlsServerOptions): tls.Server {
  return readServerOptions(settings, (options) =>
    tls.createServer({
      ...options,
      handshakeTimeout: NEVER_MS, // ours covers the whole handshake, not one silence
      allowHalfOpen: true,
    }),
  );
}

/** What Node is told of a listening end, a server's or one socket's. */
export type TlsListeningOptions = tls.SecureContextOptions &
  Pick<tls.TlsOptions, "requestCert" | "ALPNProtocols" | "SNICallback">;

/**
 * Makes something of certificate and key.
 *
 * @throws ConfigError when they do not fit
 */
export function readServerOptions<Made>(
  { cert, key, ca, alpn, serverName }: TlsServerOptions,
  make: (options: TlsListeningOptions) => Made,
): Made {
  try {
    // Node takes nothing for no certificate at all, and then fails every handshake.
    for (const part of [cert, key]) if (part.length === 0) throw new Error("empty");
    return make({
      cert: toPem(cert),
      key: toPem(key),
      minVersion: "TLSv1.2",
      ...(ca === undefined ? {} : { ca: toPem(ca), requestCert: true }),
      ...(alpn === undefined ? {} : { ALPNProtocols: [...alpn] }),
      ...(serverName === undefined ? {} : { SNICallback: onlyName(serverName) }),
    });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new ConfigError(`certificate or key cannot be used: ${why}`, {
      cause,
      hint: "give PEM files that belong together with --cert and --key",
    });
  }
}

/** A client that closed before its handshake was done. */
const LEFT: Error = Object.assign(new Error("closed"), { code: "ECONNRESET" });

const NEVER_MS = 2 ** 31 - 1;
