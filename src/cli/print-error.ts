import { TunnelError } from "../errors.ts";
import type { CliIo } from "./io.ts";

/** `sluice: what happened`, and what to try. */
export function printError(error: Error, { stderr }: Pick<CliIo, "stderr">): void {
  stderr.write(`sluice: ${error.message}\n`);
  const hint = error instanceof TunnelError ? error.hint : undefined;
  if (hint !== undefined) stderr.write(`hint: ${hint}\n`);
}
