import { type JsonSchema, toJsonSchema } from "../src/config/json-schema.ts";
import { ENVIRONMENT_FLAGS } from "../src/config/load.ts";
import { SYSTEMS } from "../src/config/systems.ts";
import { isOptionName, type OptionInfo, OPTIONS } from "../src/config/tunnel-options.ts";

/** The JSON Schema file for editors. */
export function schemaFile(): string {
  return `${JSON.stringify(toJsonSchema(), null, 2)}\n`;
}

/** The reference page, written from the same schema that checks the file. */
export function configurationPage(): string {
  const root = toJsonSchema();
  const sections = Object.entries(root.properties ?? {}).map(([key, section]) =>
    sectionText(key, section),
  );
  return `${[HEAD, EXAMPLE, summary(root), ...sections, RULES, urls(), credentials(), environment()].join("\n\n")}\n`;
}

function summary(root: JsonSchema): string {
  const rows = Object.entries(root.properties ?? {}).map(
    ([key, section]) =>
      `| [\`${key}\`](#${key}) | ${formOf(section)} | ${cell(section.description)} |`,
  );
  return ["## Keys", "", "| key | form | meaning |", "|---|---|---|", ...rows].join("\n");
}

function sectionText(key: string, section: JsonSchema): string {
  const heading = `## ${key}\n\n${section.description ?? ""}`;
  const table = keyTable(entryOf(section));
  const byDefault =
    section.default === undefined ? "" : `\n\nDefault: \`${text(section.default)}\``;
  return `${heading}${table === "" ? byDefault : `\n\n${table}`}`;
}

/** The mapping a section consists of, or lists, or names. */
function entryOf(section: JsonSchema): JsonSchema {
  const inner =
    section.items ??
    (typeof section.additionalProperties === "object" ? section.additionalProperties : section);
  return inner.anyOf?.find(({ properties }) => properties !== undefined) ?? inner;
}

function keyTable({ properties = {}, required = [] }: JsonSchema, prefix = ""): string {
  const rows = keyRows(properties, required, prefix);
  if (rows.length === 0) return "";
  return ["| key | form | default | meaning |", "|---|---|---|---|", ...rows].join("\n");
}

function keyRows(
  properties: Readonly<Record<string, JsonSchema>>,
  required: readonly string[],
  prefix: string,
): string[] {
  return Object.entries(properties).flatMap(([key, schema]) => {
    const name = `${prefix}${key}`;
    const byDefault = required.includes(key)
      ? "required"
      : schema.default === undefined || isEmpty(schema.default)
        ? ""
        : `\`${text(schema.default)}\``;
    const row = `| \`${name}\` | ${formOf(schema)} | ${byDefault} | ${cell(schema.description)} |`;
    const inner = entryOf(schema);
    const step = typeof schema.additionalProperties === "object" ? ".NAME." : ".";
    const below = keyRows(inner.properties ?? {}, inner.required ?? [], `${name}${step}`);
    return [row, ...below];
  });
}

function formOf(schema: JsonSchema): string {
  if (schema.enum !== undefined) return schema.enum.map((word) => `\`${String(word)}\``).join(", ");
  if (schema.anyOf !== undefined) return [...new Set(schema.anyOf.map(formOf))].join(" or ");
  if (typeof schema.additionalProperties === "object") {
    return `names with ${formOf(schema.additionalProperties)}`;
  }
  const types = new Set([schema.type ?? []].flat());
  if (types.has("string")) return "text";
  if (types.has("array")) {
    const items = schema.items === undefined ? "values" : plural(formOf(schema.items));
    return `list of ${items}`;
  }
  if (types.has("boolean")) return "true or false";
  if (types.has("number")) return "text";
  if (types.has("integer")) return "number";
  return "mapping";
}

function plural(form: string): string {
  return form === "text" ? "texts" : form === "mapping" ? "mappings" : form;
}

function urls(): string {
  const systems = Object.entries(SYSTEMS)
    .filter(([, { readyTransports }]) => readyTransports.length > 0)
    .map(
      ([name, { readyTransports, roles, credential, transports }]) =>
        `| \`${name}\` | ${readyTransports.map((transport) => `\`${transport}\` (${transports[transport]?.defaultPort})`).join(", ")} | ${roles.join(", ")} | ${credential} |`,
    );
  const options = Object.keys(OPTIONS)
    .filter(isOptionName)
    .map((name) => {
      const { form, summary: meaning, systems: of = ["all"], roles, needs } = OPTIONS[name];
      const where = [...of, ...(roles ?? []), ...needText(needs)].join(", ");
      return `| \`${name}\` | \`${form.replaceAll("|", "\\|")}\` | ${where} | ${meaning} |`;
    });
  return [
    "## Tunnel URLs",
    "",
    "`<system>+<transport>://[credential@]host[:port][/path][?option=value&…]`",
    "",
    "For `serve` the host and port are what is listened on; `*` or nothing stands for every address. A credential in a `serve`",
    "URL is a client named `default`. `@`, `%`, `?` and `#` inside a credential or an option's value are percent-encoded.",
    "",
    "| system | transports (default port) | roles | credential |",
    "|---|---|---|---|",
    ...systems,
    "",
    "| option | form | where | meaning |",
    "|---|---|---|---|",
    ...options,
  ].join("\n");
}

