import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { HostPort } from "../../address/socks-address.ts";
import type { Clock } from "../../clock/clock.ts";

/** What a ClientHello says in front of its cookie; a client repeats it word for word. */
export interface CookieHello {
  /** Version, random and session id as they came. */
  readonly start: Uint8Array;
  readonly cookie: Uint8Array;
}

/**
 * Cookies of HelloVerifyRequests, for which nothing is kept: an HMAC over the sender's address and
 * the beginning of its ClientHello, under a secret that is replaced. Who shows one back gets
 * datagrams at the address he sends from.
 *
 * What stands behind the cookie is left out, so that the first fragment of a ClientHello is enough.
 *
 * Spec: RFC 6347, 4.2.1.
 */
export class Cookies {
  readonly #clock: Clock;
  readonly #random: (byteLength: number) => Uint8Array;
  #secret: Uint8Array;
  #former: Uint8Array;
  #replacedAt: number;

  constructor(clock: Clock, random: (byteLength: number) => Uint8Array = randomBytes) {
    this.#clock = clock;
    this.#random = random;
    this.#secret = random(SECRET_BYTES);
    // Nobody has cookies of a secret that never was in use.
    this.#former = random(SECRET_BYTES);
    this.#replacedAt = clock.now();
  }

  /** The cookie for a ClientHello from an address. */
  make(hello: CookieHello, from: HostPort): Uint8Array {
    this.#rotate();
    return cookieOf(this.#secret, hello, from);
  }

  /** Whether the cookie in a ClientHello is one we made for it lately, in one minute at least. */
  accepts(hello: CookieHello, from: HostPort): boolean {
    if (hello.cookie.byteLength !== COOKIE_BYTES) return false;
    this.#rotate();
    return [this.#secret, this.#former].some((secret) =>
      timingSafeEqual(cookieOf(secret, hello, from), hello.cookie),
    );
  }

  #rotate(): void {
    const age = this.#clock.now() - this.#replacedAt;
    if (age < SECRET_LIFE_MS) return;
    this.#former = age < 2 * SECRET_LIFE_MS ? this.#secret : this.#random(SECRET_BYTES);
    this.#secret = this.#random(SECRET_BYTES);
    this.#replacedAt = this.#clock.now();
  }
}

/** Bytes of a cookie: what the reference sends, and less than any ClientHello is long. */
export const COOKIE_BYTES = 20;

/** How long cookies are made with one secret; they are accepted for as long again. */
export const SECRET_LIFE_MS = 60_000;

function cookieOf(secret: Uint8Array, { start }: CookieHello, { host, port }: HostPort): Buffer {
  const digest = createHmac("sha256", secret).update(`${host} ${port}\n`).update(start).digest();
  return digest.subarray(0, COOKIE_BYTES);
}

const SECRET_BYTES = 32;
