import { readFile } from "node:fs/promises";
import { agentEnvironment } from "../certificates/agent-environment.ts";
import { readStore } from "../certificates/certificate-store.ts";
import type { CertificateMaterial } from "../certificates/material.ts";
import { CertificateWatch } from "../certificates/watch.ts";
import type { ServeConfig } from "../config/config.ts";
import type { Credential } from "../config/credential.ts";
import { describeTunnelUrl, type TunnelUrl } from "../config/tunnel-url.ts";
import { ConfigError } from "../errors.ts";
import { whose } from "./secrets.ts";
import type { SystemContext } from "./system.ts";

/** What an end of GoDoxy shows and trusts; all of it is needed. */
export interface GodoxyIdentity extends CertificateMaterial {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** An identity that follows its files. */
export interface LiveIdentity {
  /** What counts now. */
  current(): GodoxyIdentity;
  /** Looks at the files no more. */
  close(): void;
}

/**
 * The agent's certificate, its key and the CA of its clients: from the URL, the entry, or the
 * environment a GoDoxy agent is configured with.
 *
 * @throws ConfigError when one is missing or broken
 */
export async function openAgentIdentity(
  { url, cert, key }: ServeConfig,
  context: SystemContext,
  onChange: (identity: GodoxyIdentity) => void,
): Promise<LiveIdentity> {
  const sources = {
    ca: url.options.ca,
    cert: url.options.cert ?? cert,
    key: url.options.key ?? key,
  };
  const { secrets } = context;
  const load = async (): Promise<CertificateMaterial> => {
    const environment = agentEnvironment(secrets.environment);
    return {
      ca: (await secrets.pem(sources.ca, whose("ca", url), "cert")) ?? environment.ca,
      cert:
        (await secrets.pem(sources.cert, whose("cert", url), "cert")) ?? environment.identity?.cert,
      key:
        (await secrets.pem(sources.key ?? sources.cert, whose("key", url), "key")) ??
        environment.identity?.key,
    };
  };
  return await watch(url, { context, load, onChange, paths: pathsOf(sources) });
}

/**
 * The same of the dialling end: from the URL, or a zip of GoDoxy's certs folder.
 *
 * @throws ConfigError when one is missing or broken
 */
export async function openClientIdentity(
  url: TunnelUrl,
  context: SystemContext,
): Promise<LiveIdentity> {
  const { secrets } = context;
  const { ca, cert, key, store } = url.options;
  const load = async (): Promise<CertificateMaterial> => {
    if (store !== undefined) return readStore(await readZip(store, url));
    return {
      ca: await secrets.pem(ca, whose("ca", url), "cert"),
      cert: await secrets.pem(cert, whose("cert", url), "cert"),
      key: await secrets.pem(key ?? cert, whose("key", url), "key"),
    };
  };
  const paths = [...pathsOf({ ca, cert, key }), ...(store === undefined ? [] : [store])];
  return await watch(url, { context, load, onChange: () => {}, paths });
}

async function readZip(path: string, url: TunnelUrl): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ConfigError(`${whose("store", url)}: cannot read ${path}: ${reason}`, { cause });
  }
}

async function watch(
  url: TunnelUrl,
  how: {
    readonly context: SystemContext;
    readonly load: () => Promise<CertificateMaterial>;
    readonly onChange: (identity: GodoxyIdentity) => void;
    readonly paths: readonly string[];
  },
): Promise<LiveIdentity> {
  const { context, load, onChange, paths } = how;
  const { runtime, logger } = context;
  const check = (material: CertificateMaterial): GodoxyIdentity => {
    const { ca, cert, key } = material;
    if (ca !== undefined && cert !== undefined && key !== undefined) return { ca, cert, key };
    const missing = Object.entries({ ca, cert, key }).flatMap(([name, value]) =>
      value === undefined ? [name] : [],
    );
    throw new ConfigError(
      `${describeTunnelUrl(url)}: certificates decide here: no ${missing.join(", no ")}`,
      {
        hint: "give ?ca=file:ca.pem&cert=file:cert.pem&key=file:key.pem; `sluice cert` makes them",
      },
    );
  };
  let identity: GodoxyIdentity | undefined;
  const files = new CertificateWatch({
    runtime,
    logger,
    paths,
    load: async () => check(await load()),
    onChange: (material) => {
      identity = check(material);
      onChange(identity);
    },
  });
  identity = check(await files.open());
  const now = identity;
  return { current: () => identity ?? now, close: () => files.close() };
}

function pathsOf(sources: Readonly<Record<string, Credential | undefined>>): readonly string[] {
  return Object.values(sources).flatMap((source) => (source?.kind === "file" ? [source.path] : []));
}
