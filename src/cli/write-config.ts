import type { Config } from "../config/config.ts";
import { printConfig } from "../config/print.ts";
import type { CliIo } from "./io.ts";

/** Prints the file that stands for a configuration, and warns when secrets are in it. */
export function writeConfig(config: Config, io: CliIo, head = ""): void {
  const { yaml, secrets } = printConfig(config);
  io.stdout.write(`${head}${yaml}`);
  if (secrets.length === 0) return;
  const text = `sluice: warning: secrets are written out: ${secrets.join(", ")}\n`;
  io.stderr.write(`${text}hint: keep it private, or give env:NAME, file:PATH or cmd:COMMAND\n`);
}
