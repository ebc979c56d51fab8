import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { issueCertificate, makeAuthority } from "../../src/certificates/authority.ts";
import type { PemPair } from "../../src/certificates/pem-pair.ts";
import { type Child, start } from "./child-process.ts";
import { listening, lowPort } from "./low-port.ts";
import { ENV } from "./sluice-process.ts";
import { SLUICE } from "./tunnel.ts";

/** Who may be shown: `stranger` is signed by a CA of the same name and another key. */
export type GodoxyWho = "server" | "client" | "stranger";

/** How to start both ends. */
export interface GodoxyOptions {
  readonly serveFlags?: readonly string[];
  readonly serveEnv?: Readonly<Record<string, string>>;
  /** Leaves the agent's UDP port closed. */
  readonly isTcpOnly?: boolean;
  /** More of the client's query: `pool=4`. */
  readonly query?: string;
  readonly connectFlags?: readonly string[];
}

/** An agent and its client on loopback, each in its own process, with certificates in files. */
export class GodoxyHouse implements AsyncDisposable {
  readonly folder: string;
  readonly port: number;
  readonly proxyPort: number;
  readonly ca: PemPair;
  readonly #options: GodoxyOptions;
  readonly #scope = new AsyncDisposableStack();
  #agent: Child | undefined;
  #client: Child | undefined;

  private constructor(options: GodoxyOptions, ports: readonly [number, number]) {
    this.#options = options;
    [this.port, this.proxyPort] = ports;
    this.folder = mkdtempSync(join(tmpdir(), "sluice-godoxy-"));
    this.#scope.defer(() => rmSync(this.folder, { recursive: true, force: true }));
    const now = new Date();
    this.ca = makeAuthority({ now });
    writeFileSync(this.file("ca.pem"), this.ca.cert);
    this.issue("server", "server");
    this.issue("client", "client");
    this.issue("stranger", "client", makeAuthority({ now }));
  }

  /** Starts both, and waits until they listen. */
  static async start(options: GodoxyOptions = {}): Promise<GodoxyHouse> {
    const house = new GodoxyHouse(options, [await lowPort(), await lowPort()]);
    try {
      await house.startAgent();
      await house.startClient();
      return house;
    } catch (thrown) {
      await house[Symbol.asyncDispose]();
      throw thrown;
    }
  }

  get agent(): Child {
    if (this.#agent === undefined) throw new Error("no agent was started");
    return this.#agent;
  }

  get client(): Child {
    if (this.#client === undefined) throw new Error("no client was started");
    return this.#client;
  }

  file(name: string): string {
    return join(this.folder, name);
  }

  /** Writes a new certificate and key to `<who>.pem` and `<who>.key`. */
  issue(who: GodoxyWho, role: "server" | "client", authority: PemPair = this.ca): PemPair {
    const pair = issueCertificate(authority, role, { now: new Date() });
    writeFileSync(this.file(`${who}.pem`), pair.cert);
    writeFileSync(this.file(`${who}.key`), pair.key);
    return pair;
  }

  /** The client's URL, showing this certificate. */
  url(who: GodoxyWho = "client", transport: "tls" | "dtls" = "tls"): string {
    const files = [`ca=file:${this.file("ca.pem")}`];
    files.push(`cert=file:${this.file(`${who}.pem`)}`, `key=file:${this.file(`${who}.key`)}`);
    const { query } = this.#options;
    if (query !== undefined && transport === "tls") files.push(query);
    return `godoxy+${transport}://127.0.0.1:${this.port}?${files.join("&")}`;
  }

  async startAgent(): Promise<void> {
    const { serveFlags, serveEnv, isTcpOnly } = this.#options;
    const own = [`ca=file:${this.file("ca.pem")}`, `cert=file:${this.file("server.pem")}`];
    const query = serveEnv ? "" : `?${own.join("&")}&key=file:${this.file("server.key")}`;
    const urls = (isTcpOnly === true ? ["tls"] : ["tls", "dtls"]).map(
      (transport) => `godoxy+${transport}://127.0.0.1:${this.port}${query}`,
    );
    const flags = serveFlags ?? ["--allow", "127.0.0.0/8", "--allow", "[::1]"];
    const args = ["serve", ...urls, ...flags, "--log-format", "json"];
    this.#agent = this.#run(args, serveEnv);
    await this.agent.waitFor(/godoxy\+/);
  }

  /** Kills the agent. */
  async killAgent(): Promise<void> {
    this.agent.kill("SIGKILL");
    await this.agent.exit;
  }

  async startClient(): Promise<void> {
    const { connectFlags = [] } = this.#options;
    const doors = ["-D", String(this.proxyPort), ...connectFlags];
    this.#client = this.#run(["connect", this.url(), ...doors, "--log-format", "json"]);
    await listening(this.proxyPort, this.client);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scope.disposeAsync();
  }

  #run(args: readonly string[], env: Readonly<Record<string, string>> = {}): Child {
    return this.#scope.use(
      start(process.execPath, [SLUICE, ...args], {
        deadlineMs: DEADLINE_MS,
        env: { ...ENV, ...env },
      }),
    );
  }
}

const DEADLINE_MS = 170_000;
