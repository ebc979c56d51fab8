import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  helloVerifyRequest,
  peekClientHello,
} from "../../src/transports/dtls/client-hello-peek.ts";
import { readClientHello } from "../../src/transports/dtls/client-hello.ts";
import { DtlsClientSession } from "../../src/transports/dtls/client-session.ts";
import type {
  DtlsClientOptions,
  DtlsServerOptions,
} from "../../src/transports/dtls/dtls-options.ts";
import type { DtlsSession, DtlsStep } from "../../src/transports/dtls/dtls-step.ts";
import { DtlsServerSession } from "../../src/transports/dtls/server-session.ts";

/** When the recorded certificates are valid. */
export const CERTIFICATE_TIME: number = Date.parse("2026-11-21T00:00:00Z");

/** One PEM of the recorded certificates: `recordedPem("agent-a", "ca.pem")`. */
export function recordedPem(agent: string, file: string): string {
  return readFileSync(join(CERTIFICATES, agent, file), "utf8");
}

/** A client that fits {@link serverOptions}. */
export function clientOptions(changes: Partial<DtlsClientOptions> = {}): DtlsClientOptions {
  return {
    serverName: "godoxy.agent",
    ca: recordedPem("agent-a", "ca.pem"),
    cert: recordedPem("agent-a", "client.pem"),
    key: recordedPem("agent-a", "client.key"),
    unixMs: () => CERTIFICATE_TIME,
    ...changes,
  };
}

/** A server that fits {@link clientOptions}. */
export function serverOptions(changes: Partial<DtlsServerOptions> = {}): DtlsServerOptions {
  return {
    ca: recordedPem("agent-a", "ca.pem"),
    cert: recordedPem("agent-a", "server.pem"),
    key: recordedPem("agent-a", "server.key"),
    unixMs: () => CERTIFICATE_TIME,
    ...changes,
  };
}

/** What one end did and got. */
export class DtlsEnd {
  session: DtlsSession | undefined;
  readonly sent: Uint8Array[] = [];
  readonly data: string[] = [];
  established = 0;
  end: DtlsStep["end"];

  /** Takes a step in; its datagrams are for the caller to carry. */
  take(step: DtlsStep): readonly Uint8Array[] {
    this.sent.push(...step.datagrams);
    this.data.push(...step.data.map((bytes) => Buffer.from(bytes).toString()));
    if (step.isEstablished) this.established += 1;
    if (step.end !== undefined) this.end = step.end;
    return step.datagrams;
  }
}

/** What the way does to a datagram: when it arrives, and how often; nothing for a loss. */
export type Carrier = (datagram: Uint8Array, from: "client" | "server") => readonly number[];

/** A client and a server (behind a stateless cookie) on a way that is told what to do. */
export class DtlsPair {
  readonly client: DtlsEnd = new DtlsEnd();
  readonly server: DtlsEnd = new DtlsEnd();
  now = 0;
  readonly #carry: Carrier;
  readonly #serverOptions: DtlsServerOptions;
  readonly #queue: { at: number; order: number; to: "client" | "server"; bytes: Uint8Array }[] = [];
  #order = 0;

  constructor(
    client: DtlsClientOptions = clientOptions(),
    server: DtlsServerOptions = serverOptions(),
    carry: Carrier = () => [0],
  ) {
    this.#carry = carry;
    this.#serverOptions = server;
    const session = new DtlsClientSession(client, 0);
    this.client.session = session;
    this.carry("client", this.client.take(session.start(0)));
  }

  /** Both ends are done with the handshake. */
  get isEstablished(): boolean {
    return this.client.established === 1 && this.server.established === 1;
  }

  /** Sends one datagram of an established end. */
  say(from: "client" | "server", text: string): void {
    const end = this[from];
    if (end.session === undefined) throw new Error(`no ${from}`);
    this.carry(from, end.take(end.session.send(Buffer.from(text), this.now)));
  }

  close(from: "client" | "server"): void {
    const end = this[from];
    if (end.session !== undefined) this.carry(from, end.take(end.session.close(this.now)));
  }

  /** Puts datagrams on the way. */
  carry(from: "client" | "server", datagrams: readonly Uint8Array[]): void {
    const to = from === "client" ? "server" : "client";
    for (const datagram of datagrams) {
      for (const delay of this.#carry(datagram, from)) {
        const bytes = Uint8Array.from(datagram);
        this.#queue.push({ at: this.now + delay, order: this.#order++, to, bytes });
      }
    }
  }

  /** Hands a datagram to an end as if it had come from the other one. */
  deliver(to: "client" | "server", bytes: Uint8Array): void {
    const end = this[to];
    if (end.session !== undefined) {
      this.carry(to, end.take(end.session.receive(bytes, this.now)));
    } else if (to === "server") {
      this.#greet(bytes);
    }
  }

  /** Lets time pass until `until`, or until nothing is under way and no timer runs. */
  run(until: number = Number.MAX_SAFE_INTEGER): void {
    for (;;) {
      this.#queue.sort((one, other) => one.at - other.at || one.order - other.order);
      const [next] = this.#queue;
      const [due] = [this.client, this.server]
        .filter(({ session }) => session?.deadline !== undefined)
        .toSorted((one, other) => deadlineOf(one) - deadlineOf(other));
      const at = Math.min(next?.at ?? Infinity, due === undefined ? Infinity : deadlineOf(due));
      if (at > until || at === Infinity) break;
      this.now = Math.max(this.now, at);
      if (next !== undefined && next.at <= at) {
        this.#queue.shift();
        this.deliver(next.to, next.bytes);
      } else if (due?.session !== undefined) {
        const from = due === this.client ? "client" : "server";
        this.carry(from, due.take(due.session.tick(this.now)));
      }
    }
    if (until < Number.MAX_SAFE_INTEGER) this.now = Math.max(this.now, until);
  }

  #greet(datagram: Uint8Array): void {
    const hello = readClientHello(datagram);
    if (hello === undefined) return;
    if (Buffer.compare(hello.cookie, COOKIE) !== 0) {
      const peeked = peekClientHello(datagram);
      if (peeked !== undefined) this.carry("server", [helloVerifyRequest(peeked, COOKIE)]);
      return;
    }
    const session = new DtlsServerSession(this.#serverOptions, hello, this.now);
    this.server.session = session;
    this.carry("server", this.server.take(session.start(this.now)));
  }
}

function deadlineOf({ session }: DtlsEnd): number {
  return session?.deadline ?? Infinity;
}

const COOKIE = Buffer.from("a cookie for tests!!");
const CERTIFICATES = join(import.meta.dirname, "..", "vectors", "godoxy", "certs");
