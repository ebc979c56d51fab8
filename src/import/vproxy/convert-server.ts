import type { ConfigInput } from "../../config/config.ts";
import type { Imported, ImportOptions } from "../../config/imported.ts";
import type { OptionsDraft } from "../../config/option-values.ts";
import { formatTunnelUrl } from "../../config/tunnel-url.ts";
import { formatCredential } from "../../config/credential.ts";
import { ConfigError } from "../../errors.ts";
import { type Login, notePassword, toCredential, variableFor } from "./login.ts";
import { ImportReport } from "./report.ts";
import { readServerWords, type ServerWords } from "./server-words.ts";
import { quoteForShell } from "./shell.ts";

/**
 * Converts the command line of vproxy's server (spec 5.9).
 *
 * @throws ConfigError where the original would not start either
 */
export function importVproxyServer(words: readonly string[], options: ImportOptions): Imported {
  const report = new ImportReport(options.name);
  const server = readServerWords(words);
  const clients = toClients(server, options, report);
  const certificate = server.hasTls ? toCertificate(server, report) : {};
  const serve = ["tcp" as const, ...(server.hasKcp ? (["kcp"] as const) : [])].map((carrier) => ({
    url: toUrl(server, carrier),
    clients,
    ...certificate,
  }));
  noteDifferences(server, report);
  return { input: { serve }, notes: report.notes };
}

/** TCP and KCP share the number of the port, and TCP answers the agents' health checks. */
function toUrl(server: ServerWords, carrier: "tcp" | "kcp"): string {
  const { port, hasTls, domain, redirectPort, webRoot } = server;
  const options: OptionsDraft = {};
  if (hasTls && domain !== undefined) options.domain = domain;
  if (carrier === "kcp") options.health = false;
  if (carrier === "tcp" && webRoot !== undefined) options.webroot = webRoot;
  if (carrier === "tcp" && hasTls && redirectPort !== undefined) options.redirect = redirectPort;
  const transport = carrier === "kcp" ? (hasTls ? "kcp+tls" : "kcp") : hasTls ? "tls" : "tcp";
  return formatTunnelUrl({ system: "vproxy", transport, host: "0.0.0.0", port, path: "", options });
}

function toClients(
  { users }: ServerWords,
  { inlineSecrets }: ImportOptions,
  report: ImportReport,
): Record<string, string> {
  const clients: Record<string, string> = {};
  const variables = new Set<string>();
  for (const [user, password] of users) {
    if (!/^[A-Za-z0-9][\w.-]{0,63}$/.test(user)) {
      report.note({
        kind: "left out",
        text: `auth: user ${JSON.stringify(user)}: names here have 1 to 64 letters, digits, dots and dashes`,
        instead: "give the user another name, here and in the agent's proxy.auth",
      });
      continue;
    }
    let variable = variableFor(user);
    for (let index = 2; variables.has(variable); index++)
      variable = `${variableFor(user)}_${index}`;
    variables.add(variable);
    const login: Login = { user, password, variable: inlineSecrets ? undefined : variable };
    clients[user] = formatCredential(toCredential(login), { reveal: true });
    notePassword(login, undefined, report);
  }
  if (variables.size === 0) throw new ConfigError("auth: none of the users can be carried over");
  return clients;
}

function toCertificate(
  { pkcs12, certificates, key }: ServerWords,
  report: ImportReport,
): ConfigInput {
  if (pkcs12 !== undefined) {
    const base = pkcs12.replace(/\.(?:p12|pfx)$/i, "");
    const [cert, own] = [`${base}.cert.pem`, `${base}.key.pem`];
    report.note({
      kind: "to do",
      text: `pkcs12: ${pkcs12} cannot be read here: the configuration names ${cert} and ${own}`,
      instead: `make them once: openssl pkcs12 -in ${quoteForShell(pkcs12)} -nokeys -out ${quoteForShell(cert)}; openssl pkcs12 -in ${quoteForShell(pkcs12)} -nocerts -noenc -out ${quoteForShell(own)}`,
    });
    return { cert: `file:${cert}`, key: `file:${own}` };
  }
  const [first = "", ...more] = certificates;
  if (more.length === 0) return { cert: `file:${first}`, key: `file:${key ?? ""}` };
  const chain = `${first.replace(/\.pem$/i, "")}-chain.pem`;
  report.note({
    kind: "to do",
    text: `certpem: the certificates stand in one file here: the configuration names ${chain}`,
    instead: `make it: cat ${certificates.map(quoteForShell).join(" ")} > ${quoteForShell(chain)}`,
  });
  return { cert: `file:${chain}`, key: `file:${key ?? ""}` };
}

function noteDifferences(server: ServerWords, report: ImportReport): void {
  const { hasQuic, uotPort, hasTls, domain, redirectPort } = server;
  if (!hasTls && (domain ?? redirectPort) !== undefined) {
    report.note({
      kind: "left out",
      text: `${redirectPort === undefined ? "domain" : "redirectport"}: there is no https to send browsers on to`,
      instead: "add ssl, or let the server that ends TLS in front of this one redirect",
    });
  }
  if (hasQuic) {
    report.note({
      kind: "left out",
      text: "quic: the QUIC mode of vproxy is not spoken here",
      instead: "let agents use websockss:// or websockss:kcp://",
    });
  }
  if (uotPort !== undefined) {
    report.note({
      kind: "left out",
      text: "uot.port: KCP in hand-made TCP packets needs raw packet access (XDP), which Node.js has not",
      instead: "let agents use websockss:// where UDP does not pass",
    });
  }
  report.note({
    kind: "differs",
    text: "/tools/resolve: it answers those who log in; vproxy answers everybody, and its agents' DNS servers do not log in",
    instead: "add resolve=anybody to the URL where such agents use it",
  });
  report.note({
    kind: "differs",
    text: "targets: loopback, link-local, cloud metadata and multicast addresses are denied here",
    instead: "open what is wanted: allow: [127.0.0.1:8080]",
  });
}
