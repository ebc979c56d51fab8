import { ConfigError } from "../errors.ts";
import { about } from "./material.ts";
import { type PemPair, parsePemPair, pemPart } from "./pem-pair.ts";

/** What the environment of a GoDoxy agent says; what it does not say is undefined. */
export interface AgentEnvironment {
  /** `AGENT_CA_CERT`: the CA's certificate. Its key is dropped, no agent needs it. */
  readonly ca: string | undefined;
  /** `AGENT_SSL_CERT`: the agent's own certificate and key. */
  readonly identity: PemPair | undefined;
  /** `AGENT_NAME`, for display. */
  readonly name: string | undefined;
  /** `AGENT_PORT`, TCP and UDP. */
  readonly port: number | undefined;
  /** `AGENT_SKIP_CLIENT_CERT_CHECK`: whether strangers are let in over TCP. */
  readonly skipsClientCertificates: boolean | undefined;
  /** `RUNTIME`; another program's word in this common name says nothing to us. */
  readonly containerRuntime: "docker" | "podman" | undefined;
}

/**
 * Reads the variables that configure a GoDoxy agent, each as `GODOXY_<name>`, `GOPROXY_<name>` or
 * bare; the first that is not empty counts.
 *
 * Spec: godoxy-stream, 2.3 "text form". Reference: godoxy `agent/pkg/env/env.go`.
 *
 * @throws ConfigError naming the variable and what is wrong, never a secret
 */
export function agentEnvironment(
  env: Readonly<Record<string, string | undefined>>,
): AgentEnvironment {
  const read = <Value>(name: string, parse: (text: string) => Value): Value | undefined => {
    for (const variable of PREFIXES.map((prefix) => `${prefix}${name}`)) {
      const value = env[variable] ?? "";
      if (value !== "") return about(`environment variable ${variable}:`, () => parse(value));
    }
    return undefined;
  };
  return {
    ca: read("AGENT_CA_CERT", parseCa),
    identity: read("AGENT_SSL_CERT", parsePemPair),
    name: read("AGENT_NAME", String),
    port: read("AGENT_PORT", parsePort),
    skipsClientCertificates: read("AGENT_SKIP_CLIENT_CERT_CHECK", parseBoolean),
    containerRuntime: read("RUNTIME", parseRuntime),
  };
}

function parseCa(text: string): string {
  const pem = pemPart(text, "cert");
  if (pem.includes("-----BEGIN CERTIFICATE-----")) return pem;
  throw new ConfigError("no pair text and no PEM of a certificate");
}

function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port >= 1 && port <= 65_535) return port;
  throw new ConfigError(`"${text}" is no port`);
}

/** As Go's ParseBool has it. */
function parseBoolean(text: string): boolean {
  if (/^(?:1|t|T|TRUE|true|True)$/.test(text)) return true;
  if (/^(?:0|f|F|FALSE|false|False)$/.test(text)) return false;
  throw new ConfigError(`"${text}" is not true or false`);
}

function parseRuntime(text: string): "docker" | "podman" | undefined {
  return text === "docker" || text === "podman" ? text : undefined;
}

const PREFIXES = ["GODOXY_", "GOPROXY_", ""] as const;
