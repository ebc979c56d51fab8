import { type Command, Option } from "commander";

/** What `cert` can make. */
export type CertificateKind = "ca" | "server" | "client";

/** Flags of `cert ca`, `cert server` and `cert client`. */
export interface MakeFlags {
  readonly ca?: string;
  readonly caKey?: string;
  readonly name?: string;
  readonly san?: readonly string[];
  readonly days?: string;
  readonly format?: string;
  readonly out?: string;
  readonly force?: boolean;
}

/** Flags of `cert show`. */
export interface ShowFlags {
  readonly json?: boolean;
}

/** What the commands of `cert` do. */
export interface CertActions {
  make(kind: CertificateKind, flags: MakeFlags): Promise<void>;
  show(path: string, flags: ShowFlags): Promise<void>;
}

/** Adds `cert` and its commands to the command line. */
export function addCertCommand(program: Command, actions: CertActions): void {
  const cert = program
    .command("cert")
    .helpCommand(false)
    .usage("ca|server|client|show [OPTIONS]")
    .summary("make and show certificates for godoxy")
    .description(
      "Makes a CA for an agent and certificates for both ends, and shows what is in any.",
    );
  examples(cert, [
    "sluice cert ca",
    "sluice cert server --ca ca.pem",
    "sluice cert client --ca ca.pem --format zip -o certs/10.0.0.5:8890",
    "sluice cert show server.pem",
  ]);

  const ca = cert
    .command("ca")
    .usage("[OPTIONS]")
    .summary("make a CA, one for each agent")
    .description("Makes a private CA. Keep its key off agents: nothing but signing needs it.");
  addWhatIsMade(ca, { formats: "pem or pair; pem", days: "3650" });
  ca.action((flags: MakeFlags) => actions.make("ca", flags));
  examples(ca, ["sluice cert ca", "sluice cert ca --format pair --days 365000 -o office"]);

  for (const [kind, who] of [
    ["server", "the agent, which listens"],
    ["client", "the end that dials the agent"],
  ] as const) {
    const command = cert
      .command(kind)
      .usage("[OPTIONS]")
      .summary(`make a certificate for ${who}`)
      .description(`Makes a key and a certificate for ${who}.`)
      .option("--ca <FILE>", "the CA, PEM or pair; ca.pem")
      .option("--ca-key <FILE>", "its key; beside it, or in its pair");
    addWhatIsMade(command, { formats: "pem, pair or zip; pem", days: "825" });
    command.addOption(new Option("--san <NAME>", "further name or IP address").argParser(collect));
    command.action((flags: MakeFlags) => actions.make(kind, flags));
    examples(command, [
      `sluice cert ${kind} --ca ca.pem`,
      `sluice cert ${kind} --ca ca.pem --ca-key 'cmd:pass show ca' --format pair`,
    ]);
  }

  const show = cert
    .command("show")
    .argument("<FILE>", "PEM, pair or zip; -: stdin")
    .usage("FILE [OPTIONS]")
    .summary("print what is in a file")
    .description("Prints names, validity, usages and pins of certificates; of keys their pins.")
    .option("--json", "print it as JSON")
    .action((path: string, flags: ShowFlags) => actions.show(path, flags));
  examples(show, [
    "sluice cert show server.pem",
    "sluice cert show certs/10.0.0.5:8890.zip --json",
  ]);
}

function addWhatIsMade(
  command: Command,
  { formats, days }: { readonly formats: string; readonly days: string },
): void {
  command
    .option("--name <NAME>", "common name and first name; godoxy.agent")
    .option("--days <DAYS>", `how long it is valid; ${days}`)
    .option("--format <FORMAT>", formats)
    .option("-o, --out <PATH>", "path of what is written, without extension")
    .option("--force", "replace files that are there");
}

/** An option that may be given many times. */
const collect = (text: string, before: readonly string[] = []): readonly string[] => [
  ...before,
  text,
];

function examples(command: Command, lines: readonly string[]): void {
  command.addHelpText("after", `\nExamples:\n${lines.map((line) => `  ${line}`).join("\n")}`);
}
