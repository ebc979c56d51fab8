import { about } from "../certificates/material.ts";
import { type PemPart, pemPart } from "../certificates/pem-pair.ts";
import type { Clock } from "../clock/clock.ts";
import type { Credential } from "../config/credential.ts";
import { resolveCredential } from "../config/resolve-credential.ts";
import { describeTunnelUrl, type TunnelUrl } from "../config/tunnel-url.ts";

/** Fetches what credentials stand for, when a tunnel is made and never before. */
export interface Secrets {
  /** For systems whose programs are configured through it. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** One line: a password, a token, a client id. */
  line(credential: Credential, what: string): Promise<string>;
  /** PEM text; with `part` also what GoDoxy's pair text holds of it. */
  pem(
    credential: Credential | undefined,
    what: string,
    part?: PemPart,
  ): Promise<string | undefined>;
}

/** Fetches secrets with this environment. */
export function createSecrets(
  clock: Clock,
  env: Readonly<Record<string, string | undefined>>,
): Secrets {
  return {
    environment: env,
    line: async (credential, what) =>
      (await resolveCredential(credential, { clock, env, what })).reveal(),
    pem: async (credential, what, part) => {
      if (credential === undefined) return undefined;
      const secret = await resolveCredential(credential, { clock, env, what, isMultiline: true });
      const text = secret.reveal();
      return part === undefined ? text : about(`${what}:`, () => pemPart(text, part));
    },
  };
}

/** `ca of pong+tls://host:443`: what an error about a secret is about. */
export function whose(what: string, url: TunnelUrl): string {
  return `${what} of ${describeTunnelUrl(url)}`;
}
