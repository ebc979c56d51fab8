import { type Child, start } from "./child-process.ts";
import { listening, lowPort } from "./low-port.ts";
import { ENV } from "./sluice-process.ts";
import { certificate, SLUICE } from "./tunnel.ts";

/** Everything vproxy runs over in this version. */
export const VPROXY_TRANSPORTS = ["tcp", "tls", "kcp", "kcp+tls"] as const;

/** One of {@link VPROXY_TRANSPORTS}. */
export type VproxyTransport = (typeof VPROXY_TRANSPORTS)[number];

/** The user and password of every tunnel in tests. */
export const VPROXY_LOGIN = { user: "alice", password: "pasSw0rD" } as const;

/** How to start both ends. */
export interface VproxyTunnelOptions {
  readonly transport: VproxyTransport;
  /** Options for the query of each URL: `pool=0`. */
  readonly serveQuery?: string | undefined;
  readonly connectQuery?: string | undefined;
  /** `-L` and the like; a `-D` is always there. */
  readonly connectFlags?: readonly string[] | undefined;
  readonly serveFlags?: readonly string[] | undefined;
  /** What the client says who it is. @default {@link VPROXY_LOGIN} */
  readonly password?: string | undefined;
  /** Added to the client's environment. */
  readonly connectEnv?: Readonly<Record<string, string>> | undefined;
  /** Starts no server. */
  readonly isAlone?: boolean | undefined;
}

/** Both ends on loopback, each in its own process. */
export class VproxyTunnel implements AsyncDisposable {
  readonly servePort: number;
  /** SOCKS5, SOCKS4a and HTTP. */
  readonly proxyPort: number;
  readonly #options: VproxyTunnelOptions;
  readonly #scope: AsyncDisposableStack;
  readonly #pem: { readonly cert: string; readonly key: string } | undefined;
  #serve: Child | undefined;
  #connect: Child | undefined;

  private constructor(options: VproxyTunnelOptions, servePort: number, proxyPort: number) {
    this.servePort = servePort;
    this.proxyPort = proxyPort;
    this.#options = options;
    this.#scope = new AsyncDisposableStack();
    this.#pem = options.transport.endsWith("tls") ? certificate(this.#scope) : undefined;
  }

  /** Starts both, and waits until they listen. */
  static async start(options: VproxyTunnelOptions): Promise<VproxyTunnel> {
    const tunnel = new VproxyTunnel(options, await lowPort(), await lowPort());
    try {
      if (options.isAlone !== true) await tunnel.startServe();
      await tunnel.startConnect();
      return tunnel;
    } catch (thrown) {
      await tunnel[Symbol.asyncDispose]();
      throw thrown;
    }
  }

  get serve(): Child {
    if (this.#serve === undefined) throw new Error("no server was started");
    return this.#serve;
  }

  get connect(): Child {
    if (this.#connect === undefined) throw new Error("no client was started");
    return this.#connect;
  }

  /** The client's URL. */
  get url(): string {
    const { transport, connectQuery, password = VPROXY_LOGIN.password } = this.#options;
    const trust = this.#pem ? [`ca=${encodeURIComponent(this.#pem.cert)}`, "sni=localhost"] : [];
    const query = [...trust, ...(connectQuery === undefined ? [] : [connectQuery])].join("&");
    const place = `${VPROXY_LOGIN.user}:${password}@127.0.0.1:${this.servePort}`;
    return `vproxy+${transport}://${place}${query === "" ? "" : `?${query}`}`;
  }

  /** Starts a server, again after `stopServe`. */
  async startServe(): Promise<void> {
    const { transport, serveQuery, serveFlags = [] } = this.#options;
    const query = serveQuery === undefined ? "" : `?${serveQuery}`;
    const url = `vproxy+${transport}://127.0.0.1:${this.servePort}${query}`;
    const client = ["--client", `${VPROXY_LOGIN.user}=${VPROXY_LOGIN.password}`];
    const pem = this.#pem ? ["--cert", this.#pem.cert, "--key", this.#pem.key] : [];
    this.#serve = this.#run([
      "serve",
      url,
      ...client,
      "--allow",
      "127.0.0.0/8",
      ...pem,
      ...serveFlags,
    ]);
    // Over KCP this is the port for health checks.
    await listening(this.servePort, this.#serve);
  }

  /** Kills the server. */
  async stopServe(): Promise<void> {
    this.serve.kill("SIGKILL");
    await this.serve.exit;
  }

  async startConnect(): Promise<void> {
    const { connectFlags = [], connectEnv } = this.#options;
    const args = ["connect", this.url, "-D", `${this.proxyPort}`, ...connectFlags];
    this.#connect = this.#run(args, connectEnv);
    await listening(this.proxyPort, this.#connect);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scope.disposeAsync();
  }

  #run(args: readonly string[], env: Readonly<Record<string, string>> = {}): Child {
    const command = [SLUICE, ...args, "--log-format", "json"];
    return this.#scope.use(
      start(process.execPath, command, { deadlineMs: DEADLINE_MS, env: { ...ENV, ...env } }),
    );
  }
}

const DEADLINE_MS = 300_000;