function needText(needs: OptionInfo["needs"]): string[] {
  if (needs === undefined) return [];
  if (typeof needs === "string") return [`needs ${needs}`];
  return Object.entries(needs).map(([system, need]) => `${system} needs ${need}`);
}

function credentials(): string {
  return `## Credentials

Wherever a secret is wanted, it may stand there itself, or a reference to it:

| form | meaning |
|---|---|
| \`env:NAME\` | the environment variable |
| \`file:PATH\` | the file, relative to the working directory |
| \`cmd:COMMAND\` | what the shell command prints; it has 10 s |

What a reference yields is one line (PEM text excepted) of at most 64 KiB; blanks around it are cut off. References are resolved when the
process starts, and \`print-config\` writes them as they are.`;
}

function environment(): string {
  const rows = [...ENVIRONMENT_FLAGS].map(
    ([variable, flag]) =>
      `| \`${variable}\` | \`--${flag.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}\` |`,
  );
  return [
    "## Environment",
    "",
    "Flags win over the environment, the environment over the file.",
    "",
    "| variable | flag |",
    "|---|---|",
    ...rows,
    "| `SLUICE_CONFIG` | the file of `run`, `check` and `print-config` when none is named |",
    "| `NO_COLOR` | no colours, whatever its value |",
  ].join("\n");
}

function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

function text(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function cell(description = ""): string {
  return description.replaceAll("|", "\\|");
}

const HEAD = `# Configuration

<!-- Written by scripts/write-schema.ts from the schema in src/config/schema.ts. Do not edit. -->

\`sluice run [FILE]\` reads YAML, \`sluice.yaml\` when no file is named, \`-\` for standard input. \`sluice check [FILE]\` prints everything that is
wrong with it. \`sluice print-config …\` prints the file that any command line stands for. Unknown keys are errors. For completion in
editors, start the file with \`# yaml-language-server: $schema=./node_modules/sluice/schema/sluice.schema.json\`.`;

const EXAMPLE = `\`\`\`yaml
serve:
  - url: pong+tls://0.0.0.0:443
    clients: { alice: "env:ALICE_ID" }
    cert: file:server.pem
    key: file:server.key
    allow: ["127.0.0.1:8080"]
connect:
  home: { url: "pong+wss://env:HOME_ID@home.example/api", retry: { max: 30s } }
  office: pong+tls://env:OFFICE_ID@office.example
groups:
  exits: { tunnels: [home, office], policy: failover }
inbounds:
  - { socks: "127.0.0.1:1080", users: { bob: "env:BOB_PASSWORD" } }
  - { forward: "127.0.0.1:2200", to: "bogus:22", via: office }
routes:
  - { domain: ["*.corp.example"], via: office }
  - { regexp: [".*\\\\.google\\\\.\\\\w+"], list: file:gfwlist.txt, via: exits }
  - { via: home }
\`\`\``;

const RULES = `## How groups choose

A member is healthy while its link is up, or would be dialled by the first connection, and its checks pass. A connection goes to the one
that \`policy\` names. When that member cannot carry it (its link is lost, its server turns us down or is full, or it does not answer in its share of
18 s) the next one is asked; nothing of the connection was sent by then. What the target itself answers is the answer: a refused
connection is not tried elsewhere. While no member is healthy a connection waits for \`wait\`, then fails with the reason of every member.
Datagrams go through members that carry them. When one member is refused for good the others go on.

## Rules about hosts

\`domain\`, \`cidr\`, \`regexp\` and \`list\` of a route are one condition, of which one value is enough; \`port\`, \`inbound\` and \`user\` must hold
besides. Names are compared in ASCII, in lower case and without a final dot; nothing is resolved.

A \`regexp\` matches the whole host, in either case, in the syntax that Java, JavaScript and PCRE share: \`.\`, \`[…]\`, \`\\d \\w \\s \\b\`, groups,
\`|\`, \`* + ? {n,m}\`, \`^\`, \`$\`, \`\\Q…\\E\`. What needs backtracking is refused: references to groups, looking ahead or behind, possessive
repetition. An expression has at most 4096 characters and, with its repetitions written out, 4096 steps, and takes at most that many steps
for each character of a host: there is no expression and no host that makes it run away.

A \`list\` is a file of at most 16 MiB and 200000 lines, in UTF-8 or base64; its file is looked at every 5 s. Lists are not fetched: give
the file to whatever fetches it. A line that cannot be read is logged as \`FILE:LINE\` and ignored; \`sluice check\` prints it.

| line | names |
|---|---|
| \`! text\`, \`[text]\` | nothing: a comment |
| \`\\|\\|host\` | the host and everything below it |
| \`\\|http://host/…\` | the host |
| \`.suffix\` | the suffix and everything below it |
| \`/re/\` | hosts the expression matches: all of the host, or a part of \`http://host/\` or \`https://host/\` |
| \`text\` | hosts with the text in them; \`*\` stands for anything within a host |
| \`@@\` and one of these | not these hosts, wherever in the list it stands |

Routes know hosts, not pages: of a URL the host counts, and an exclusion of one page excludes nothing. vproxy lets the first matching line
decide, ends \`.suffix\` anywhere in a name, and takes \`@@||host\` for every longer name; these lists are read as they were meant.`;
