import { didYouMean } from "../../config/nearest.ts";
import { ConfigError } from "../../errors.ts";

/** The command line of vproxy's server (spec 5.9). */
export interface ServerWords {
  readonly port: number;
  /** Passwords by user. */
  readonly users: ReadonlyMap<string, string>;
  readonly hasTls: boolean;
  readonly hasKcp: boolean;
  readonly hasQuic: boolean;
  readonly pkcs12: string | undefined;
  readonly certificates: readonly string[];
  readonly key: string | undefined;
  readonly domain: string | undefined;
  readonly redirectPort: number | undefined;
  readonly uotPort: number | undefined;
  readonly webRoot: string | undefined;
}

/**
 * Reads the words, as the original takes them: in any order, each with its value behind it.
 *
 * @throws ConfigError saying which word is wrong, never repeating a password
 */
export function readServerWords(words: readonly string[]): ServerWords {
  const values = takeWords(words);
  const port = readPort("listen", values.get("listen"));
  if (port === undefined) throw new ConfigError("listen is missing: write listen 18686");
  const auth = values.get("auth");
  if (auth === undefined) throw new ConfigError("auth is missing: write auth user:password");
  const hasTls = values.has("ssl");
  const hasQuic = values.has("quic");
  const [pkcs12, certs, key] = [values.get("pkcs12"), values.get("certpem"), values.get("keypem")];
  if (pkcs12 !== undefined && (certs ?? key) !== undefined) {
    throw new ConfigError("pkcs12 and certpem are two kinds of one thing: write one of them");
  }
  if (!hasTls && !hasQuic && (pkcs12 ?? certs ?? key) !== undefined) {
    throw new ConfigError("a certificate wants the word ssl");
  }
  if (hasTls && pkcs12 === undefined && (certs === undefined || key === undefined)) {
    throw new ConfigError("ssl wants a certificate: write certpem FILE keypem FILE");
  }
  const redirectPort = readPort("redirectport", values.get("redirectport"));
  if (redirectPort === port) throw new ConfigError("redirectport is the port of listen");
  const hasKcp = values.has("kcp");
  const uotPort = readPort("uot.port", values.get("uot.port"));
  if (uotPort !== undefined && !hasKcp) throw new ConfigError("uot.port wants the word kcp");
  readPort("quic-listen", values.get("quic-listen"));
  return {
    port,
    users: readUsers(auth),
    hasTls,
    hasKcp,
    hasQuic,
    pkcs12,
    certificates: certs?.split(",").map((path) => path.trim()) ?? [],
    key,
    domain: values.get("domain"),
    redirectPort,
    uotPort,
    webRoot: values.get("webroot"),
  };
}

/** Every word with its value; a word without value has an empty one. The last of two wins. */
function takeWords(words: readonly string[]): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  const rest = [...words];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    const wants = WORDS.get(word);
    if (wants === undefined) {
      // A word out of place may be a password.
      const guess = didYouMean(word, WORDS.keys());
      const after = [...values.keys()].at(-1);
      const where = after === undefined ? "the first word" : `the word after ${after}`;
      throw new ConfigError(`${where} is none of ${[...WORDS.keys()].join(", ")}${guess}`);
    }
    const value = wants === "" ? "" : rest.shift();
    if (value === undefined) throw new ConfigError(`${word} wants ${wants} behind it`);
    values.set(word, value);
  }
  return values;
}

function readPort(word: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port >= 1 && port <= 65_535) return port;
  throw new ConfigError(`${word}: ${JSON.stringify(text)} is no port`);
}

function readUsers(auth: string): ReadonlyMap<string, string> {
  const users = new Map<string, string>();
  for (const [index, pair] of auth.split(",").entries()) {
    const [user = "", password = "", ...more] = pair.split(":").map((part) => part.trim());
    if (user === "" || password === "" || more.length > 0) {
      throw new ConfigError(`auth: pair ${index + 1} is no user:password with exactly one colon`);
    }
    users.set(user, password);
  }
  return users;
}

/** Every word, and what is to stand behind it. */
const WORDS: ReadonlyMap<string, string> = new Map([
  ["listen", "a port"],
  ["auth", "user:password"],
  ["ssl", ""],
  ["pkcs12", "a file"],
  ["pkcs12pswd", "a password"],
  ["certpem", "files"],
  ["keypem", "a file"],
  ["domain", "a name"],
  ["redirectport", "a port"],
  ["kcp", ""],
  ["uot.port", "a port"],
  ["uot.nic", "a network card"],
  ["quic", ""],
  ["quic-listen", "a port"],
  ["webroot", "a directory"],
]);
