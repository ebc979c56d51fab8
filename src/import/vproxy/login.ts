import type { Credential } from "../../config/credential.ts";
import type { Place } from "../../config/imported.ts";
import { Secret } from "../../config/secret.ts";
import type { ImportReport } from "./report.ts";

/** A user of vproxy, and its password or the variable that holds it. */
export interface Login {
  readonly user: string;
  readonly password: string;
  /** Where the password is to be found instead of in the configuration. */
  readonly variable: string | undefined;
}

/** The password as the configuration says it. */
export function toCredential({ password, variable }: Omit<Login, "user">): Credential {
  return variable === undefined
    ? { kind: "literal", secret: new Secret(password) }
    : { kind: "env", name: variable };
}

/** A name for the variable with a password: `VPROXY_PASSWORD`, `VPROXY_PASSWORD_ALICE`. */
export function variableFor(user: string | undefined): string {
  const suffix = (user ?? "").toUpperCase().replaceAll(/[^A-Z0-9]+/g, "_");
  return suffix === "" ? VARIABLE : `${VARIABLE}_${suffix}`;
}

/** Tells what to do about a password that is not written out. */
export function notePassword(
  { user, variable }: Login,
  place: Place | undefined,
  report: ImportReport,
): void {
  if (variable === undefined) return;
  report.note({
    kind: "to do",
    place,
    text: `the password of "${user}" is not written out: the configuration asks for the environment variable ${variable}`,
    instead: `export ${variable}=…, or write file:PATH for env:${variable}; --inline-secrets writes it out`,
  });
}

const VARIABLE = "VPROXY_PASSWORD";
