/**
 * `node bench/soak.ts [--minutes 20] [--rate 200] [--kill 60 [--victims serve,provide]]`: LinkSocks for long,
 * through a connector, a server and a provider in a process each. Every channel carries random bytes
 * both ways and compares SHA-256. With `--kill SECONDS` one of the three is killed that often, at
 * random, and started again. Prints one JSON object; exits 1 when a byte was lost in silence.
 */
import { createHash, randomBytes, randomInt } from "node:crypto";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import net from "node:net";
import { parseArgs } from "node:util";
import { freePort, type Member, residentBytes, startSluice } from "./processes.ts";
import { socksHandshake } from "./socks.ts";

const { values: flags } = parseArgs({
  options: {
    minutes: { type: "string", default: "20" },
    rate: { type: "string", default: "200" },
    kill: { type: "string", default: "0" },
    victims: { type: "string", default: "serve,provide,connect" },
  },
});

type Role = "serve" | "provide" | "connect";

/** The three processes, each of which can be replaced by a new one. */
class Fleet implements AsyncDisposable {
  readonly members = new Map<Role, Member>();
  readonly #ports: { readonly web: number; readonly door: number; readonly proxy: number };

  constructor(ports: Fleet["ports"]) {
    this.#ports = ports;
  }

  get ports(): { readonly web: number; readonly door: number; readonly proxy: number } {
    return this.#ports;
  }

  async start(role: Role): Promise<void> {
    const { web, door, proxy } = this.#ports;
    const quiet = ["--log-level", "error"];
    const at = `127.0.0.1:${web}`;
    const tokens = ["--provider", "p=provider-token", "--connector", "c@p=connector-token"];
    const member = {
      serve: () =>
        startSluice(web, "serve", `linksocks+ws://${at}`, ...tokens, "-D", `${door}`, ...quiet),
      provide: () =>
        startSluice(
          web,
          "provide",
          `linksocks+ws://provider-token@${at}`,
          "--allow",
          "127.0.0.1",
          ...quiet,
        ),
      connect: () =>
        startSluice(
          proxy,
          "connect",
          `linksocks+ws://connector-token@${at}`,
          "-D",
          `${proxy}`,
          ...quiet,
        ),
    }[role]();
    this.members.set(role, await member);
  }

  async replace(role: Role): Promise<void> {
    await this.members.get(role)?.[Symbol.asyncDispose]();
    await this.start(role);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const member of this.members.values()) await member[Symbol.asyncDispose]();
  }
}

/** Answers `length u32 | answer length u32 | bytes` with as many bytes, then both SHA-256. */
function answerChannel(socket: net.Socket): void {
  const hash = createHash("sha256");
  let header = Buffer.alloc(0);
  let left = -1;
  socket.on("error", () => {});
  socket.on("end", () => socket.end());
  socket.on("data", (chunk: Buffer) => {
    let body = chunk;
    if (left < 0) {
      header = Buffer.concat([header, chunk]);
      if (header.byteLength < 8) return;
      left = header.readUInt32BE(0);
      body = header.subarray(8);
    }
    hash.update(body);
    left -= body.byteLength;
    if (left > 0) return;
    const answer = randomBytes(header.readUInt32BE(4));
    socket.write(answer);
    socket.write(createHash("sha256").update(answer).digest());
    socket.end(hash.digest());
  });
}

/**
 * How one channel went; `silent`: it ended in order and something was missing or wrong; `orphaned`:
 * the same, when its own `connect` was killed, whose sockets the kernel ends as if all was well.
 */
type Outcome = "done" | "failed" | "silent" | "orphaned";

async function runChannel(proxy: number, target: number): Promise<Outcome> {
  const socket = net.connect({ port: proxy, host: "127.0.0.1", allowHalfOpen: true });
  socket.on("error", () => {});
  const { promise: isLate, resolve: giveUp } = Promise.withResolvers<"late">();
  const patience = setTimeout(giveUp, CHANNEL_MS, "late");
  const greeted = once(socket, "connect").then(async () => await socksHandshake(socket, target));
  const isOpen = await Promise.race([isLate, greeted]).then(
    (word) => word !== "late",
    () => false,
  );
  clearTimeout(patience);
  if (!isOpen) {
    socket.destroy();
    return "failed";
  }
  const question = randomBytes(randomInt(1, MAX_BYTES));
  const answerBytes = randomInt(1, MAX_BYTES);
  const header = Buffer.alloc(8);
  header.writeUInt32BE(question.byteLength, 0);
  header.writeUInt32BE(answerBytes, 4);
  return await new Promise<Outcome>((resolve) => {
    const chunks: Buffer[] = [];
    const settle = (outcome: Outcome): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(outcome);
    };
    const timer = setTimeout(() => settle("failed"), CHANNEL_MS);
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    socket.on("error", () => settle("failed"));
    socket.on("end", () => {
      const all = Buffer.concat(chunks);
      const answer = all.subarray(0, answerBytes);
      const sums = Buffer.concat([answer, question].map((bytes) => sha256(bytes)));
      settle(all.subarray(answerBytes).equals(sums) ? "done" : "silent");
    });
    socket.write(header);
    socket.end(question);
  });
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest();
}

