import { createHash, timingSafeEqual } from "node:crypto";
import { parseIp, unmapIpv4 } from "../../../address/ip.ts";
import { parseHostPort } from "../../../address/target.ts";
import { TunnelError } from "../../../errors.ts";

/**
 * The value of the Authorization header for one minute.
 *
 * Spec: vproxy 1.3: the password is hashed, and the hash again with the time, which is not a count
 * of minutes but milliseconds rounded down to one. Reference: `WebSocksUtils.java`, `calcPass`.
 *
 * @param unixMs of the wall clock, anywhere within the minute
 */
export function authorizationOf(user: string, password: string, unixMs: number): string {
  const hash = minuteHash(passwordHash(password), minuteOf(unixMs));
  return `Basic ${Buffer.from(`${user}:${hash}`, "utf8").toString("base64")}`;
}

/** Somebody who showed the right hash. */
export interface Authorized {
  readonly user: string;
  /** How far the minute that was shown is from ours, ms: -60000, 0 or 60000. */
  readonly offsetMs: number;
}

/**
 * Checks Authorization headers, in a time that tells nothing about names and passwords.
 *
 * A header is good for its minute, the one before and the one after, and is the same on every
 * connection its client opens within one minute: that it comes again proves nothing. But a client
 * makes a new one each minute. So whoever shows a header for the first time more than a minute after
 * somebody else did has recorded it, and is turned down; a source that showed it in time may go on.
 * Within that minute a recorded header is as good as a new one: only TLS keeps it from being
 * recorded.
 */
export class Authorizations {
  readonly #hashes: ReadonlyMap<string, string>;
  /** Headers that were right, oldest first, until no minute makes them right any more. */
  readonly #seen = new Map<string, Seen>();

  /** @param users name to password */
  constructor(users: ReadonlyMap<string, string>) {
    this.#hashes = new Map(Array.from(users, ([name, password]) => [name, passwordHash(password)]));
  }

  /** Headers remembered now. */
  get size(): number {
    return this.#seen.size;
  }

  /**
   * @param header the value of the first header of that name
   * @param source `host:port` of the peer
   * @returns who it is, or the error to log (`ERR_AUTH`)
   */
  check(
    header: string | undefined,
    { source, unixMs }: { readonly source: string; readonly unixMs: number },
  ): Authorized | TunnelError {
    const shown = parse(header);
    if (typeof shown === "string") return refusal(shown);
    // An unknown name costs the same comparisons.
    const known = this.#hashes.get(shown.user);
    const minute = minuteOf(unixMs);
    let offsetMs: number | undefined;
    for (const offset of OFFSETS_MS) {
      if (isEqual(minuteHash(known ?? NOBODY, minute + offset), shown.hash)) offsetMs = offset;
    }
    if (known === undefined || offsetMs === undefined) {
      return refusal("wrong user name or password", skewHint(known ?? NOBODY, minute, shown.hash));
    }
    this.#forget(unixMs);
    if (!this.#isFresh(`${shown.user}:${shown.hash}`, sourceOf(source), unixMs)) {
      return refusal("authorization was used from another address before", REPLAY_HINT);
    }
    return { user: shown.user, offsetMs };
  }

  #isFresh(key: string, source: string, unixMs: number): boolean {
    const seen = this.#seen.get(key);
    if (seen === undefined) {
      this.#seen.set(key, { firstAt: unixMs, sources: new Set([source]) });
      return true;
    }
    if (seen.sources.has(source)) return true;
    if (unixMs - seen.firstAt > MINUTE_MS) return false;
    if (seen.sources.size < MAX_SOURCES) seen.sources.add(source);
    return true;
  }

  /** Also when the wall clock was set back: then nothing of before means anything. */
  #forget(unixMs: number): void {
    for (const [key, { firstAt }] of this.#seen) {
      const age = unixMs - firstAt;
      if (age >= 0 && age <= LIFETIME_MS) return;
      this.#seen.delete(key);
    }
  }
}

/** Whether text can be a user name or a password: the header has no way to carry a colon. */
export function isCredentialText(text: string): boolean {
  return text !== "" && text === text.trim() && !text.includes(":");
}

/** What a header says, or what is wrong with it. */
function parse(header: string | undefined): { user: string; hash: string } | string {
  if (header === undefined) return "no Authorization header";
  // QUIRK(vproxy): the scheme is told by its exact spelling.
  const [, text] = /^Basic ([A-Za-z0-9+/]*={0,2})$/.exec(header) ?? [];
  if (text === undefined || text.length % 4 === 1) return "Authorization is no base64 of Basic";
  const parts = Buffer.from(text, "base64").toString("utf8").split(":");
  const [user, hash] = parts.map((part) => part.trim());
  if (parts.length !== 2 || user === undefined || hash === undefined) {
    return "Authorization is not user:hash";
  }
  return { user, hash };
}

function refusal(text: string, hint = "check user and password on both sides"): TunnelError {
  return new TunnelError("ERR_AUTH", text, { hint });
}

/** The right password with a clock that is some minutes off is worth a word in the log. */
function skewHint(hash: string, minute: number, shown: string): string | undefined {
  let found: number | undefined;
  for (let off = -MAX_SKEW_MINUTES; off <= MAX_SKEW_MINUTES; off++) {
    if (isEqual(minuteHash(hash, minute + off * MINUTE_MS), shown)) found = off;
  }
  if (found === undefined || hash === NOBODY) return undefined;
  const side = found < 0 ? "behind" : "ahead of";
  return `the password is right for a clock ${Math.abs(found)} minutes ${side} ours: set the clocks by NTP, unless somebody repeats an old header`;
}

/** An IPv4 address, or the first half of an IPv6 one: a host draws new ones within its network. */
function sourceOf(peer: string): string {
  const host = parseHostPort(peer)?.host ?? peer;
  const ip = parseIp(host);
  if (ip === undefined) return host;
  const plain = unmapIpv4(ip);
  return Buffer.from(plain.subarray(0, plain.byteLength === 4 ? 4 : 8)).toString("hex");
}

function passwordHash(password: string): string {
  return createHash("sha256").update(password, "utf8").digest("base64");
}

function minuteHash(hash: string, minute: number): string {
  return createHash("sha256").update(`${hash}${minute}`, "latin1").digest("base64");
}

function minuteOf(unixMs: number): number {
  return Math.floor(unixMs / MINUTE_MS) * MINUTE_MS;
}

function isEqual(expected: string, shown: string): boolean {
  const [a, b] = [Buffer.from(expected, "latin1"), Buffer.from(shown, "utf8")];
  return a.byteLength === b.byteLength && timingSafeEqual(a, b);
}

/** Who showed one header, and since when. */
interface Seen {
  readonly firstAt: number;
  readonly sources: Set<string>;
}

const MINUTE_MS = 60_000;
const OFFSETS_MS = [-MINUTE_MS, 0, MINUTE_MS] as const;

/** A header of the minute ahead is right for three minutes. */
const LIFETIME_MS = 3 * MINUTE_MS;

/** Networks one user comes from within a minute; of more than that the rest is not remembered. */
const MAX_SOURCES = 1_024;

/** Each costs a hash per wrong login. */
const MAX_SKEW_MINUTES = 15;

/** Stands in for the hash of a user there is none of. */
const NOBODY: string = passwordHash("");

const REPLAY_HINT =
  "somebody recorded and repeats it, or the clocks of two clients differ by more than a minute: use TLS, and set the clocks by NTP";
