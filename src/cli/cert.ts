import { open } from "node:fs/promises";
import {
  type CertificateOptions,
  checkCommonName,
  checkName,
  issueCertificate,
  makeAuthority,
  MAX_DAYS,
} from "../certificates/authority.ts";
import { factsOf, parseCertificate } from "../certificates/certificate-facts.ts";
import { writeStore } from "../certificates/certificate-store.ts";
import { inspect, type Inspected } from "../certificates/inspect.ts";
import { about, holdsKey } from "../certificates/material.ts";
import { formatPemPair, isPairText, type PemPair, pemPart } from "../certificates/pem-pair.ts";
import { systemClock } from "../clock/clock.ts";
import { type Credential, parsePemSource } from "../config/credential.ts";
import { didYouMean } from "../config/nearest.ts";
import { resolveCredential } from "../config/resolve-credential.ts";
import { ConfigError, systemCode } from "../errors.ts";
import type { CertificateKind, MakeFlags, ShowFlags } from "./cert-command.ts";
import type { CliIo } from "./io.ts";
import { type NewFile, writeNewFiles } from "./new-files.ts";
import { parseArgument, UsageError } from "./usage-error.ts";

/**
 * Makes a CA, or a certificate that one signs, and says what was written.
 *
 * @throws UsageError when a flag is wrong, ConfigError when the CA cannot sign or nothing can be written
 */
export async function makeCertificate(
  kind: CertificateKind,
  flags: MakeFlags,
  io: CliIo,
): Promise<void> {
  const format = parseFormat(flags.format ?? "pem", kind);
  const options = { ...parseSubject(flags), now: new Date() };
  const authority = kind === "ca" ? makeAuthority(options) : await readAuthority(flags, io);
  const pair = kind === "ca" ? authority : issueCertificate(authority, kind, options);
  // A CA's file may hold its key as well, which nobody else gets.
  const ca = parseCertificate(authority.cert).toString();
  const files = FORMATS[format](flags.out ?? kind, pair, ca);
  await writeNewFiles(files, { force: flags.force ?? false });
  const { subject, notAfter, pin } = factsOf(parseCertificate(pair.cert));
  for (const { path, what } of files) io.stdout.write(`wrote ${path}: ${what}\n`);
  io.stdout.write(`${subject}, valid until ${formatTime(notAfter)}, pin ${pin}\n`);
}

/**
 * Prints what is in a file of certificates.
 *
 * @throws ConfigError when it cannot be read or holds none
 */
export async function showCertificates(
  path: string,
  { json = false }: ShowFlags,
  io: CliIo,
): Promise<void> {
  const name = path === "-" ? "stdin" : path;
  const bytes = await readBounded(path, io);
  const found = about(`${name}:`, () => inspect(bytes));
  if (json) {
    io.stdout.write(`${JSON.stringify(found, undefined, 2)}\n`);
    return;
  }
  const now = new Date();
  io.stdout.write(found.map((one) => formatInspected(name, one, now)).join("\n"));
}

async function readAuthority(
  { ca: caPath = "ca.pem", caKey }: MakeFlags,
  { env }: CliIo,
): Promise<PemPair> {
  const read = async (source: Credential, what: string): Promise<string> => {
    const options = { clock: systemClock, env, what, isMultiline: true };
    return (await resolveCredential(source, options)).reveal();
  };
  const source = parseArgument("--ca", () => parsePemSource(caPath));
  const text = await read(source, "--ca");
  const cert = about("--ca:", () => pemPart(text, "cert"));
  if (caKey === undefined && ((isPairText(text) && text.includes(";")) || holdsKey(text))) {
    return { cert, key: about("--ca:", () => pemPart(text, "key")) };
  }
  const keySource =
    caKey === undefined
      ? keyBeside(source)
      : parseArgument("--ca-key", () => parsePemSource(caKey));
  const keyText = await read(keySource, "--ca-key");
  return { cert, key: about("--ca-key:", () => pemPart(keyText, "key")) };
}

/** Where `cert ca` puts the key of a CA. */
function keyBeside(source: Credential): Credential {
  if (source.kind === "file" && source.path.endsWith(".pem")) {
    return { kind: "file", path: source.path.replace(/\.pem$/, ".key") };
  }
  throw new ConfigError("the key of the CA is needed to sign", {
    hint: "give --ca-key FILE, or a pair with --ca",
  });
}

type Format = "pem" | "pair" | "zip";

