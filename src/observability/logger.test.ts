import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { NetworkError } from "../errors.ts";
import type { Logger } from "../tunnel/logger.ts";
import { createLogger, type LoggerOptions } from "./logger.ts";

const NOON = Date.UTC(2026, 0, 2, 12, 0, 0, 5);

/** A logger whose lines can be read. */
const collect = (options: Partial<LoggerOptions> = {}): { logger: Logger; lines: string[] } => {
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line);
  const base = { format: "json", level: "info", write, wallTime: () => NOON } as const;
  return { logger: createLogger({ ...base, ...options }), lines };
};

const parse = (line: string | undefined): unknown => JSON.parse(line ?? "");

describe("the logger", () => {
  test("writes one JSON object per line", () => {
    const { logger, lines } = collect();
    logger.child({ tunnel: "home" }).warn("tunnel down", { retryInMs: 250, hint: undefined });
    assert.deepEqual(lines.map(parse), [
      {
        level: "warn",
        time: "2026-01-02T12:00:00.005Z",
        tunnel: "home",
        retryInMs: 250,
        msg: "tunnel down",
      },
    ]);
    assert.match(lines.join(""), /^[^\n]+\n$/);
  });

  test("writes one readable line in pretty format", () => {
    const { logger, lines } = collect({ format: "pretty" });
    logger.info("stream closed", { to: "example.com:443", reason: "peer ended", up: 12 });
    assert.deepEqual(lines, [
      '12:00:00.005 info  stream closed to=example.com:443 reason="peer ended" up=12\n',
    ]);
  });

  test("colours pretty lines only when told to", () => {
    const { logger, lines } = collect({ format: "pretty", isColored: true });
    logger.error("broken");
    assert.ok(lines.join("").includes("\u001b[31merror\u001b[0m broken"));
  });

  test("leaves out what is below its level", () => {
    const { logger, lines } = collect({ level: "warn" });
    logger.debug("a");
    logger.info("b");
    logger.warn("c");
    logger.error("d");
    assert.equal(lines.length, 2);
  });

  test("bounds messages, fields and their number", () => {
    const { logger, lines } = collect();
    const many = Object.fromEntries(
      Array.from({ length: 100 }, (_, index) => [`f${index}`, index]),
    );
    logger.info("m".repeat(10_000), { long: "x".repeat(10_000), ...many });
    assert.ok((lines[0] ?? "").length < 3_000);
    const line = { ...Object(parse(lines[0])) };
    assert.equal(line.long.length, 1025);
    assert.equal(line.more, true);
    assert.equal("f40" in line, false);
  });

  test("takes any value without failing, and never prints bytes or secrets", () => {
    const { logger, lines } = collect();
    const hidden = { toJSON: () => "***" };
    const circle: Record<string, unknown> = {};
    circle["self"] = circle;
    logger.info("odd", {
      circle,
      bytes: new Uint8Array(5),
      error: new NetworkError("ERR_DNS", "no such name"),
      secret: hidden,
      deep: { secret: hidden },
      big: 1n,
      nothing: null,
      nan: Number.NaN,
      level: "mine",
    });
    const { time: _, ...line } = { ...Object(parse(lines[0])) };
    assert.deepEqual(line, {
      level: "info",
      circle: "something circular",
      bytes: "5 bytes",
      error: "no such name",
      secret: '"***"',
      deep: '{"secret":"***"}',
      big: "1",
      nothing: null,
      nan: "NaN",
      level_: "mine",
      msg: "odd",
    });
  });

  test("does not let what is logged write lines of its own", () => {
    const { logger, lines } = collect({ format: "pretty" });
    const evil = "a\n12:00:00.000 info  forged\r\u001b[2J\u009b\u202e";
    logger.info(evil, { [evil]: evil });
    assert.equal(lines.length, 1);
    // oxlint-disable-next-line no-control-regex -- control characters are what must not be there
    assert.doesNotMatch(lines.join("").trimEnd(), /[\u0000-\u001f\u007f-\u009f\u202e]/);
  });
});
