import { Duplex } from "node:stream";
import { SocksClient } from "socks";
import type { HostPort } from "../../address/socks-address.ts";
import { type ErrorCode, NetworkError, type TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import { formatProxy, type Proxy } from "./proxy.ts";

/** Bounds of one SOCKS handshake. */
export interface SocksConnectOptions {
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/**
 * Runs a SOCKS client's handshake over our own connection to the proxy. Afterwards the connection
 * is paused, and what the target already said is back in it.
 *
 * The `socks` package wants a Node stream, so it gets one that lives for the handshake only. It is
 * fed byte by byte: it so never holds bytes that belong to the target.
 *
 * @throws NetworkError; `signal.reason` when aborted; the connection is left for the caller to close
 */
export function socksConnect(
  connection: Connection,
  proxy: Proxy,
  destination: HostPort,
  { timeoutMs, signal }: SocksConnectOptions,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let isSettled = false;
    const stream = new Duplex({
      read: () => {},
      write: (chunk: Uint8Array, _encoding, done) => {
        connection.write([chunk]);
        done();
      },
    });
    const settle = (act: () => void): void => {
      if (isSettled) return;
      isSettled = true;
      signal.removeEventListener("abort", onAbort);
      connection.detach();
      act();
      stream.destroy();
    };
    const fail = (error: Error): void => settle(() => reject(error));
    const onAbort = (): void => {
      fail(signal.reason instanceof Error ? signal.reason : new Error(String(signal.reason)));
    };
    const client = new SocksClient({
      command: "connect",
      destination,
      proxy: {
        host: proxy.host,
        port: proxy.port,
        type: proxy.scheme === "socks4a" ? 4 : 5,
        ...(proxy.credential !== undefined && {
          userId: proxy.credential.user,
          password: proxy.credential.password,
        }),
      },
      // Its own timer, which nothing cancels: no longer than ours.
      timeout: timeoutMs,
    });
    client.on("established", () => settle(resolve));
    // Its errors carry the options, password included: they must not become a cause.
    client.on("error", ({ message }) => fail(socksError(message, proxy, destination)));
    if (signal.aborted) {
      onAbort();
      return;
    }
    signal.addEventListener("abort", onAbort, { once: true });
    connection.attach({
      onData: (chunk) => {
        for (let at = 0; at < chunk.byteLength; at++) {
          stream.emit("data", Buffer.from(chunk.subarray(at, at + 1)));
          if (!isSettled) continue;
          connection.unshift(chunk.subarray(at + 1));
          return;
        }
      },
      onEnd: () => fail(closedBy(proxy, undefined)),
      onDrain: () => {},
      onClose: (cause) => fail(closedBy(proxy, cause)),
    });
    client.connect(stream);
    connection.resume();
  });
}

function closedBy(proxy: Proxy, cause: TunnelError | undefined): NetworkError {
  const text = `proxy ${formatProxy(proxy)}: closed the connection during the handshake`;
  return new NetworkError("ERR_TUNNEL_DOWN", text, { cause });
}

/** The package tells its failures apart by text alone; `upstream.test.ts` pins every one. */
function socksError(message: string, proxy: Proxy, { host }: HostPort): NetworkError {
  const known = FAILURES.find(([pattern]) => pattern.test(message));
  const [, code, text] = known ?? [undefined, "ERR_DIAL_FAILED" as const, message.toLowerCase()];
  return new NetworkError(code, `proxy ${formatProxy(proxy)} for ${host}: ${text}`);
}

const FAILURES: readonly (readonly [RegExp, ErrorCode, string])[] = [
  [/ - NotAllowed$/, "ERR_POLICY_DENIED", "denied by the proxy's rules"],
  [/ - NetworkUnreachable$/, "ERR_DIAL_NETWORK_UNREACHABLE", "network unreachable"],
  [/ - HostUnreachable$/, "ERR_DIAL_HOST_UNREACHABLE", "host unreachable"],
  [/ - ConnectionRefused$/, "ERR_DIAL_REFUSED", "connection refused"],
  [/ - TTLExpired$/, "ERR_DIAL_TIMEOUT", "no answer in time"],
  [/ - CommandNotSupported$/, "ERR_COMMAND_UNSUPPORTED", "the proxy offers no CONNECT"],
  [/ - AddressNotSupported$/, "ERR_ADDRESS_UNSUPPORTED", "the proxy cannot dial such an address"],
  [/^Socks[45] [Pp]roxy rejected connection/, "ERR_DIAL_FAILED", "the proxy could not connect"],
  [/Authentication failed/, "ERR_CREDENTIAL", "the proxy did not take our credential"],
  [/no accepted authentication type/, "ERR_CREDENTIAL", "the proxy wants another credential"],
  [/unknown authentication type/, "ERR_CREDENTIAL", "the proxy wants another kind of login"],
  [/invalid socks version/, "ERR_PROTOCOL", "is no SOCKS5 proxy"],
];