function parseFormat(text: string, kind: CertificateKind): Format {
  const formats: readonly Format[] = kind === "ca" ? ["pem", "pair"] : ["pem", "pair", "zip"];
  const format = formats.find((name) => name === text);
  if (format !== undefined) return format;
  const guess = didYouMean(text, formats);
  throw new UsageError(`--format: "${text}" is not one of ${formats.join(", ")}${guess}`);
}

function parseSubject({ name, san, days }: MakeFlags): Omit<CertificateOptions, "now"> {
  if (name !== undefined) parseArgument("--name", () => checkCommonName(name));
  for (const one of san ?? []) parseArgument("--san", () => checkName(one));
  return { name, names: san, days: days === undefined ? undefined : parseDays(days) };
}

function parseDays(text: string): number {
  const days = /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (days >= 1 && days <= MAX_DAYS) return days;
  throw new UsageError(`--days: "${text}" is no whole number from 1 to ${MAX_DAYS}`);
}

type DescribedFile = NewFile & { readonly what: string };

const FORMATS: Readonly<
  Record<Format, (base: string, pair: PemPair, ca: string) => readonly DescribedFile[]>
> = {
  pem: (base, { cert, key }) => [
    { path: `${base}.pem`, content: cert, isSecret: false, what: "the certificate" },
    { path: `${base}.key`, content: key, isSecret: true, what: "its key, to be kept private" },
  ],
  pair: (base, pair) => [
    {
      path: `${base}.pair.txt`,
      content: formatPemPair(pair),
      isSecret: true,
      what: "certificate and key as GoDoxy's text, to be kept private",
    },
  ],
  zip: (base, { cert, key }, ca) => [
    {
      path: `${base}.zip`,
      content: writeStore({ ca, cert, key }),
      isSecret: true,
      what: "CA, certificate and key as GoDoxy's store, to be kept private",
    },
  ],
};

function formatInspected(file: string, inspected: Inspected, now: Date): string {
  const { entry, kind } = inspected;
  const lines = kind === "certificate" ? certificateLines(inspected, now) : keyLines(inspected);
  const rows = lines.map(([name, value]) => `  ${name.padEnd(8)} ${value}\n`);
  return `${file}${entry === undefined ? "" : `, ${entry}`}: ${kind}\n${rows.join("")}`;
}

type Lines = readonly (readonly [string, string])[];

function certificateLines(facts: Extract<Inspected, { kind: "certificate" }>, now: Date): Lines {
  const { notBefore, notAfter, isCa, usages, names } = facts;
  const state = now < notBefore ? " (not yet)" : now > notAfter ? " (expired)" : "";
  return [
    ["subject", facts.subject],
    ["issuer", facts.issuer],
    ["names", names.length === 0 ? "none" : names.join(", ")],
    ["valid", `${formatTime(notBefore)} until ${formatTime(notAfter)}${state}`],
    ["usages", [...(isCa ? ["CA"] : []), ...usages].join(", ") || "any"],
    ["key", facts.keyType],
    ["pin", facts.pin],
  ];
}

function keyLines({
  keyType,
  pin,
  belongsToCertificate,
}: Extract<Inspected, { kind: "key" }>): Lines {
  const belongs = belongsToCertificate ? "yes" : "NO: to none that is here";
  return [
    ["key", keyType],
    ["pin", pin],
    ...(belongsToCertificate === undefined ? [] : [["belongs", belongs] as const]),
  ];
}

/** To the second, as certificates have it. */
function formatTime(date: Date): string {
  return date.toISOString().replace(/\.\d+Z$/, "Z");
}

async function readBounded(path: string, { stdin }: CliIo): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  const take = (chunk: Uint8Array): void => {
    chunks.push(chunk);
    length += chunk.byteLength;
    if (length > MAX_BYTES) throw new ConfigError(`${path} exceeds ${MAX_BYTES} bytes`);
  };
  if (path === "-") {
    for await (const chunk of stdin) take(Buffer.from(chunk));
    return Buffer.concat(chunks);
  }
  try {
    await using file = await open(path);
    for await (const chunk of file.createReadStream({ end: MAX_BYTES })) take(Buffer.from(chunk));
    return Buffer.concat(chunks);
  } catch (cause) {
    if (cause instanceof ConfigError) throw cause;
    const code = systemCode(cause);
    const reason = REASONS.get(code ?? "") ?? String(cause);
    throw new ConfigError(`${path} cannot be read: ${reason}`, { cause });
  }
}

const REASONS: ReadonlyMap<string, string> = new Map([
  ["ENOENT", "there is no such file"],
  ["EACCES", "permission denied"],
  ["EISDIR", "it is a directory"],
]);

/** The largest store. */
const MAX_BYTES = 1_048_576;
