import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { type Child, start } from "../support/child-process.ts";
import { accepts, lowPort } from "../support/low-port.ts";
import { certificate, CLIENT_ID, type PongTransport } from "../support/tunnel.ts";

/** Programs named in `SLUICE_INTEROP_PONG`, separated by `:` or `,`. */
export function referencePrograms(): string[] {
  return (process.env["SLUICE_INTEROP_PONG"] ?? "").split(/[:,]/).filter((path) => path !== "");
}

/** Whether a program is pong-go's HEAD, which loses data that v0.9.4 does not. */
export function isHead(program: string): boolean {
  return /head/i.test(basename(program));
}

/** Files and processes of one reference, gone with the scope. */
export class Reference {
  readonly #program: string;
  readonly #folder: string;
  readonly #pem: { readonly cert: string; readonly key: string };

  constructor(program: string, scope: AsyncDisposableStack) {
    this.#program = program;
    this.#folder = mkdtempSync(join(tmpdir(), "sluice-interop-"));
    scope.defer(() => rmSync(this.#folder, { recursive: true, force: true }));
    this.#pem = certificate(scope);
  }

  /** Certificate and key files for listeners of either end. */
  get pem(): { readonly cert: string; readonly key: string } {
    return this.#pem;
  }

  /** A remote that listens on one transport. */
  async startRemote(
    transport: PongTransport,
  ): Promise<{ readonly child: Child; readonly port: number }> {
    const port = await lowPort();
    const files = isSecure(transport) ? { certFile: this.#pem.cert, keyFile: this.#pem.key } : {};
    const listens = [{ ...this.#point(transport, port), ...files }];
    return { child: await this.#start("remote", { listens }, port), port };
  }

  /** A local that sends everything through one point. */
  async startLocal(
    transport: PongTransport,
    point: { readonly port: number; readonly clientId?: string },
  ): Promise<{ readonly child: Child; readonly port: number }> {
    const port = await lowPort();
    const config = {
      domainMode: "proxy",
      ipMode: "proxy",
      listens: [{ transport: "tcp", host: `127.0.0.1:${port}`, protocol: "socks" }],
      points: [{ ...this.#point(transport, point.port, point.clientId), insecureSkip: true }],
    };
    return { child: await this.#start("local", config, port), port };
  }

  #point(transport: PongTransport, port: number, clientId = CLIENT_ID): object {
    const path = transport.startsWith("ws") ? { path: "/pong" } : {};
    const host = `127.0.0.1:${port}`;
    return { transport, host, protocol: "pong", clients: [clientId], ...path };
  }

  async #start(mode: "local" | "remote", config: object, port: number): Promise<Child> {
    const folder = mkdtempSync(join(this.#folder, `${mode}-`));
    mkdirSync(join(folder, "rule"), { recursive: true });
    const file = join(folder, "config.json");
    writeFileSync(file, JSON.stringify(config));
    const args = ["-m", mode, "-d", folder, "-c", file];
    const child = start(this.#program, args, { cwd: folder, deadlineMs: RUN_MS });
    try {
      await listening(port, child);
      // An open port does not mean ready: until its rules are loaded a local dials directly.
      await new Promise((resolve) => setTimeout(resolve, READY_MS));
    } catch (thrown) {
      await child[Symbol.asyncDispose]();
      throw thrown;
    }
    return child;
  }
}

/** Whether a transport runs inside TLS. */
export function isSecure(transport: PongTransport): boolean {
  return transport === "tls" || transport === "wss";
}

async function listening(port: number, child: Child): Promise<void> {
  let isOver = false;
  void child.exit.then(() => {
    isOver = true;
  });
  const until = performance.now() + START_MS;
  while (!(await accepts(port))) {
    if (isOver || performance.now() > until) {
      throw new Error(`the reference does not listen on ${port}\n${child.stderr}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

const START_MS = 10_000;
const READY_MS = 1_700;
const RUN_MS = 900_000;
