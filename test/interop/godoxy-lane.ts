import dgram from "node:dgram";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatHostPort } from "../../src/address/target.ts";
import { type Child, type ChildResult, run, start } from "../support/child-process.ts";
import { type Impairment, LossyUdp } from "../support/lossy-udp.ts";
import { listening, lowPort } from "../support/low-port.ts";
import { ENV, sluice } from "../support/sluice-process.ts";
import { socksAssociate, socksConnect, type SocksTarget } from "../support/socks-app.ts";
import { SLUICE } from "../support/tunnel.ts";
import {
  type CertificateForm,
  generateOurs,
  generateTheirs,
  type GodoxyIdentity,
  harnessFlags,
  ourEnvironment,
  ourQuery,
} from "./godoxy-identity.ts";

/** Whose program plays a part. */
export type Whose = "ours" | "theirs";

/** Who plays which part of a lane, with what certificates. */
export interface GodoxyLaneOptions {
  readonly harness: string;
  readonly agent: Whose;
  /** Who made the certificates. @default "theirs" */
  readonly maker?: Whose;
  /** @default "pem" */
  readonly form?: CertificateForm;
  /** The agent's address on loopback. @default "127.0.0.1" */
  readonly host?: string;
  /** More of our client's query: `pool=4`. */
  readonly query?: readonly string[];
  /** What becomes of the datagrams in between; there are no streams then. */
  readonly impairment?: Impairment;
}

/** An application's datagrams to one target. */
export interface Datagrams extends AsyncDisposable {
  readonly received: readonly Buffer[];
  send(data: Uint8Array): void;
}

/** An agent and a client on loopback, one of them the original's. */
export class GodoxyLane implements AsyncDisposable {
  readonly options: GodoxyLaneOptions;
  readonly port: number;
  readonly identity: GodoxyIdentity;
  /** Certificates of somebody else, which look the same. */
  readonly stranger: GodoxyIdentity;
  readonly relay: LossyUdp | undefined;
  readonly #scope: AsyncDisposableStack;
  readonly #doors = new Map<string, Promise<number>>();
  readonly #children: Child[] = [];
  readonly #proxyPort: number;
  #agent: Child | undefined;
  #client: Child | undefined;

  private constructor(
    options: GodoxyLaneOptions,
    parts: Pick<GodoxyLane, "port" | "identity" | "stranger" | "relay"> & {
      readonly scope: AsyncDisposableStack;
      readonly proxyPort: number;
    },
  ) {
    this.options = options;
    this.port = parts.port;
    this.identity = parts.identity;
    this.stranger = parts.stranger;
    this.relay = parts.relay;
    this.#scope = parts.scope;
    this.#proxyPort = parts.proxyPort;
  }

  /** Makes certificates and starts both ends. */
  static async start(options: GodoxyLaneOptions): Promise<GodoxyLane> {
    const { harness, maker = "theirs", form = "pem", impairment } = options;
    const scope = new AsyncDisposableStack();
    const folder = mkdtempSync(join(tmpdir(), "sluice-godoxy-"));
    scope.defer(() => rmSync(folder, { recursive: true, force: true }));
    const generate = async (name: string): Promise<GodoxyIdentity> => {
      const own = join(folder, name);
      mkdirSync(own);
      return maker === "ours"
        ? await generateOurs(own, form)
        : await generateTheirs(harness, own, form);
    };
    const port = await lowPort();
    const lane = new GodoxyLane(options, {
      port,
      identity: await generate("own"),
      stranger: await generate("stranger"),
      relay:
        impairment === undefined ? undefined : scope.use(await LossyUdp.start(port, impairment)),
      scope,
      proxyPort: await lowPort(),
    });
    try {
      await lane.startAgent();
      if (options.agent === "theirs") await lane.#startClient();
      return lane;
    } catch (thrown) {
      const printed = lane.printed();
      await lane[Symbol.asyncDispose]();
      throw new Error(`the lane does not work\n${printed}`, { cause: thrown });
    }
  }

