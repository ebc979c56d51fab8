import { z } from "zod";
import type { GroupConfig } from "./config.ts";
import { duration, name, target } from "./schema-words.ts";

const count = (description: string): z.ZodNumber =>
  z
    .int()
    .min(1, "want a number from 1 to 100")
    .max(100, "want a number from 1 to 100")
    .meta({ description });

const check = z
  .strictObject({
    every: duration("Between two checks.", 1_000, 3_600_000).prefault("30s"),
    timeout: duration("How long one may take.", 100, 60_000).prefault("5s"),
    up: count("Passed checks in a row that bring a member up again.").default(1),
    down: count("Failed ones that take it down.").default(2),
    target: target.optional().meta({
      description:
        "What a check opens through the member, `host:port`. Without it a check asks the tunnel itself: whether its link is up, or, where the system knows how, whether its server is there.",
    }),
  })
  .prefault({})
  .meta({
    description:
      "How members are checked. A member through which a connection could not be opened is checked at once.",
  });

/** One entry of `groups`. */
export const groupSchema: z.ZodType<GroupConfig> = z.strictObject({
  tunnels: z
    .array(name)
    .min(1, "wants one tunnel at least")
    .meta({ description: "Names under `connect`, in the order of preference." }),
  policy: z.enum(["round-robin", "least-streams", "failover"]).default("round-robin").meta({
    description:
      "Which healthy member takes a new connection: each in turn, the one with the fewest streams, or the first of the list.",
  }),
  check,
  wait: duration(
    "How long a new connection waits while no member is healthy.",
    0,
    600_000,
  ).prefault("5s"),
});
