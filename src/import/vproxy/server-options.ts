import { isIP } from "node:net";
import type { Place } from "../../config/imported.ts";
import type { OptionsDraft, TunnelOptions } from "../../config/option-values.ts";
import type { AgentFile, AgentServer } from "./agent-file.ts";
import type { ImportReport } from "./report.ts";
import { quoteForShell } from "./shell.ts";

/** What the settings of an agent come down to in the URL of each server. */
export class ServerOptions {
  readonly #options: TunnelOptions;
  readonly #tlsOptions: TunnelOptions;
  readonly #report: ImportReport;

  constructor(file: AgentFile, report: ImportReport) {
    this.#report = report;
    this.#options = commonOptions(file, report);
    const servers = [...file.groups.values()].flatMap((group) => group.servers);
    const hasTls = servers.some(({ value }) => value.hasTls);
    this.#tlsOptions = hasTls ? tlsOptions(file, report) : {};
  }

  /** The options for one server. */
  of({ hasTls, host, text }: AgentServer, place: Place): TunnelOptions {
    if (!hasTls) return this.#options;
    if (isIP(host) !== 0 && this.#tlsOptions.insecure !== true) {
      this.#report.note({
        kind: "differs",
        place,
        text: `${text}: the certificate must be for ${host}; vproxy checks no name when it dials an address`,
        instead:
          "add ?sni=NAME with a name the certificate has, or ?pin=SHA256 with its public key",
      });
    }
    return { ...this.#tlsOptions, ...this.#options };
  }
}

function commonOptions({ pool, strict }: AgentFile, report: ImportReport): TunnelOptions {
  const options: OptionsDraft = {};
  if (pool !== undefined) options.pool = Math.min(pool.value, MAX_POOL);
  if (pool !== undefined && pool.value > MAX_POOL) {
    report.note({
      kind: "differs",
      place: pool.place,
      text: `agent.pool: ${pool.value} connections kept ready become ${MAX_POOL}, the most there is`,
    });
  }
  if (strict?.value === true) options.strict = true;
  return options;
}

function tlsOptions({ verifiesCerts, caCerts }: AgentFile, report: ImportReport): TunnelOptions {
  if (verifiesCerts?.value === false) {
    report.note({
      kind: "to do",
      place: verifiesCerts.place,
      text: "agent.cert.verify is false: anybody on the way can read and change everything",
      instead: "replace insecure=on in the URLs by ca=FILE or pin=SHA256",
    });
    return { insecure: true };
  }
  if (caCerts === undefined) return {};
  const { value: path, place } = caCerts;
  const pem = `${path.replace(/\.(?:jks|p12|pfx|keystore|truststore)$/i, "")}.pem`;
  report.note({
    kind: "to do",
    place,
    text: `agent.cacerts.path: ${path} is a Java key store, which cannot be read here: the URLs name ${pem}`,
    instead: `make it once: keytool -list -rfc -keystore ${quoteForShell(path)} > ${quoteForShell(pem)}`,
  });
  return { ca: { kind: "file", path: pem } };
}

/** What the option `pool` allows. */
const MAX_POOL = 256;
