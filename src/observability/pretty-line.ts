/** One parsed log line: its own fields, and everything else. */
export interface LogLine {
  readonly time: string;
  readonly level: string;
  readonly msg: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/**
 * One line for people: `12:00:00.000 warn  tunnel down  tunnel=home reason="…"`.
 *
 * Control characters are escaped, so that nobody who is logged can write lines of his own or move
 * the cursor.
 */
export function formatPretty(
  { time, level, msg, fields }: LogLine,
  { isColored }: { readonly isColored: boolean },
): string {
  const paint = (color: string, text: string): string =>
    isColored ? `\u001b[${color}m${text}\u001b[0m` : text;
  const clock = /T(\d\d:\d\d:\d\d\.\d{3})/.exec(time)?.[1] ?? time;
  const pairs = Object.entries(fields).map(
    ([name, value]) => `${paint(DIM, `${escapeControls(name)}=`)}${formatValue(value)}`,
  );
  const head = `${paint(DIM, clock)} ${paint(COLORS.get(level) ?? DIM, level.padEnd(5))}`;
  return [`${head} ${escapeControls(msg)}`, ...pairs].join(" ").trimEnd();
}

/** Bare words as they are, everything else in quotes. */
function formatValue(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return /^[\w.,:;@+*/[\]()%#~-]+$/.test(text) ? text : escapeControls(JSON.stringify(text));
}

/** C0 and C1 controls, and the separators and marks that terminals act upon. */
function escapeControls(text: string): string {
  return text.replaceAll(
    // oxlint-disable-next-line no-control-regex -- control characters are what we look for
    /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

const DIM = "2";

const COLORS: ReadonlyMap<string, string> = new Map([
  ["debug", "2"],
  ["info", "32"],
  ["warn", "33"],
  ["error", "31"],
]);
