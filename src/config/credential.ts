import { isPairText } from "../certificates/pem-pair.ts";
import { ConfigError } from "../errors.ts";
import { HIDDEN, Secret } from "./secret.ts";

/** Where a secret comes from: written down, or named so that no secret stands in a file or `ps`. */
export type Credential =
  | { readonly kind: "literal"; readonly secret: Secret }
  /** An environment variable. */
  | { readonly kind: "env"; readonly name: string }
  /** A file, relative to the working directory. */
  | { readonly kind: "file"; readonly path: string }
  /** What a shell command prints. */
  | { readonly kind: "cmd"; readonly command: string };

/**
 * Reads `env:NAME`, `file:PATH`, `cmd:COMMAND`, or the secret itself.
 *
 * @throws ConfigError when a reference is empty, or the name is no variable's name
 */
export function parseCredential(text: string): Credential {
  const match = /^(env|file|cmd):(.*)$/s.exec(text);
  const [, kind, rest = ""] = match ?? [];
  if (text.length > MAX_CREDENTIAL_LENGTH) {
    throw new ConfigError(
      `credential of ${text.length} characters exceeds ${MAX_CREDENTIAL_LENGTH}`,
    );
  }
  if (kind !== undefined && rest.trim() === "") {
    throw new ConfigError(`"${kind}:" names nothing: write ${EXAMPLES[kind] ?? "env:NAME"}`);
  }
  if (kind === "env") {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(rest)) {
      throw new ConfigError(`"${rest}" is no name of an environment variable`);
    }
    return { kind, name: rest };
  }
  if (kind === "file") return { kind, path: rest };
  if (kind === "cmd") return { kind, command: rest };
  if (text === "") throw new ConfigError("credential is empty");
  return { kind: "literal", secret: new Secret(text) };
}

/** References verbatim; a literal secret as `***` unless it is to be revealed. */
export function formatCredential(
  credential: Credential,
  options: { readonly reveal: boolean } = { reveal: false },
): string {
  switch (credential.kind) {
    case "literal":
      return options.reveal ? credential.secret.reveal() : HIDDEN;
    case "env":
      return `env:${credential.name}`;
    case "file":
      return `file:${credential.path}`;
    case "cmd":
      return `cmd:${credential.command}`;
  }
}

/**
 * Reads a reference to PEM text, or to GoDoxy's pair text: like a credential, but a bare word is a
 * path.
 *
 * @throws ConfigError as {@link parseCredential}
 */
export function parsePemSource(text: string): Credential {
  const isText = text.startsWith(PEM_START) || isPairText(text);
  if (/^(env|file|cmd):/.test(text) || isText) return parseCredential(text);
  if (text === "") throw new ConfigError("path is empty");
  return { kind: "file", path: text };
}

/** No password, token or inline PEM chain is longer. */
export const MAX_CREDENTIAL_LENGTH = 65_536;

const PEM_START = "-----BEGIN ";

const EXAMPLES: Readonly<Record<string, string>> = {
  env: "env:NAME",
  file: "file:PATH",
  cmd: 'cmd:"pass show tunnel"',
};
