import { createHash, timingSafeEqual } from "node:crypto";
import { TunnelError } from "../errors.ts";

/** Keeps addresses that fail too often from trying on. */
export interface LoginGuard {
  /** How long logins of this peer (`host:port`) are refused unseen, ms; 0 when it may try. */
  blockedForMs(peer: string): number;
  recordFailure(peer: string): void;
}

/** Names and passwords, and the guard without which they could be guessed. */
export interface LoginsOptions {
  /** Name to password. */
  readonly users: ReadonlyMap<string, string>;
  readonly guard: LoginGuard;
}

/** Checks names and passwords, in a time that tells nothing about either. */
export class Logins {
  readonly #digests: ReadonlyMap<string, Buffer>;
  readonly #guard: LoginGuard;

  constructor({ users, guard }: LoginsOptions) {
    this.#digests = new Map(Array.from(users, ([name, password]) => [name, digest(password)]));
    this.#guard = guard;
  }

  /**
   * @returns the error to answer and log (`ERR_AUTH`: wrong, `ERR_LIMIT`: not even looked at);
   *   `undefined` when name and password are right
   */
  check(peer: string, name: string, password: string): TunnelError | undefined {
    const waitMs = this.#guard.blockedForMs(peer);
    if (waitMs > 0) {
      const seconds = Math.ceil(waitMs / 1_000);
      return new TunnelError("ERR_LIMIT", "too many failed logins from this address", {
        hint: `wait ${seconds} s, then try with the right password`,
      });
    }
    // An unknown name costs the same comparison.
    const expected = this.#digests.get(name) ?? NOBODY;
    const isEqual = timingSafeEqual(expected, digest(password));
    if (isEqual && expected !== NOBODY) return undefined;
    this.#guard.recordFailure(peer);
    return new TunnelError("ERR_AUTH", "wrong user name or password", {
      hint: "check both against the inbound's users",
    });
  }
}

/** Of equal length whatever the password: only such bytes can be compared in constant time. */
function digest(password: string): Buffer {
  return createHash("sha256").update(password, "utf8").digest();
}

const NOBODY: Buffer = Buffer.alloc(32);
