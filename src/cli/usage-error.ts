import { ConfigError } from "../errors.ts";

/** The command line itself is wrong: exit code 2, and how to get help. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Runs a parser of ours; what is wrong becomes a {@link UsageError} that names the argument. */
export function parseArgument<Value>(what: string, parse: () => Value): Value {
  try {
    return parse();
  } catch (thrown) {
    if (!(thrown instanceof ConfigError)) throw thrown;
    const hint = thrown.hint === undefined ? "" : `\n${thrown.hint}`;
    throw new UsageError(`${what}: ${thrown.message}${hint}`, { cause: thrown });
  }
}
