import { ConfigError } from "../errors.ts";
import { didYouMean } from "./nearest.ts";

/** A length of time in milliseconds. */
export type Milliseconds = number;

/** What a duration may be. */
export interface DurationLimits {
  readonly min: Milliseconds;
  readonly max: Milliseconds;
}

/**
 * Reads `250ms`, `15s`, `1.5m`, `2h`, `1d`; a number without a unit is seconds.
 *
 * @throws ConfigError when the text is no duration, or outside the limits
 */
export function parseDuration(
  text: string,
  { min, max }: DurationLimits = ANY_DURATION,
): Milliseconds {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text.trim());
  if (match === null) {
    throw new ConfigError(`"${text}" is no duration: write 250ms, 15s, 1m or 2h`);
  }
  const [, digits = "", unit = ""] = match;
  const factor = unit === "" ? 1000 : UNITS.get(unit.toLowerCase());
  if (factor === undefined) {
    const units = [...UNITS.keys()];
    throw new ConfigError(
      `unit "${unit}" is not one of ${units.join(", ")}${didYouMean(unit, units)}`,
    );
  }
  const duration = Math.round(Number(digits) * factor);
  if (duration < min || duration > max) {
    throw new ConfigError(
      `duration ${text} is not between ${formatDuration(min)} and ${formatDuration(max)}`,
    );
  }
  return duration;
}

/** The shortest exact form: `90s`, `2m`, `1500ms`. */
export function formatDuration(duration: Milliseconds): string {
  if (duration === 0) return "0s";
  for (const [unit, factor] of [...UNITS].toReversed()) {
    if (duration % factor === 0) return `${duration / factor}${unit}`;
  }
  return `${duration}ms`;
}

/** From nothing to thirty days, which is as long as anything here waits. */
export const ANY_DURATION: DurationLimits = { min: 0, max: 30 * 86_400_000 };

/** Smallest first. */
const UNITS: ReadonlyMap<string, number> = new Map([
  ["ms", 1],
  ["s", 1_000],
  ["m", 60_000],
  ["h", 3_600_000],
  ["d", 86_400_000],
]);
