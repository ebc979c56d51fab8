import { stat } from "node:fs/promises";
import type { Timer } from "../clock/clock.ts";
import { systemCode, toTunnelError } from "../errors.ts";
import type { Logger } from "../tunnel/logger.ts";
import type { Runtime } from "../tunnel/runtime.ts";
import { type CertificateMaterial, checkMaterial } from "./material.ts";

/** What is watched, and who is told. */
export interface CertificateWatchOptions {
  readonly runtime: Runtime;
  readonly logger: Logger;
  /** The files that `load` reads; a change of any is a reason to read them all again. */
  readonly paths: readonly string[];
  /** Reads everything. @throws TunnelError when something cannot be had */
  readonly load: () => Promise<CertificateMaterial>;
  /** Is given what is to be used from now on; only what differs from what was, and is sound. */
  readonly onChange: (material: CertificateMaterial) => void;
}

/**
 * Certificates that are as their files are: read again soon after one changed. New ones that are
 * broken, or do not belong together, are not used; the old ones stay, and the log says so once.
 */
export class CertificateWatch {
  readonly #options: CertificateWatchOptions;
  #material: CertificateMaterial = {};
  #stamp = "";
  #timer: Timer | undefined;
  #refreshing: Promise<void> | undefined;
  #isClosed = false;

  constructor(options: CertificateWatchOptions) {
    this.#options = options;
  }

  /**
   * Reads everything for the first time, and looks for changes from now on. Call it once.
   *
   * @throws TunnelError when something cannot be read or is broken
   */
  async open(): Promise<CertificateMaterial> {
    // The stamp is taken first: what changes while it is read is read again.
    this.#stamp = await this.#look();
    this.#material = await this.#read();
    this.#schedule();
    return this.#material;
  }

  /** Looks at the files now. Never rejects. */
  refresh(): Promise<void> {
    this.#refreshing ??= this.#refresh().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  /** Ends it; nobody is told anything after. */
  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
  }

  async #refresh(): Promise<void> {
    const stamp = await this.#look();
    if (this.#isClosed || stamp === this.#stamp) return;
    this.#stamp = stamp;
    const { logger, paths, onChange } = this.#options;
    const files = paths.join(", ");
    try {
      const material = await this.#read();
      if (this.#isClosed || isSame(material, this.#material)) return;
      onChange(material);
      this.#material = material;
      logger.info("certificates read again", { files });
    } catch (thrown) {
      if (this.#isClosed) return;
      const { message: reason } = toTunnelError(thrown, "ERR_CONFIG", files);
      logger.warn("certificates stay as they were", { files, reason });
    }
  }

  async #read(): Promise<CertificateMaterial> {
    const material = await this.#options.load();
    checkMaterial(material);
    return material;
  }

  /** What changes when one of the files is written, replaced or removed. */
  async #look(): Promise<string> {
    const stamps = this.#options.paths.map(async (path) => {
      try {
        const { ino, size, mtimeMs } = await stat(path);
        return `${ino} ${size} ${mtimeMs}`;
      } catch (thrown) {
        return systemCode(thrown) ?? "unknown";
      }
    });
    return (await Promise.all(stamps)).join(", ");
  }

  #schedule(): void {
    if (this.#isClosed || this.#options.paths.length === 0) return;
    this.#timer = this.#options.runtime.clock.schedule(LOOK_MS, () => {
      void this.refresh().then(() => this.#schedule());
    });
  }
}

function isSame(some: CertificateMaterial, others: CertificateMaterial): boolean {
  return some.ca === others.ca && some.cert === others.cert && some.key === others.key;
}

/** How often files are looked at: one `stat` each. */
const LOOK_MS = 5_000;
