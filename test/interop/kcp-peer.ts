import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Child, run, start } from "../support/child-process.ts";
import { which } from "../support/which.ts";
import type { Wish } from "./kcp-wish.ts";

/** The program of `kcp-peer/`: KCP by an implementation that is not ours. */
export class KcpPeer implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), "sluice-kcp-peer-"));

  /** Builds it. @returns why it cannot be had, instead */
  static async build(): Promise<KcpPeer | string> {
    const go = which("go");
    if (go === undefined) return "not installed: go";
    const peer = new KcpPeer();
    const args = ["build", "-mod=readonly", "-trimpath", "-o", peer.#program, "."];
    const env = { GOFLAGS: undefined, GOTOOLCHAIN: "local" };
    const options = { cwd: SOURCE, env, deadlineMs: BUILD_MS };
    const { code, stderr } = await run(go, args, options);
    if (code === 0) return peer;
    peer[Symbol.dispose]();
    return `the peer could not be built: ${stderr.trim().split("\n").at(-1) ?? ""}`;
  }

  /** Runs a server. Hold `child` with `await using`. */
  async serve(settings: readonly string[] = []): Promise<{ child: Child; port: number }> {
    const child = start(this.#program, ["server", ...settings], { deadlineMs: RUN_MS });
    try {
      const [, port] = await child.waitFor(/listening (\d+)/);
      return { child, port: Number(port) };
    } catch (thrown) {
      await child[Symbol.asyncDispose]();
      throw thrown;
    }
  }

  /** Runs a client to its end. @returns the SHA-256 of what was carried, as the receiver got it */
  async ask(
    port: number,
    wish: Wish,
    {
      size,
      settings = [],
    }: { readonly size: number; readonly settings?: readonly string[] | undefined },
  ): Promise<string> {
    const args = ["client", "-to", `127.0.0.1:${port}`, "-wish", wish, "-size", String(size)];
    const result = await run(this.#program, [...args, ...settings], { deadlineMs: RUN_MS });
    const [, hash] = new RegExp(`^${wish} ${size} ([0-9a-f]{64})$`, "m").exec(result.stdout) ?? [];
    if (result.code === 0 && hash !== undefined) return hash;
    throw new Error(`the peer failed with ${result.code}\n${result.stdout}${result.stderr}`);
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  get #program(): string {
    return join(this.#folder, "kcp-peer");
  }
}

const SOURCE = join(import.meta.dirname, "kcp-peer");
const BUILD_MS = 180_000;
const RUN_MS = 120_000;
