import { unzipSync, zipSync } from "fflate";
import { ConfigError } from "../errors.ts";

/** What the dialling side of GoDoxy keeps per agent, all PEM. */
export interface CertificateStore {
  /** The CA's certificate alone. */
  readonly ca: string;
  /** The client's certificate. */
  readonly cert: string;
  readonly key: string;
}

/** Whether bytes are a zip and no text. */
export function isZip(bytes: Uint8Array): boolean {
  const [first, second] = bytes;
  return first === 0x50 && second === 0x4b;
}

/**
 * Writes GoDoxy's store: a zip of `ca.pem`, `cert.pem` and `key.pem`, not compressed.
 *
 * Spec: godoxy-stream, 2.3 "server-side store". Reference: godoxy `agent/pkg/certs/zip.go`.
 */
export function writeStore(store: CertificateStore): Uint8Array {
  const files = Object.fromEntries(
    ENTRIES.map(([name, part]) => [name, Uint8Array.from(Buffer.from(store[part]))]),
  );
  return zipSync(files, { level: 0, mtime: NO_TIME });
}

/**
 * Reads GoDoxy's store; entries of other names are ignored.
 *
 * @throws ConfigError saying what is missing or wrong
 */
export function readStore(bytes: Uint8Array): CertificateStore {
  const files = unzip(bytes);
  const [ca, cert, key] = ENTRIES.map(([name, , block]) => {
    const file = files.get(name);
    if (file === undefined) {
      throw new ConfigError(`store has no ${name}`, {
        hint: "it wants ca.pem, cert.pem and key.pem, as `sluice cert client --format zip` writes them",
      });
    }
    const pem = Buffer.from(file).toString();
    if (!block.test(pem)) throw new ConfigError(`${name} of the store is not PEM of its kind`);
    return pem;
  });
  return { ca: ca ?? "", cert: cert ?? "", key: key ?? "" };
}

function unzip(bytes: Uint8Array): ReadonlyMap<string, Uint8Array> {
  if (bytes.byteLength > MAX_STORE_BYTES) {
    throw new ConfigError(`store of ${bytes.byteLength} bytes exceeds ${MAX_STORE_BYTES}`);
  }
  let entries = 0;
  const names = new Set<string>();
  try {
    const files = unzipSync(bytes, {
      filter: ({ name, originalSize }) => {
        entries += 1;
        if (entries > MAX_ENTRIES) throw new ConfigError(`store has over ${MAX_ENTRIES} entries`);
        if (!NAMES.has(name)) return false;
        if (names.has(name)) throw new ConfigError(`store has ${name} twice`);
        names.add(name);
        if (originalSize <= MAX_ENTRY_BYTES) return true;
        throw new ConfigError(`${name} of ${originalSize} bytes exceeds ${MAX_ENTRY_BYTES}`);
      },
    });
    return new Map(Object.entries(files));
  } catch (cause) {
    if (cause instanceof ConfigError) throw cause;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new ConfigError(`store is no zip that can be read: ${why}`, { cause });
  }
}

const CERTIFICATE = /^-----BEGIN CERTIFICATE-----\r?$/m;
const KEY = /^-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----\r?$/m;

/** The entries of a store, in the order GoDoxy writes them. */
const ENTRIES = [
  ["ca.pem", "ca", CERTIFICATE],
  ["cert.pem", "cert", CERTIFICATE],
  ["key.pem", "key", KEY],
] as const satisfies readonly (readonly [string, keyof CertificateStore, RegExp])[];

const NAMES: ReadonlySet<string> = new Set(ENTRIES.map(([name]) => name));

/** GoDoxy's have 2 KB. */
const MAX_STORE_BYTES = 1_048_576;
const MAX_ENTRY_BYTES = 65_536;
const MAX_ENTRIES = 64;

/** The earliest a zip can say: when a store was made is in its certificates. */
const NO_TIME = "1980-01-01T00:00:00";
