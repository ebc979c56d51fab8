import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import type { Child } from "../support/child-process.ts";
import type { PongTransport } from "../support/tunnel.ts";
import {
  type LocalOptions,
  type OurRemote,
  openThroughSocks,
  ourLocal,
  ourRemote,
  type Way,
} from "./pong-ends.ts";
import { accepts } from "../support/low-port.ts";
import { isHead, Reference } from "./pong-reference.ts";
import { startTarget, type Target } from "./pong-target.ts";

/** One end of ours against one pong-go process, over one transport. */
export interface Run {
  readonly target: Target;
  /** Where the target listens. */
  readonly address: { readonly host: string; readonly port: number };
  /** How often the reference died and was started again. */
  readonly deaths: number;
  /** A program's way to targets; `options` are for a local of ours. */
  way(options?: LocalOptions): Way;
  /** Fails unless everything arrived; HEAD may lose a little, which is reported. */
  expectWhole(t: TestContext, got: Amount, whole: Amount): void;
}

/** So many bytes, and their SHA-256. */
export interface Amount {
  readonly bytes: number;
  readonly hash: string;
}

/** A local of ours, and a pong-go remote. */
export class LocalRun implements Run {
  readonly #process: ReferenceProcess<{ child: Child; port: number }>;

  constructor(program: string, transport: PongTransport) {
    this.#process = new ReferenceProcess(program, (reference) => reference.startRemote(transport));
    this.way = (options = {}) => ourLocal(transport, this.#process.port, options);
  }

  readonly way: (options?: LocalOptions) => ReturnType<typeof ourLocal>;

  start(): Promise<void> {
    return this.#process.start();
  }

  stop(): Promise<void> {
    return this.#process.stop();
  }

  /** Starts the reference again if the test before killed it. */
  revive(): Promise<void> {
    return this.#process.revive();
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.signal(signal);
  }

  get target(): Target {
    return this.#process.target;
  }

  get address(): { readonly host: string; readonly port: number } {
    return this.#process.address;
  }

  get deaths(): number {
    return this.#process.deaths;
  }

  expectWhole(t: TestContext, got: Amount, whole: Amount): void {
    this.#process.expectWhole(t, got, whole);
  }
}

/** A pong-go local, and a remote of ours. */
export class RemoteRun implements Run {
  readonly #transport: PongTransport;
  readonly #process: ReferenceProcess<{ child: Child; port: number }>;
  #remote: OurRemote | undefined;

  constructor(program: string, transport: PongTransport) {
    this.#transport = transport;
    this.#process = new ReferenceProcess(program, async (reference) => {
      this.#remote ??= await ourRemote(transport, reference.pem, { keepaliveMs: KEEPALIVE_MS });
      return await reference.startLocal(transport, { port: this.#remote.port });
    });
  }

  start(): Promise<void> {
    return this.#process.start();
  }

  async stop(): Promise<void> {
    await this.#process.stop();
    await this.#remote?.close();
  }

  /** Starts the reference again if the test before killed it. */
  revive(): Promise<void> {
    return this.#process.revive();
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.signal(signal);
  }

  get target(): Target {
    return this.#process.target;
  }

  get address(): { readonly host: string; readonly port: number } {
    return this.#process.address;
  }

  get deaths(): number {
    return this.#process.deaths;
  }

  /** Why targets were refused since the last time this was asked. */
  refusals(): string[] {
    return this.remote.refusals.splice(0);
  }

  way(): Way {
    return wayThrough(this.#process.port, this.remote);
  }

  /** Through a second pong-go local, whose client id nobody knows. */
  async strangerWay(): Promise<Way> {
    const { port: point } = this.remote;
    const where = { port: point, clientId: "ffffffff-0000-4000-8000-000000000001" };
    const { child, port } = await this.#process.reference.startLocal(this.#transport, where);
    const way = wayThrough(port, this.remote);
    return {
      open: (target) => way.open(target),
      streams: 0,
      links: 0,
      [Symbol.asyncDispose]: () => child[Symbol.asyncDispose](),
    };
  }

  expectWhole(t: TestContext, got: Amount, whole: Amount): void {
    this.#process.expectWhole(t, got, whole);
  }

  private get remote(): OurRemote {
    assert.ok(this.#remote !== undefined);
    return this.#remote;
  }
}

function wayThrough(socksPort: number, remote: OurRemote): Way {
  return {
    open: (target) => openThroughSocks(socksPort, target),
    get streams() {
      return remote.live.size;
    },
    get links() {
      return remote.links;
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** The reference process, its files, and a target. */
class ReferenceProcess<Started extends { readonly child: Child; readonly port: number }> {
  readonly #program: string;
  readonly #launch: (reference: Reference) => Promise<Started>;
  readonly #scope = new AsyncDisposableStack();
  #reference: Reference | undefined;
  #started: Started | undefined;
  #target: Target | undefined;
  deaths = 0;

  constructor(program: string, launch: (reference: Reference) => Promise<Started>) {
    this.#program = program;
    this.#launch = launch;
  }

  async start(): Promise<void> {
    this.#reference = new Reference(this.#program, this.#scope);
    this.#target = this.#scope.use(await startTarget());
    await this.#run();
  }

  async stop(): Promise<void> {
    await this.#scope.disposeAsync();
  }

  async revive(): Promise<void> {
    assert.ok(this.#started !== undefined);
    if (await accepts(this.#started.port)) return;
    this.deaths += 1;
    await this.#started.child[Symbol.asyncDispose]();
    await this.#run();
  }

  signal(signal: NodeJS.Signals): void {
    this.#started?.child.kill(signal);
  }

  get reference(): Reference {
    assert.ok(this.#reference !== undefined);
    return this.#reference;
  }

  get port(): number {
    return this.#started?.port ?? 0;
  }

  get target(): Target {
    assert.ok(this.#target !== undefined);
    return this.#target;
  }

  get address(): { readonly host: string; readonly port: number } {
    return { host: "127.0.0.1", port: this.target.port };
  }

  expectWhole(t: TestContext, got: Amount, whole: Amount): void {
    const lost = whole.bytes - got.bytes;
    if (isHead(this.#program) && lost > 0) {
      // It drops reads of 30 bytes or less, wherever they fall in a transfer. Spec: pong 0, 7.
      t.diagnostic(`the reference lost ${lost} of ${whole.bytes} bytes`);
      assert.ok(lost <= whole.bytes / 1000, `${lost} of ${whole.bytes} bytes are missing`);
      return;
    }
    assert.deepEqual(got, whole);
  }

  async #run(): Promise<void> {
    this.#started = await this.#launch(this.reference);
    this.#scope.use(this.#started.child);
  }
}

/** Quiet time before our listener's WebSocket ping; twice that ends the connection. */
const KEEPALIVE_MS = 2_000;
