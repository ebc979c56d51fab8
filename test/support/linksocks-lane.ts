import { setTimeout as sleep } from "node:timers/promises";
import { type Child, start } from "./child-process.ts";
import {
  type LaneRole,
  type LaneSettings,
  type LinksocksMode,
  OURS,
  ourArguments,
  type Program,
  referenceArguments,
} from "./linksocks-arguments.ts";
import { accepts, lowPort } from "./low-port.ts";
import { socksConnect } from "./socks-app.ts";
import { SLUICE } from "./tunnel.ts";
import { type Origin, tcpOrigin } from "./origin.ts";

/** Who plays which part of a lane. */
export interface LaneOptions extends Partial<LaneSettings> {
  readonly mode: LinksocksMode;
  /** @default ours */
  readonly programs?: Partial<Readonly<Record<LaneRole, Program>>> | undefined;
  /** What the SOCKS5 port asks for. */
  readonly login?: { readonly user: string; readonly password: string } | undefined;
  /** Every process is killed after this. @default 900000 */
  readonly deadlineMs?: number | undefined;
}

/**
 * The processes of one LinkSocks set-up on loopback: a server, and around it a forward client, a
 * provider, or a connector and a provider. Each of them is Sluice or the reference.
 */
export class Lane implements AsyncDisposable {
  readonly mode: LinksocksMode;
  readonly #options: LaneOptions;
  readonly #settings: LaneSettings;
  readonly #children = new Map<LaneRole, Child>();
  readonly #extras: Child[] = [];
  readonly #probe: Origin;

  private constructor(options: LaneOptions, settings: LaneSettings, probe: Origin) {
    this.mode = options.mode;
    this.#options = options;
    this.#settings = settings;
    this.#probe = probe;
  }

  /** Starts every process, and waits until a connection goes through. */
  static async start(options: LaneOptions): Promise<Lane> {
    const settings = {
      serverPort: await lowPort(),
      socksPort: await lowPort(),
      reversePort: await lowPort(),
      ...options,
    };
    const probe = await tcpOrigin((socket) => void socket.pipe(socket));
    const lane = new Lane(options, settings, probe);
    try {
      for (const role of lane.roles) await lane.startRole(role);
      await lane.ready();
      return lane;
    } catch (thrown) {
      const printed = lane.printed();
      await lane[Symbol.asyncDispose]();
      throw new Error(`the lane does not work\n${printed}`, { cause: thrown });
    }
  }

  /** Where applications connect. */
  get socksPort(): number {
    const { socksPort, reversePort } = this.#settings;
    return this.mode === "reverse" ? reversePort : socksPort;
  }

  get serverPort(): number {
    return this.#settings.serverPort;
  }

  /** The SOCKS5 port of the server, in the modes that have one. */
  get reversePort(): number {
    return this.#settings.reversePort;
  }

  /** In the order they have to start. */
  get roles(): readonly LaneRole[] {
    switch (this.mode) {
      case "forward":
        return ["server", "client"];
      case "reverse":
        return ["server", "provider"];
      case "agent":
      case "autonomy":
        return ["server", "provider", "client"];
    }
  }

  /** Whether the role is Sluice's. */
  isOurs(role: LaneRole): boolean {
    return this.#program(role) === OURS;
  }

  /** Who has the SOCKS5 listener. */
  get socksSide(): LaneRole {
    return this.mode === "reverse" ? "server" : "client";
  }

  /** Who dials the targets. */
  get exitSide(): LaneRole {
    return this.mode === "forward" ? "server" : "provider";
  }

  /** Starts a role's process, again when it was stopped. */
  async startRole(role: LaneRole): Promise<Child> {
    const program = this.#program(role);
    const isOurs = program === OURS;
    const args = (isOurs ? ourArguments : referenceArguments)(role, this.mode, this.#settings);
    const deadlineMs = this.#options.deadlineMs ?? DEADLINE_MS;
    const port = role === "server" ? this.#settings.serverPort : this.#settings.socksPort;
    const until = performance.now() + START_MS;
    for (;;) {
      const child = isOurs
        ? start(process.execPath, [SLUICE, ...args], { deadlineMs, env: ENV })
        : start(program, args, { deadlineMs, env: ENV });
      this.#children.set(role, child);
      if (role === "provider" || (await listening(port, child, until))) return child;
      if (!this.#mayBeEarly(role) || performance.now() > until) {
        throw new Error(`the ${role} does not listen`);
      }
      await child[Symbol.asyncDispose]();
    }
  }

  /** Starts one more process of a role that several may take. */
  startAnother(role: "provider"): Child {
    const program = this.#program(role);
    const args = ourArguments(role, this.mode, this.#settings);
    if (program !== OURS) throw new Error("only Sluice can be there several times");
    const child = start(process.execPath, [SLUICE, ...args], { deadlineMs: DEADLINE_MS, env: ENV });
    this.#extras.push(child);
    return child;
  }

  /** Ends a role's process. */
  async stopRole(role: LaneRole, signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const child = this.child(role);
    child.kill(signal);
    await child.exit;
  }

  /** The process of a role. */
  child(role: LaneRole): Child {
    const child = this.#children.get(role);
    if (child === undefined) throw new Error(`${this.mode} has no ${role}`);
    return child;
  }

  /** Waits until a connection goes through, however often it has to try. */
  async ready(withinMs: number = READY_MS): Promise<void> {
    const until = performance.now() + withinMs;
    for (;;) {
      try {
        const target = { host: "127.0.0.1", port: this.#probe.port };
        const app = await socksConnect(this.socksPort, target, this.#options.login);
        app.on("error", () => {}).destroy();
        return;
      } catch (thrown) {
        if (performance.now() > until) throw thrown;
        await sleep(50);
        await this.#reviveConnector();
      }
    }
  }

  /** All that our processes printed, for a failure's message. */
  printed(): string {
    return Array.from(this.#children, ([role, { stdout, stderr }]) => {
      return `--- ${role}\n${stdout.slice(-PRINTED)}\n${stderr.slice(-PRINTED)}`;
    }).join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      [...this.#children.values(), ...this.#extras].map(async (child) => {
        child.kill("SIGKILL");
        await child[Symbol.asyncDispose]();
      }),
    );
    await this.#probe[Symbol.asyncDispose]();
  }

  /** A connector that comes before its provider has named it is refused for good. */
  #mayBeEarly(role: LaneRole): boolean {
    return this.mode === "autonomy" && role === "client";
  }

  async #reviveConnector(): Promise<void> {
    const { exitCode } = this.#children.get("client")?.process ?? {};
    if (this.#mayBeEarly("client") && typeof exitCode === "number") await this.startRole("client");
  }

  #program(role: LaneRole): Program {
    return this.#options.programs?.[role] ?? OURS;
  }
}

async function listening(port: number, child: Child, until: number): Promise<boolean> {
  let isOver = false;
  void child.exit.then(() => {
    isOver = true;
  });
  while (!(await accepts(port))) {
    if (isOver || performance.now() > until) return false;
    await sleep(25);
  }
  return true;
}

const ENV: Readonly<Record<string, string | undefined>> = {
  http_proxy: undefined,
  https_proxy: undefined,
  SLUICE_CONFIG: undefined,
};

const DEADLINE_MS = 900_000;
const START_MS = 20_000;
const READY_MS = 20_000;
const PRINTED = 3_000;
