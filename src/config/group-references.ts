import type { GroupConfig } from "./config.ts";
import { didYouMean } from "./nearest.ts";
import type { Problem } from "./problem.ts";

/** Members of groups that do not exist, or are there twice. */
export function checkGroups(
  groups: ReadonlyMap<string, GroupConfig>,
  connect: readonly string[],
): Problem[] {
  return [...groups].flatMap(([name, { tunnels }]) =>
    tunnels.flatMap((tunnel, index): Problem[] => {
      const path = ["groups", name, "tunnels", index];
      if (tunnels.indexOf(tunnel) < index) {
        return [{ path, message: `"${tunnel}" is in this group already` }];
      }
      if (connect.includes(tunnel)) return [];
      const known = connect.length === 0 ? "" : `; known: ${connect.join(", ")}`;
      const guess = didYouMean(tunnel, connect) || known;
      return [{ path, message: `there is no tunnel named "${tunnel}" under connect${guess}` }];
    }),
  );
}
