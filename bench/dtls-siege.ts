import type { HostPort } from "../src/address/socks-address.ts";
import { ManualClock } from "../src/clock/manual-clock.ts";
import { listenDtls } from "../src/transports/dtls/listen.ts";
import type { Listener } from "../src/tunnel/connection.ts";
import type { DatagramConnection } from "../src/tunnel/datagram-connection.ts";
import { type Runtime, systemRuntime } from "../src/tunnel/runtime.ts";
import { type DtlsCertificates, OTHER_NAME } from "./dtls-certificates.ts";
import { DtlsIntruder } from "./dtls-intruder.ts";
import { LiveDtls } from "./dtls-live.ts";
import { mutate } from "./dtls-mutations.ts";
import { MemoryLink } from "./memory-link.ts";
import { pick, seededRandom } from "./seeded-random.ts";

/** What a siege did so far. */
export interface SiegeCounts {
  /** Datagrams of the besiegers: changed, replayed, spliced, and those of their handshakes. */
  datagrams: number;
  /** Their handshakes, and those of them that came to an end in order. */
  intruders: number;
  entered: number;
  /** Datagrams the live sessions sent and had back, once and unchanged. */
  echoes: number;
  /** Live sessions that ended in order and began anew. */
  renewed: number;
  /** Handshakes the listener gave up, by reason. */
  readonly refused: Map<string, number>;
}

/**
 * A `listenDtls` server with live sessions, and besiegers that send it, and its clients, changed
 * datagrams of real handshakes and of the sessions: from anywhere, and from the sessions' own addresses.
 */
export class DtlsSiege {
  readonly counts: SiegeCounts = {
    datagrams: 0,
    intruders: 0,
    entered: 0,
    echoes: 0,
    renewed: 0,
    refused: new Map(),
  };
  /** What must not be; empty when all is well. */
  readonly findings: string[] = [];
  readonly clock: ManualClock = new ManualClock();
  readonly #random: () => number;
  readonly #certificates: DtlsCertificates;
  readonly #runtime: Runtime;
  readonly #link: MemoryLink;
  /** Datagrams as they were sent, the oldest replaced first. */
  readonly #known: Uint8Array[] = [];
  /** Who sent each of them. */
  readonly #senders: HostPort[] = [];
  #nextKnown = 0;
  #live: LiveDtls[] = [];
  #intruders: DtlsIntruder[] = [];
  #nextIntruder = 0;
  #listener: Listener | undefined;

