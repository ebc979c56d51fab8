import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Child, type ChildResult, run, start } from "../support/child-process.ts";
import { which } from "../support/which.ts";

/** The program of `dtls-peer/`: DTLS by an implementation that is not ours. */
export class DtlsPeer implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), "sluice-dtls-peer-"));

  /** Builds it. @returns why it cannot be had, instead */
  static async build(): Promise<DtlsPeer | string> {
    const go = which("go");
    if (go === undefined) return "not installed: go";
    const peer = new DtlsPeer();
    const args = ["build", "-mod=readonly", "-trimpath", "-o", peer.#program, "."];
    const env = { GOFLAGS: undefined, GOTOOLCHAIN: "local" };
    const { code, stderr } = await run(go, args, { cwd: SOURCE, env, deadlineMs: BUILD_MS });
    if (code === 0) return peer;
    peer[Symbol.dispose]();
    return `the peer could not be built: ${stderr.trim().split("\n").at(-1) ?? ""}`;
  }

  /** Runs a server. Hold `child` with `await using`. */
  async serve(settings: readonly string[]): Promise<{ child: Child; port: number }> {
    const child = start(this.#program, ["server", ...settings], { deadlineMs: RUN_MS });
    try {
      const [, port] = await child.waitFor(/listening (\d+)/);
      return { child, port: Number(port) };
    } catch (thrown) {
      await child[Symbol.asyncDispose]();
      throw thrown;
    }
  }

  /** Runs a client to its end. */
  ask(port: number, settings: readonly string[]): Promise<ChildResult> {
    const args = ["client", "-to", `127.0.0.1:${port}`, ...settings];
    return run(this.#program, args, { deadlineMs: RUN_MS });
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  get #program(): string {
    return join(this.#folder, "dtls-peer");
  }
}

const SOURCE = join(import.meta.dirname, "dtls-peer");
const BUILD_MS = 180_000;
const RUN_MS = 90_000;
