import { parseCredential } from "../config/credential.ts";
import type { ServeConfig } from "../config/config.ts";
import type { TunnelUrl } from "../config/tunnel-url.ts";
import { ConfigError } from "../errors.ts";
import { type Secrets, whose } from "./secrets.ts";

/** Who somebody is. */
export interface VproxyLogin {
  readonly user: string;
  readonly password: string;
}

/**
 * The user and password of a URL: `alice:PASSWORD@`, `alice:env:NAME@`, or `env:NAME@` for both.
 *
 * @throws ConfigError when they are missing, cannot be had, or cannot be carried
 */
export async function readLogin(url: TunnelUrl, secrets: Secrets): Promise<VproxyLogin> {
  const { user, credential } = url;
  if (credential === undefined) {
    throw new ConfigError("the URL has no user and password", {
      hint: "write them before the host: vproxy+tls://alice:env:PASSWORD@host:443",
    });
  }
  const line = await secrets.line(credential, whose("login", url));
  if (user !== undefined) return { user, password: withoutColon(line, `password of "${user}"`) };
  const at = line.indexOf(":");
  if (at < 1) throw new ConfigError(`${whose("login", url)} is not user:password`);
  const name = line.slice(0, at);
  const password = parseCredential(line.slice(at + 1));
  return {
    user: name,
    password: withoutColon(await secrets.line(password, `password of "${name}"`), "password"),
  };
}

/**
 * Everybody a server knows, with their passwords.
 *
 * @throws ConfigError when a password cannot be had or carried, or nobody is named
 */
export async function readUsers(
  { url, clients }: ServeConfig,
  secrets: Secrets,
): Promise<ReadonlyMap<string, string>> {
  const users = new Map<string, string>();
  for (const [name, { id }] of Object.entries(clients)) {
    const what = `password of client "${name}"`;
    users.set(name, withoutColon(await secrets.line(id, what), what));
  }
  if (url.credential !== undefined) {
    const { user, password } = await readLogin(url, secrets);
    users.set(user, password);
  }
  if (users.size > 0) return users;
  throw new ConfigError(`${url.system} would let nobody in: no client is configured`, {
    hint: "name one with --client alice=PASSWORD",
  });
}

function withoutColon(password: string, what: string): string {
  if (!password.includes(":")) return password;
  throw new ConfigError(`${what} holds a colon, which vproxy cannot carry`);
}
