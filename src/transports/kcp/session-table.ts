import { formatIp, parseIp } from "../../address/ip.ts";
import type { HostPort } from "../../address/socks-address.ts";
import type { KcpConnection } from "./kcp-connection.ts";

/** One live session of a listener. */
export interface SessionEntry {
  readonly connection: KcpConnection;
  readonly from: HostPort;
  readonly bornAt: number;
  /** The peer acknowledged something: nobody made its address up. */
  isProven: boolean;
}

/** The sessions of a listener, by the address and port of their peers. */
export class SessionTable {
  readonly #byHost = new Map<string, Map<number, SessionEntry>>();
  readonly #perSource = new Map<string, number>();
  #size = 0;
  #unproven = 0;

  get size(): number {
    return this.#size;
  }

  /** Sessions whose peers acknowledged nothing yet. */
  get unproven(): number {
    return this.#unproven;
  }

  /** Sessions from where `host` is: its address, of IPv6 the /64, because one host has all of it. */
  countFrom(host: string): number {
    return this.#perSource.get(sourceOf(host)) ?? 0;
  }

  find(host: string, port: number): SessionEntry | undefined {
    return this.#byHost.get(host)?.get(port);
  }

  add(entry: SessionEntry): void {
    const { host, port } = entry.from;
    let ports = this.#byHost.get(host);
    if (ports === undefined) {
      ports = new Map();
      this.#byHost.set(host, ports);
    }
    ports.set(port, entry);
    this.#size++;
    if (!entry.isProven) this.#unproven++;
    this.#perSource.set(sourceOf(host), this.countFrom(host) + 1);
  }

  prove(entry: SessionEntry): void {
    if (entry.isProven) return;
    entry.isProven = true;
    this.#unproven--;
  }

  remove(entry: SessionEntry): void {
    const { host, port } = entry.from;
    const ports = this.#byHost.get(host);
    if (ports?.get(port) !== entry) return;
    ports.delete(port);
    if (ports.size === 0) this.#byHost.delete(host);
    this.#size--;
    if (!entry.isProven) this.#unproven--;
    const source = sourceOf(host);
    const left = (this.#perSource.get(source) ?? 0) - 1;
    if (left > 0) this.#perSource.set(source, left);
    else this.#perSource.delete(source);
  }

  *entries(): Generator<SessionEntry, void, void> {
    for (const ports of this.#byHost.values()) yield* ports.values();
  }
}

function sourceOf(host: string): string {
  if (!host.includes(":")) return host;
  const bytes = parseIp(host.replace(/%.*$/, ""));
  return bytes === undefined ? host : formatIp(bytes.fill(0, 8));
}