  get agent(): Child {
    if (this.#agent === undefined) throw new Error("no agent was started");
    return this.#agent;
  }

  /** Starts the agent, again when it was killed. */
  async startAgent(): Promise<void> {
    const { agent, harness, host = LOOPBACK } = this.options;
    const at = formatHostPort(host, this.port);
    if (agent === "theirs") {
      const flags = harnessFlags(this.identity, "agent");
      this.#agent = this.#start(harness, ["agent", "--listen", at, ...flags]);
      await this.agent.waitFor(/listening/);
      return;
    }
    const query = ourQuery(this.identity, "agent").join("&");
    const urls = ["tls", "dtls"].map((kind) => `godoxy+${kind}://${at}${query && `?${query}`}`);
    const flags = ["--allow", "127.0.0.0/8", "--allow", "[::1]", ...LOGS];
    const args = [SLUICE, "serve", ...urls, ...flags];
    this.#agent = this.#start(process.execPath, args, ourEnvironment(this.identity));
    await this.agent.waitFor(/godoxy\+/);
    if (host === LOOPBACK) await listening(this.port, this.agent);
  }

  /** Kills the agent. */
  async killAgent(): Promise<void> {
    this.agent.kill("SIGKILL");
    await this.agent.exit;
  }

  /** An application's connection to a target. */
  async open(target: SocksTarget): Promise<net.Socket> {
    if (this.options.agent === "theirs") return await socksConnect(this.#proxyPort, target);
    const port = await this.#door("tcp", target);
    const socket = net.connect({ port, host: LOOPBACK, allowHalfOpen: true });
    await once(socket, "connect");
    return socket;
  }

  /** An application's datagrams to a target: a session of their own. */
  async associate(target: SocksTarget): Promise<Datagrams> {
    if (this.options.agent === "theirs") {
      const association = await socksAssociate(this.#proxyPort);
      return {
        get received(): readonly Buffer[] {
          return association.received.map(({ data }) => data);
        },
        send: (data) => association.send(target, data),
        [Symbol.asyncDispose]: async () => await association[Symbol.asyncDispose](),
      };
    }
    const port = await this.#door("udp", target);
    const socket = dgram.createSocket("udp4");
    const received: Buffer[] = [];
    socket.on("message", (data) => void received.push(data));
    socket.bind(0, LOOPBACK);
    await once(socket, "listening");
    return {
      received,
      send: (data) => socket.send(data, port, LOOPBACK),
      [Symbol.asyncDispose]: async () => {
        socket.close();
        await once(socket, "close");
      },
    };
  }

  /** Their client for one stream: what is written to it goes to the target. */
  stdio(target: SocksTarget, identity: GodoxyIdentity = this.identity): Child {
    return this.#start(this.options.harness, this.#theirs("tcp", target, identity));
  }

  /** Their probes, to the end. */
  async theirProbe(identity: GodoxyIdentity = this.identity): Promise<ChildResult> {
    const flags = harnessFlags(identity, "client");
    return await run(this.options.harness, ["probe", "--agent", this.#address, ...flags]);
  }

  /** Our ping, to its end. */
  async ourPing(
    kind: "tls" | "dtls",
    identity: GodoxyIdentity = this.identity,
  ): Promise<ChildResult> {
    return await sluice(["ping", this.url(kind, ourQuery(identity, "client"))]);
  }

  /** The agent's URL for our client. */
  url(kind: "tls" | "dtls", query: readonly string[]): string {
    return `godoxy+${kind}://${this.#address}?${query.join("&")}`;
  }

  /** The end of what the processes printed, for a failure's message. */
  printed(): string {
    return this.#children
      .map(({ stdout, stderr }) => `---\n${stdout.slice(-PRINTED)}\n${stderr.slice(-PRINTED)}`)
      .join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) child.kill("SIGKILL");
    await this.#scope.disposeAsync();
  }

  /** Where clients look for the agent. */
  get #address(): string {
    const { host = LOOPBACK } = this.options;
    return formatHostPort(host, this.relay?.port ?? this.port);
  }

  async #startClient(): Promise<void> {
    const kind = this.relay === undefined ? "tls" : "dtls";
    const query = [...ourQuery(this.identity, "client"), ...(this.options.query ?? [])];
    const args = ["connect", this.url(kind, query), "-D", String(this.#proxyPort), ...LOGS];
    this.#client = this.#start(process.execPath, [SLUICE, ...args]);
    await listening(this.#proxyPort, this.#client);
  }

  /** The port of their client for a target, which is started when it is the first to ask. */
  async #door(kind: "tcp" | "udp", target: SocksTarget): Promise<number> {
    const args = this.#theirs(kind, target);
    const name = args.join(" ");
    const known = this.#doors.get(name);
    if (known !== undefined) return await known;
    const child = this.#start(this.options.harness, [...args, "--listen", `${LOOPBACK}:0`]);
    this.#client = child;
    const port = child.waitFor(/listening \S+:(\d+)/).then((match) => Number(match[1]));
    this.#doors.set(name, port);
    return await port;
  }

  /** Our client, or the door of theirs that was opened last. */
  get client(): Child {
    if (this.#client === undefined) throw new Error("no client was started");
    return this.#client;
  }

  #theirs(kind: "tcp" | "udp", { host, port }: SocksTarget, identity = this.identity): string[] {
    const to = ["--agent", this.#address, "--target", formatHostPort(host, port)];
    return [kind, ...to, ...harnessFlags(identity, "client")];
  }

  #start(command: string, args: readonly string[], env: Record<string, string> = {}): Child {
    const child = start(command, args, {
      env: { ...ENV, ...env },
      deadlineMs: DEADLINE_MS,
      keepsStdinOpen: true,
    });
    this.#scope.use(child);
    this.#children.push(child);
    return child;
  }
}

const LOOPBACK = "127.0.0.1";
const LOGS = ["--log-format", "json", "--log-level", "debug"];
const PRINTED = 3_000;
const DEADLINE_MS = 600_000;