function descriptors({ pid }: Member): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** Bytes a minute that the values grow by: least squares over equal distances. */
function slope(values: readonly number[], perMinute: number): number {
  const mean = (numbers: readonly number[]): number =>
    numbers.reduce((sum, one) => sum + one, 0) / Math.max(1, numbers.length);
  const middle = (values.length - 1) / 2;
  const average = mean(values);
  const over = values.reduce((sum, value, at) => sum + (at - middle) * (value - average), 0);
  const under = values.reduce((sum, _, at) => sum + (at - middle) ** 2, 0);
  return under === 0 ? 0 : (over / under) * perMinute;
}

/** Kills one process and starts it again; how long it then takes until a channel is whole, ms. */
async function killOne(fleet: Fleet, target: number): Promise<number> {
  const victims = [...fleet.members.keys()].filter((role) => flags.victims.includes(role));
  const role = victims[randomInt(victims.length)] ?? "serve";
  await fleet.replace(role);
  const from = performance.now();
  while ((await runChannel(fleet.ports.proxy, target)) !== "done") {
    if (performance.now() - from > RECOVERY_MS) break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return performance.now() - from;
}

async function soak(): Promise<boolean> {
  await using scope = new AsyncDisposableStack();
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, answerChannel);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  scope.defer(() => void server.close());
  const address = server.address();
  const target = typeof address === "object" && address !== null ? address.port : 0;
  const [web, door, proxy] = [await freePort(), await freePort(), await freePort()];
  const fleet = scope.use(new Fleet({ web, door, proxy }));
  for (const role of ["serve", "provide", "connect"] as const) await fleet.start(role);
  const counts: Record<Outcome, number> = { done: 0, failed: 0, silent: 0, orphaned: 0 };
  const memory = new Map<Role, number[]>();
  const files = new Map<Role, number[]>();
  const recoveries: number[] = [];
  const running = new Set<Promise<void>>();
  const rate = Number(flags.rate);
  const killMs = Number(flags.kill) * 1000;
  const startedAt = performance.now();
  const until = startedAt + Number(flags.minutes) * 60_000;
  let opened = 0;
  let sampledAt = startedAt;
  let killedAt = startedAt;
  let recovery: Promise<void> | undefined;
  while (performance.now() < until) {
    const due = Math.floor(((performance.now() - startedAt) / 1000) * rate);
    for (; opened < due; opened++) {
      if (running.size > MAX_RUNNING) continue;
      const entrance = fleet.members.get("connect");
      const channel = runChannel(proxy, target).then((outcome) => {
        const isOrphan = outcome === "silent" && fleet.members.get("connect") !== entrance;
        counts[isOrphan ? "orphaned" : outcome]++;
        running.delete(channel);
      });
      running.add(channel);
    }
    if (performance.now() - sampledAt >= SAMPLE_MS && recovery === undefined) {
      sampledAt = performance.now();
      for (const [role, member] of fleet.members) {
        memory.set(role, [...(memory.get(role) ?? []), residentBytes(member)]);
        files.set(role, [...(files.get(role) ?? []), descriptors(member)]);
      }
    }
    if (killMs > 0 && performance.now() - killedAt >= killMs && recovery === undefined) {
      killedAt = performance.now();
      recovery = killOne(fleet, target).then((ms) => {
        recoveries.push(Math.round(ms));
        recovery = undefined;
      });
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await recovery;
  await Promise.all(running);
  const processes = Object.fromEntries(
    Array.from(memory, ([role, values]) => {
      const settled = values.slice(Math.floor(values.length / 4)); // the heap grows to its size first
      const counted = files.get(role) ?? [];
      return [
        role,
        {
          mebibytes: Math.round((values.at(-1) ?? 0) / 2 ** 20),
          kibibytesPerMinute: Math.round(slope(settled, 60_000 / SAMPLE_MS) / 1024),
          descriptorsFirst: counted[0],
          descriptorsLast: counted.at(-1),
          descriptorsMost: Math.max(...counted),
        },
      ];
    }),
  );
  const minutes = (performance.now() - startedAt) / 60_000;
  const skipped = opened - Object.values(counts).reduce((sum, count) => sum + count, 0);
  const summary = { minutes, channels: counts, skipped, recoveriesMs: recoveries, processes };
  process.stdout.write(`${JSON.stringify(summary, undefined, 2)}\n`);
  const isWhole = killMs > 0 || (counts.failed === 0 && skipped === 0);
  return counts.silent === 0 && isWhole;
}

const CHANNEL_MS = 30_000;
const MAX_BYTES = 64 * 1024;
const MAX_RUNNING = 2000;
const SAMPLE_MS = 10_000;
const RECOVERY_MS = 30_000;

process.exitCode = (await soak()) ? 0 : 1;
