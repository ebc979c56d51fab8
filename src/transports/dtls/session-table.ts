import { formatIp, parseIp } from "../../address/ip.ts";
import type { HostPort } from "../../address/socks-address.ts";
import type { DtlsConnection } from "./dtls-connection.ts";

/** One session of a listener. */
export interface SessionEntry {
  readonly connection: DtlsConnection;
  /** {@link nameOf} its address. */
  readonly name: string;
  /** {@link sourceOf} its address. */
  readonly source: string;
  /** Where its ClientHello began: a repeated one begins the same. */
  readonly helloStart: Uint8Array;
  /** Who it counts for since its handshake is done: its key, or where it comes from. */
  client?: string | undefined;
}

/**
 * The sessions of a listener by address: one each, and beside an established one maybe a half-open
 * one that will replace it (RFC 6347, 4.2.8). Counts are kept as entries come and go.
 */
export class SessionTable {
  readonly #current = new Map<string, SessionEntry>();
  readonly #successors = new Map<string, SessionEntry>();
  readonly #halfOpenPerSource = new Map<string, number>();
  readonly #perClient = new Map<string, number>();
  #halfOpen = 0;
  #established = 0;

  /** All of both kinds. */
  get size(): number {
    return this.#halfOpen + this.#established;
  }

  get halfOpen(): number {
    return this.#halfOpen;
  }

  get established(): number {
    return this.#established;
  }

  halfOpenFrom(source: string): number {
    return this.#halfOpenPerSource.get(source) ?? 0;
  }

  establishedOf(client: string): number {
    return this.#perClient.get(client) ?? 0;
  }

  current(name: string): SessionEntry | undefined {
    return this.#current.get(name);
  }

  successor(name: string): SessionEntry | undefined {
    return this.#successors.get(name);
  }

  /** Adds a half-open one, beside the current one where that is established. */
  add(entry: SessionEntry): void {
    const map = this.#current.has(entry.name) ? this.#successors : this.#current;
    map.set(entry.name, entry);
    this.#halfOpen++;
    change(this.#halfOpenPerSource, entry.source, 1);
  }

  /** Its handshake is done: it is the current one from now on. @returns the one it replaces */
  establish(entry: SessionEntry, client: string): SessionEntry | undefined {
    const { name, source } = entry;
    const former = this.#current.get(name);
    entry.client = client;
    this.#halfOpen--;
    change(this.#halfOpenPerSource, source, -1);
    this.#established++;
    change(this.#perClient, client, 1);
    if (former === entry) return undefined;
    if (former !== undefined) this.remove(former);
    this.#successors.delete(name);
    this.#current.set(name, entry);
    return former;
  }

  /** Does nothing for one that is not in it. */
  remove(entry: SessionEntry): void {
    const { name, source, client } = entry;
    const map = [this.#current, this.#successors].find((each) => each.get(name) === entry);
    if (map === undefined) return;
    map.delete(name);
    if (client === undefined) {
      this.#halfOpen--;
      change(this.#halfOpenPerSource, source, -1);
    } else {
      this.#established--;
      change(this.#perClient, client, -1);
    }
    // What was to replace it has the place to itself.
    const successor = this.#successors.get(name);
    if (map !== this.#current || successor === undefined) return;
    this.#successors.delete(name);
    this.#current.set(name, successor);
  }

  *entries(): Generator<SessionEntry, void, void> {
    yield* this.#current.values();
    yield* this.#successors.values();
  }
}

/** One string for an address and port. */
export function nameOf({ host, port }: HostPort): string {
  return `${host} ${port}`;
}

/** Where `host` is: its address, of IPv6 the /64, because one host has all of it. */
export function sourceOf(host: string): string {
  if (!host.includes(":")) return host;
  const bytes = parseIp(host.replace(/%.*$/, ""));
  return bytes === undefined ? host : formatIp(bytes.fill(0, 8));
}

function change(counts: Map<string, number>, key: string, by: number): void {
  const count = (counts.get(key) ?? 0) + by;
  if (count > 0) counts.set(key, count);
  else counts.delete(key);
}
