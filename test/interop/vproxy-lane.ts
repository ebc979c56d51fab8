import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { CertificateFactory } from "../support/certificates.ts";
import { type Child, start } from "../support/child-process.ts";
import { type Impairment, LossyUdp } from "../support/lossy-udp.ts";
import { accepts, lowPort } from "../support/low-port.ts";
import { ENV } from "../support/sluice-process.ts";
import { socksConnect, type SocksTarget } from "../support/socks-app.ts";
import { SLUICE } from "../support/tunnel.ts";
import { readExactly, request, REQUEST_BYTES, startTarget, type Target } from "./pong-target.ts";
import {
  agentConfig,
  type LaneKind,
  type LaneRole,
  type LaneSettings,
  OURS,
  ourArguments,
  type Program,
  referenceArguments,
  USERS,
} from "./vproxy-arguments.ts";

/** Who plays which part of a lane, over what. */
export interface LaneOptions extends Partial<Pick<LaneSettings, "user" | "isStrict" | "query">> {
  readonly kind: LaneKind;
  readonly programs: Readonly<Record<LaneRole, Program>>;
  /** What becomes of the datagrams in between. */
  readonly impairment?: Impairment | undefined;
  /** @default the user's */
  readonly password?: string | undefined;
  /** Starts without waiting for a connection to go through. */
  readonly isHopeless?: boolean | undefined;
}

/** A server, a client, and a target on loopback; one of the two is not ours. */
export class VproxyLane implements AsyncDisposable {
  readonly target: Target;
  readonly #options: LaneOptions;
  readonly #settings: LaneSettings;
  readonly #folder: string;
  readonly #scope: AsyncDisposableStack;
  readonly #children = new Map<LaneRole, Child>();

  private constructor(
    options: LaneOptions,
    settings: LaneSettings,
    parts: { target: Target; folder: string; scope: AsyncDisposableStack },
  ) {
    this.#options = options;
    this.#settings = settings;
    this.target = parts.target;
    this.#folder = parts.folder;
    this.#scope = parts.scope;
  }

  /** Starts everything, and waits until a connection goes through. */
  static async start(options: LaneOptions): Promise<VproxyLane> {
    const scope = new AsyncDisposableStack();
    const folder = mkdtempSync(join(tmpdir(), "sluice-vproxy-"));
    scope.defer(() => rmSync(folder, { recursive: true, force: true }));
    const target = scope.use(await startTarget());
    const serverPort = await lowPort();
    const { impairment, user = "alice", isStrict = false, query = [] } = options;
    const relay =
      impairment === undefined
        ? undefined
        : scope.use(await LossyUdp.start(serverPort, impairment));
    const settings: LaneSettings = {
      kind: options.kind,
      serverPort,
      dialPort: relay?.port ?? serverPort,
      clientPort: await lowPort(),
      targetPort: target.port,
      pem: certificateIn(folder),
      user,
      password: options.password ?? USERS[user],
      isStrict,
      query,
    };
    const lane = new VproxyLane(options, settings, { target, folder, scope });
    try {
      lane.startRole("server");
      await lane.#serverListens();
      lane.startRole("client");
      if (options.isHopeless !== true) await lane.ready();
      return lane;
    } catch (thrown) {
      const printed = lane.printed();
      await lane[Symbol.asyncDispose]();
      throw new Error(`the lane does not work\n${printed}`, { cause: thrown });
    }
  }

  get kind(): LaneKind {
    return this.#settings.kind;
  }

  /** Whether the role is Sluice's. */
  isOurs(role: LaneRole): boolean {
    return this.#options.programs[role] === OURS;
  }

  /** An application's connection; with `kcptun` it leads to the lane's own target. */
  async open(to: SocksTarget = { host: "127.0.0.1", port: this.target.port }): Promise<net.Socket> {
    const { kind, clientPort: port } = this.#settings;
    if (kind !== "kcptun") return await socksConnect(port, to);
    const socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    return socket;
  }

  /** Starts a role's process, again when it was stopped. */
  startRole(role: LaneRole): void {
    const program = this.#options.programs[role];
    const [command, args] =
      program === OURS
        ? [process.execPath, [SLUICE, ...ourArguments(role, this.#settings)]]
        : [program, referenceArguments(role, this.#settings, this.#agentFile())];
    const child = start(command, args, { cwd: this.#folder, env: ENV, deadlineMs: DEADLINE_MS });
    this.#scope.use(child);
    this.#children.set(role, child);
  }

  /** Kills a role's process. */
  async stopRole(role: LaneRole): Promise<void> {
    const child = this.child(role);
    child.kill("SIGKILL");
    await child.exit;
  }

  /** The process of a role. */
  child(role: LaneRole): Child {
    const child = this.#children.get(role);
    if (child === undefined) throw new Error(`there is no ${role}`);
    return child;
  }

  /** Waits until a request is answered, however often it has to be made. */
  async ready(withinMs: number = READY_MS): Promise<void> {
    const until = performance.now() + withinMs;
    while (!(await this.#answers())) {
      const over = [...this.#children].find(([, { process }]) => process.exitCode !== null);
      if (over !== undefined) throw new Error(`the ${over[0]} ended`);
      if (performance.now() > until) throw new Error(`no answer within ${withinMs} ms`);
      await sleep(100);
    }
  }

  /** The end of what the processes printed, for a failure's message. */
  printed(): string {
    return Array.from(this.#children, ([role, { stdout, stderr }]) => {
      return `--- ${role}\n${stdout.slice(-PRINTED)}\n${stderr.slice(-PRINTED)}`;
    }).join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children.values()) child.kill("SIGKILL");
    await this.#scope.disposeAsync();
  }

  /** An agent that finds no server waits for half a minute before it looks again. */
  async #serverListens(): Promise<void> {
    if (this.kind === "kcptun") return; // no port to ask
    const { process } = this.child("server");
    const until = performance.now() + READY_MS;
    while (!(await accepts(this.#settings.serverPort))) {
      if (process.exitCode !== null || performance.now() > until) {
        throw new Error("the server does not listen");
      }
      await sleep(25);
    }
  }

  async #answers(): Promise<boolean> {
    let app: net.Socket | undefined;
    try {
      app = await this.open();
      app.on("error", () => {});
      app.setTimeout(ANSWER_MS, () => app?.destroy());
      app.write(request("chat"));
      return (await readExactly(app, REQUEST_BYTES)).byteLength > 0;
    } catch {
      return false; // not yet
    } finally {
      app?.destroy();
    }
  }

  #agentFile(): string {
    const file = join(this.#folder, "agent.conf");
    writeFileSync(file, agentConfig(this.#settings));
    return file;
  }
}

/** RSA: the original reads no other keys from PEM files. */
function certificateIn(folder: string): { readonly cert: string; readonly key: string } {
  using factory = new CertificateFactory();
  const made = factory.make({ keyType: "rsa" });
  const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
  writeFileSync(cert, made.cert);
  writeFileSync(key, made.key);
  return { cert, key };
}

const PRINTED = 3_000;
const READY_MS = 40_000;
const ANSWER_MS = 5_000;
const DEADLINE_MS = 900_000;
