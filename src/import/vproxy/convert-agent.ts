import type { ConfigInput } from "../../config/config.ts";
import type { Imported, ImportOptions } from "../../config/imported.ts";
import { type AgentFile, DEFAULT_GROUP, readAgentFile } from "./agent-file.ts";
import { convertGroups } from "./convert-groups.ts";
import { convertListeners } from "./convert-listeners.ts";
import { RuleConverter } from "./convert-rules.ts";
import { noteLeftOut } from "./left-out.ts";
import { notePassword, variableFor } from "./login.ts";
import { ImportReport } from "./report.ts";

/**
 * Converts the configuration file of vproxy's agent (spec 5.8).
 *
 * @throws ConfigError with every problem as `file:line:column: …`, one per line, where the file is
 * none that the original takes
 */
export function importVproxyAgent(text: string, options: ImportOptions): Imported {
  const report = new ImportReport(options.name);
  const file = readAgentFile(text, report);
  report.throwProblems();
  const input = file === undefined ? {} : convert(file, options, report);
  return { input, notes: report.notes };
}

function convert(file: AgentFile, options: ImportOptions, report: ImportReport): ConfigInput {
  const { user, password } = file.login.value;
  const variable = options.inlineSecrets ? undefined : variableFor(undefined);
  const login = { user, password, variable };
  const { connect, groups, viaOf } = convertGroups(file, login, report);
  if (Object.keys(connect).length > 0) notePassword(login, file.login.place, report);
  const inbounds = convertListeners(file, report);
  const routes = convertRoutes(file, { options, viaOf, report });
  noteLeftOut(file, report);
  return {
    ...(Object.keys(connect).length > 0 && { connect }),
    ...(Object.keys(groups).length > 0 && { groups }),
    ...(inbounds.length > 0 && { inbounds }),
    routes,
  };
}

/**
 * First what must not be proxied, for any group; then every group, the default one last, as in the
 * original; what no rule matches goes direct.
 */
function convertRoutes(
  { groups }: AgentFile,
  how: {
    readonly options: ImportOptions;
    readonly viaOf: (group: string) => string;
    readonly report: ImportReport;
  },
): ConfigInput[] {
  const { options, viaOf, report } = how;
  const inOrder = [...groups].toSorted(
    ([one], [other]) => Number(one === DEFAULT_GROUP) - Number(other === DEFAULT_GROUP),
  );
  const converter = new RuleConverter(options, report);
  const exceptions = inOrder.flatMap(([, { noProxy }]) => noProxy);
  const routes = [
    ...converter.convert(exceptions, "direct"),
    ...inOrder.flatMap(([name, { domains }]) => converter.convert(domains, viaOf(name))),
    { via: "direct" },
  ];
  converter.noteKinds();
  report.note({
    kind: "differs",
    text: "what goes direct: loopback, link-local, cloud metadata and multicast addresses are denied here",
    instead: "open what is wanted: allow: [127.0.0.1:8080]",
  });
  return routes;
}
