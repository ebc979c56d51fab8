import { stat } from "node:fs/promises";
import type { HostList } from "../address/host-list.ts";
import type { Target } from "../address/target.ts";
import type { Timer } from "../clock/clock.ts";
import { type ListFile, type ListSource, readListFile, stampOf } from "../config/list-file.ts";
import { toTunnelError } from "../errors.ts";
import type { Logger } from "../tunnel/logger.ts";
import type { Runtime } from "../tunnel/runtime.ts";

/** A list that is as its file is. */
export interface LiveList {
  matchesTarget(target: Target): boolean;
}

/** The host lists of all routes; each file is read again soon after it changed. */
export class HostLists {
  readonly #runtime: Runtime;
  readonly #logger: Logger;
  readonly #lists = new Map<string, WatchedList>();
  #timer: Timer | undefined;
  #isClosed = false;

  constructor({ runtime, logger }: { readonly runtime: Runtime; readonly logger: Logger }) {
    this.#runtime = runtime;
    this.#logger = logger;
  }

  /**
   * The list in a file, which is read now; routes that name the same file share it.
   *
   * @throws ConfigError when it cannot be read
   */
  async open(source: ListSource): Promise<LiveList> {
    const known = this.#lists.get(source.path);
    if (known !== undefined) return known;
    const list = new WatchedList(source, this.#logger, await readListFile(source));
    this.#lists.set(source.path, list);
    this.#schedule();
    return list;
  }

  /** Looks at every file now; a list whose new file cannot be read stays as it is. Never rejects. */
  async refresh(): Promise<void> {
    for (const list of this.#lists.values()) await list.refresh();
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
  }

  #schedule(): void {
    if (this.#isClosed) return;
    this.#timer ??= this.#runtime.clock.schedule(LOOK_MS, () => {
      void this.refresh().then(() => {
        this.#timer = undefined;
        this.#schedule();
      });
    });
  }
}

class WatchedList implements LiveList {
  readonly #source: ListSource;
  readonly #logger: Logger;
  #list: HostList;
  #stamp: string;

  constructor(source: ListSource, logger: Logger, file: ListFile) {
    this.#source = source;
    this.#logger = logger;
    this.#list = file.list;
    this.#stamp = file.stamp;
    this.#tell("host list read", file);
  }

  matchesTarget(target: Target): boolean {
    return this.#list.matchesTarget(target);
  }

  async refresh(): Promise<void> {
    const { path } = this.#source;
    let stamp = "";
    try {
      stamp = stampOf(await stat(path));
      if (stamp === this.#stamp) return;
      const file = await readListFile(this.#source);
      this.#list = file.list;
      this.#stamp = file.stamp;
      this.#tell("host list read again", file);
    } catch (thrown) {
      if (stamp === this.#stamp) return; // said already
      this.#stamp = stamp;
      const { message: reason } = toTunnelError(thrown, "ERR_CONFIG", path);
      this.#logger.warn("host list stays as it was", { list: path, reason });
    }
  }

  #tell(what: string, { list, problems, problemCount, skippedCount }: ListFile): void {
    const { path } = this.#source;
    this.#logger.info(what, { list: path, rules: list.size, skipped: skippedCount });
    for (const { line, message } of problems) {
      this.#logger.warn("host list line ignored", { list: `${path}:${line}`, reason: message });
    }
    const more = problemCount - problems.length;
    if (more > 0) this.#logger.warn("host list lines ignored", { list: path, lines: more });
  }
}

/** How often files are looked at: one `stat` each. */
const LOOK_MS = 5_000;
