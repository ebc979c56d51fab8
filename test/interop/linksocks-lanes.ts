import { basename } from "node:path";
import type { LaneOptions } from "../support/linksocks-lane.ts";
import { type LaneRole, type LinksocksMode, OURS } from "../support/linksocks-arguments.ts";

/** Programs named in `SLUICE_INTEROP_LINKSOCKS`, separated by `:` or `,`. */
export function referencePrograms(): string[] {
  return (process.env["SLUICE_INTEROP_LINKSOCKS"] ?? "").split(/[:,]/).filter((it) => it !== "");
}

/** One mixed set-up. */
export interface MixedLane {
  readonly title: string;
  readonly options: LaneOptions;
}

/** Every way to put ours and the reference together in which both take part. */
export function mixedLanes(program: string): MixedLane[] {
  return (["forward", "reverse", "agent", "autonomy"] as const).flatMap((mode) =>
    mixes(ROLES[mode]).map((ours) => laneOf(program, mode, ours)),
  );
}

/** A lane of the reference alone: what it cannot do itself, nobody can do with it. */
export function foreignLane(program: string, mode: LinksocksMode): MixedLane {
  return laneOf(program, mode, []);
}

/** The lane in which these roles are ours. */
export function laneOf(program: string, mode: LinksocksMode, ours: readonly LaneRole[]): MixedLane {
  const programs = Object.fromEntries(
    ROLES[mode].map((role) => [role, ours.includes(role) ? OURS : program]),
  );
  const parts = ROLES[mode].map((role) => {
    const name = role === "client" && mode !== "forward" ? "connector" : role;
    return `${ours.includes(role) ? "our" : "their"} ${name}`;
  });
  return {
    title: `${mode}: ${parts.join(", ")} (${basename(program)})`,
    options: { mode, programs },
  };
}

/** All choices of some but not all. */
function mixes(roles: readonly LaneRole[]): LaneRole[][] {
  const all = Array.from({ length: 2 ** roles.length }, (_, bits) =>
    roles.filter((_role, at) => (bits & (1 << at)) !== 0),
  );
  return all.filter(({ length }) => length > 0 && length < roles.length);
}

const ROLES: Readonly<Record<LinksocksMode, readonly LaneRole[]>> = {
  forward: ["client", "server"],
  reverse: ["server", "provider"],
  agent: ["client", "server", "provider"],
  autonomy: ["client", "server", "provider"],
};
