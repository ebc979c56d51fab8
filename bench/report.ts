/** One measured number beside its baseline from the same run. */
export interface Row {
  readonly system: string;
  readonly transport: string;
  readonly metric: string;
  readonly value: number;
  readonly unit: string;
  readonly baseline: number;
  readonly ratio: number;
}

/** Everything one run measured. */
export interface Report {
  readonly machine: string;
  readonly node: string;
  readonly date: string;
  readonly rows: readonly Row[];
}

/** The middle value; the mean of the two middle ones. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const upper = sorted[Math.floor(middle)] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** The report for a terminal, and for `docs/performance.md`. */
export function formatTable({ machine, node, date, rows }: Report): string {
  const lines = [
    `${machine}; Node ${node}; ${date}`,
    "",
    "| system | transport | metric | value | unit | baseline | ratio |",
    "|---|---|---|---:|---|---:|---:|",
  ];
  for (const { system, transport, metric, value, unit, baseline, ratio } of rows) {
    const cells = [
      system,
      transport,
      metric,
      digits(value),
      unit,
      digits(baseline),
      ratio.toFixed(2),
    ];
    lines.push(`| ${cells.join(" | ")} |`);
  }
  return `${lines.join("\n")}\n`;
}

function digits(value: number): string {
  if (!Number.isFinite(value)) return "-";
  return value >= 100 ? String(Math.round(value)) : value.toFixed(2);
}