  constructor(seed: number, certificates: DtlsCertificates) {
    this.#random = seededRandom(seed);
    this.#certificates = certificates;
    this.#runtime = { ...systemRuntime(), clock: this.clock };
    this.#link = new MemoryLink(this.clock, ({ data, from }) => {
      this.#remember(data, from);
      return [0];
    });
  }

  /** Starts the server and its live sessions. */
  async start(sessions: number): Promise<void> {
    const { ca, server } = this.#certificates;
    this.#listener = await listenDtls({
      at: SERVER,
      runtime: this.#runtime,
      bindUdp: this.#link.bindUdp,
      dtls: { ca, ...server },
      limits: { maxHalfOpenPerSource: MAX_HALF_OPEN_PER_SOURCE },
      onHandshakeError: ({ message }) => {
        const reason = message.replace(/^\S+: /, "").replaceAll(/\d+/g, "N");
        this.counts.refused.set(reason, (this.counts.refused.get(reason) ?? 0) + 1);
      },
      onConnection: (connection) => this.#serve(connection),
    });
    for (let at = 0; at < sessions; at++) this.#live.push(await this.#connect());
  }

  /** One round: besiegers and sessions send at the same time, mixed; then everything is looked at. */
  async round(): Promise<void> {
    const random = this.#random;
    for (const live of this.#live) live.send(1 + Math.floor(random() * 3), random);
    for (let at = 0; at < INJECTED_PER_ROUND; at++) this.#inject();
    if (random() < INTRUDERS_PER_ROUND) this.#intrude();
    if (random() < CROWD_PER_ROUND) this.#intrude("crowd");
    this.#link.shuffle(random);
    this.#pump();
    this.#intruders = this.#intruders.filter((intruder) => {
      if (random() < 0.2) this.#try("intruder's clock", () => intruder.tick(this.clock.now()));
      if (!intruder.isOver) return true;
      intruder.leave();
      if (intruder.isEstablished) this.counts.entered++;
      return false;
    });
    this.#pump();
    this.#try("clock", () => this.clock.advance(ROUND_MS));
    this.#pump();
    for (const live of this.#live) {
      this.findings.push(...live.check().map((text) => `${this.counts.datagrams}: ${text}`));
      this.counts.echoes += live.takeEchoes();
    }
    if (random() < RENEWALS_PER_ROUND) await this.#renew();
  }

  /** Lets everything half-done run out, so that only what is kept for good is left. */
  calm(): void {
    for (const intruder of this.#intruders.splice(0)) intruder.leave();
    this.#pump();
    this.#try("clock", () => this.clock.advance(20_000));
    this.#pump();
  }

  /** Ends everything, and looks whether anything is left. */
  async end(): Promise<void> {
    for (const intruder of this.#intruders) intruder.leave();
    for (const live of this.#live) live.close();
    this.#pump();
    await this.#listener?.close();
    this.#try("clock", () => this.clock.advance(300_000));
    this.#pump();
    if (this.clock.pending > 0) this.findings.push(`${this.clock.pending} timers are left`);
    if (this.#link.bound > 0) this.findings.push(`${this.#link.bound} sockets are left`);
  }

  // ---- the besieged ----

  #serve(connection: DatagramConnection): void {
    // Somebody with a certificate entered: let go later, so that sessions come and go.
    const isLive = !(connection.identity?.name ?? "").includes(OTHER_NAME);
    connection.attach({
      onDatagram: (data) => {
        if (isLive) connection.send(Uint8Array.from(data));
      },
      onClose: (error) => {
        if (isLive && error !== undefined) this.findings.push(`server's end: ${error.message}`);
      },
    });
    if (!isLive) this.clock.schedule(1_000, () => connection.close());
  }

  async #connect(): Promise<LiveDtls> {
    const { ca, client } = this.#certificates;
    const dialled = LiveDtls.dial({
      to: SERVER,
      runtime: this.#runtime,
      bindUdp: this.#link.bindUdp,
      dtls: { ca, ...client, serverName: "godoxy.agent" },
    });
    let hasAnswer = false;
    const done = dialled.finally(() => (hasAnswer = true));
    for (let wait = 0; wait < 24; wait++) {
      for (let turn = 0; turn < 16; turn++) {
        await Promise.resolve();
        this.#pump();
      }
      // Others may have filled the listener: then it is dialled again, as the session's clock says.
      if (!hasAnswer) this.#try("clock", () => this.clock.advance(500));
    }
    return await done;
  }

  async #renew(): Promise<void> {
    this.#live.shift()?.close();
    this.#pump();
    this.#live.push(await this.#connect());
    this.counts.renewed++;
  }

  #pump(): void {
    this.#try("delivery", () => this.#link.pump());
  }

  #try(what: string, work: () => void): void {
    try {
      work();
    } catch (thrown) {
      const text = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
      this.findings.push(`${this.counts.datagrams}: ${what} threw ${text}`);
    }
  }

  // ---- the besiegers ----

  #inject(): void {
    const random = this.#random;
    const index = Math.floor(random() * this.#known.length);
    const [original, sender] = [this.#known[index], this.#senders[index]];
    if (original === undefined || sender === undefined) return;
    const isChanged = random() < 0.85;
    const data = isChanged ? mutate(original, this.#known, random) : Uint8Array.from(original);
    this.counts.datagrams++;
    if (random() < 0.15) {
      this.#link.inject({ data, from: SERVER, to: pick(this.#live, random).local });
      return;
    }
    this.#link.inject({ data, from: this.#sender(sender), to: SERVER });
  }

  #sender(original: HostPort): HostPort {
    const random = this.#random;
    const choice = random();
    if (choice < 0.4) return pick(this.#live, random).local;
    if (choice < 0.7 && this.#intruders.length > 0) return pick(this.#intruders, random).local;
    const isServer = original.host === SERVER.host;
    if (choice < 0.85 && !isServer) return original;
    return this.#somewhere();
  }

  #somewhere(): HostPort {
    const [high, low] = [this.#random() * 256, this.#random() * 256].map(Math.floor);
    return { host: `10.1.${high}.${low}`, port: 1_024 + Math.floor(this.#random() * 60_000) };
  }

  /** A handshake that its end, or somebody on the way, keeps changing; the crowd only begins one. */
  #intrude(from?: "crowd"): void {
    if (this.#intruders.length >= MAX_INTRUDERS) return;
    const random = this.#random;
    const { ca, other, stranger } = this.#certificates;
    // From the address of a live session: only who can never finish, or he would rightly replace it.
    const isUsurper = from === undefined && random() < 0.2;
    const identity = isUsurper || random() < 0.3 ? stranger : other;
    const place = { ...this.#somewhere(), ...(from === undefined ? {} : { host: CROWDED_HOST }) };
    const local = isUsurper ? pick(this.#live, random).local : place;
    const live = isUsurper ? this.#live.find((each) => each.local === local) : undefined;
    const intruder = new DtlsIntruder({
      local,
      dtls: { ca, ...identity, serverName: "godoxy.agent", insecure: random() < 0.5 },
      now: this.clock.now(),
      random,
      known: this.#known,
      send: (data) => {
        this.counts.datagrams++;
        this.#link.inject({ data, from: local, to: SERVER });
      },
      onSent: (data) => this.#remember(data, local),
      listen: (receive) => {
        if (live !== undefined) return live.overhear(receive);
        this.#link.attach(local, ({ data }) => receive(data));
        return () => this.#link.detach(local);
      },
      maxInputs: from === undefined ? MAX_INPUTS : 1,
      isCareless: from === undefined && this.#nextIntruder++ % 4 === 0,
    });
    this.counts.intruders++;
    this.#intruders.push(intruder);
    intruder.start();
  }

  #remember(data: Uint8Array, from: HostPort): void {
    this.#known[this.#nextKnown] = Uint8Array.from(data);
    this.#senders[this.#nextKnown] = from;
    this.#nextKnown = (this.#nextKnown + 1) % MAX_KNOWN;
  }
}

const SERVER: HostPort = { host: "192.0.2.2", port: 8890 };

const INJECTED_PER_ROUND = 64;
const INTRUDERS_PER_ROUND = 0.4;
const CROWD_PER_ROUND = 0.3;
const CROWDED_HOST = "10.2.0.1";
/** What the crowd reaches: it begins 3 handshakes a second, each of which is kept for 10 s. */
const MAX_HALF_OPEN_PER_SOURCE = 24;
/** Of a handshake: more than one that goes well needs. */
const MAX_INPUTS = 24;
const RENEWALS_PER_ROUND = 0.02;
const ROUND_MS = 100;
const MAX_INTRUDERS = 16;
const MAX_KNOWN = 512;
