import type { LogFields } from "../tunnel/logger.ts";

/**
 * Cuts fields down to what a log line can bear: few of them, short, flat, and never bytes. Names
 * that the line itself uses get an underscore.
 */
export function boundFields(fields: LogFields): Record<string, string | number | boolean | null> {
  const bounded: Record<string, string | number | boolean | null> = {};
  let left = MAX_FIELDS;
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    if (left-- === 0) {
      bounded["more"] = true;
      break;
    }
    const key = RESERVED.has(name) ? `${name}_` : shorten(name, MAX_NAME_LENGTH);
    bounded[key] = boundValue(value);
  }
  return bounded;
}

/** A message no longer than a line can bear. */
export function boundMessage(message: string): string {
  return shorten(message, MAX_TEXT_LENGTH);
}

function boundValue(value: unknown): string | number | boolean | null {
  if (value === null || typeof value === "boolean") return value;
  if (typeof value === "number") return Number.isFinite(value) ? value : String(value);
  if (typeof value === "string") return shorten(value, MAX_TEXT_LENGTH);
  if (typeof value === "object") return shorten(describe(value), MAX_TEXT_LENGTH);
  return typeof value === "bigint" ? String(value) : typeof value;
}

function describe(value: object): string {
  if (value instanceof Error) return value.message;
  if (ArrayBuffer.isView(value)) return `${value.byteLength} bytes`;
  try {
    return JSON.stringify(value) ?? "nothing";
  } catch {
    return "something circular"; // a log line must not fail over what it was given
  }
}

function shorten(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length)}…`;
}

const MAX_FIELDS = 32;
const MAX_NAME_LENGTH = 64;
const MAX_TEXT_LENGTH = 1024;

/** What every line has by itself. */
const RESERVED: ReadonlySet<string> = new Set(["time", "level", "msg"]);
