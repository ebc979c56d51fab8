/** One open door, as {@link startupTable} needs it. */
export interface ListenerRow {
  readonly name: string;
  readonly kind: string;
  readonly address: string;
  readonly leadsTo: string;
  readonly certificateExpires?: Date | undefined;
}

/** One dialled tunnel, as {@link startupTable} needs it. */
export interface TunnelRow {
  readonly name: string;
  readonly url: string;
  readonly state: "idle" | "connecting" | "up" | "down" | "closed";
  readonly detail: string;
  readonly latencyMs: number | undefined;
}

/** What is shown when everything has started. */
export interface StartupState {
  readonly listeners: readonly ListenerRow[];
  readonly tunnels: readonly TunnelRow[];
  /** Wall time, against which certificates expire. */
  readonly now: Date;
}

/** The table printed at the start: every listener, every tunnel, and what each will do next. */
export function startupTable({ listeners, tunnels, now }: StartupState): string {
  const doors = listeners.map(({ kind, address, leadsTo, certificateExpires }) => [
    kind,
    address,
    leadsTo,
    expiryText(certificateExpires, now),
  ]);
  const ways = tunnels.map(({ name, url, state, latencyMs, detail }) => [
    name,
    url,
    state,
    latencyMs === undefined ? "-" : `${formatMs(latencyMs)} ms`,
    nextText(state, detail, url),
  ]);
  const parts = [
    ...(doors.length === 0
      ? []
      : [columns(["LISTENER", "ADDRESS", "LEADS TO", "CERTIFICATE"], doors)]),
    ...(ways.length === 0 ? [] : [columns(["TUNNEL", "URL", "STATE", "LATENCY", "NEXT"], ways)]),
  ];
  return parts.length === 0 ? "nothing to do\n" : parts.join("\n");
}

/** The same as one JSON object on one line. */
export function startupJson({ listeners, tunnels }: StartupState): string {
  return `${JSON.stringify({ listeners, tunnels })}\n`;
}

function nextText(state: TunnelRow["state"], detail: string, url: string): string {
  switch (state) {
    case "up":
      return "carries streams";
    case "connecting":
      return "is being dialled; new connections wait for it";
    case "idle":
      return "is dialled by the first connection";
    case "down":
      return `dials again by itself: ${detail === url ? "lost" : detail}`;
    case "closed":
      return "stays closed";
  }
}

function expiryText(expires: Date | undefined, now: Date): string {
  if (expires === undefined) return "-";
  const date = expires.toISOString().slice(0, "2026-01-01".length);
  const days = Math.floor((expires.getTime() - now.getTime()) / 86_400_000);
  if (days < 0) return `EXPIRED ${date}: renew it`;
  return days < SOON_DAYS
    ? `until ${date}: ${days} ${days === 1 ? "day" : "days"} left, renew it`
    : `until ${date}`;
}

function formatMs(value: number): string {
  return value < 10 ? value.toFixed(1) : String(Math.round(value));
}

/** Left-aligned columns, two blanks apart; the last one is not padded. */
function columns(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows];
  const widths = head.map((_, at) => Math.max(...all.map((row) => row[at]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join("  ")
      .trimEnd();
  return `${all.map(line).join("\n")}\n`;
}

/** A certificate that ends sooner deserves a word. */
const SOON_DAYS = 21;
