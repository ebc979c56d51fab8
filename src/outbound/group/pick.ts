/** How a group chooses among its live members. */
export type GroupPolicy = "round-robin" | "least-streams" | "failover";

/** As much of a member as the choice depends on. */
export interface Candidate {
  readonly load: number;
}

/**
 * The index of the member to take, or -1 when there is none.
 *
 * @param isFree whether a member may be taken
 * @param turn where round robin goes on; it decides among equal loads, too
 */
export function pick(
  policy: GroupPolicy,
  members: readonly Candidate[],
  { isFree, turn }: { readonly isFree: (index: number) => boolean; readonly turn: number },
): number {
  const from = policy === "failover" ? 0 : turn;
  let best = -1;
  for (let step = 0; step < members.length; step++) {
    const index = (from + step) % members.length;
    if (!isFree(index)) continue;
    if (policy !== "least-streams") return index;
    const load = members[index]?.load ?? 0;
    if (best < 0 || load < (members[best]?.load ?? 0)) best = index;
  }
  return best;
}
