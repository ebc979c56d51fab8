import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { fakeIo } from "../../test/support/fake-io.ts";
import { vectorPath, vectorText } from "../../test/support/godoxy-certificates.ts";
import { parseCertificate } from "../certificates/certificate-facts.ts";
import { readStore } from "../certificates/certificate-store.ts";
import { checkMaterial } from "../certificates/material.ts";
import { parsePemPair } from "../certificates/pem-pair.ts";
import { runCli } from "./run-cli.ts";

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

describe("sluice cert", () => {
  let folder = "";
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "sluice-cert-"));
  });
  afterEach(() => rm(folder, { recursive: true }));

  /** Runs `sluice cert`; words that begin with @ are files of the folder. */
  const cert = async (
    line: string,
    env: Record<string, string> = {},
    stdin = "",
  ): Promise<Outcome> => {
    const io = fakeIo(env, stdin);
    const words = line.split(" ").map((word) => word.replace(/^@/, `${folder}/`));
    const code = await runCli(["cert", ...words], io);
    return { code, ...io.printed };
  };
  const make = async (line: string, env: Record<string, string> = {}): Promise<string> => {
    const { code, out, err } = await cert(line, env);
    assert.equal(code, 0, err);
    assert.equal(err, "");
    return out;
  };
  const text = async (name: string): Promise<string> => await readFile(join(folder, name), "utf8");
  const mode = async (name: string): Promise<number> =>
    (await stat(join(folder, name))).mode & 0o777;

  test("makes a CA and certificates of it, whose keys nobody else may read", async () => {
    const out = await make("ca -o @ca");
    assert.match(
      out.replaceAll(folder, ""),
      /^wrote \/ca\.pem: the certificate\nwrote \/ca\.key: its key, to be kept private\nO=GoDoxy, CN=godoxy\.agent, valid until [\d-]+T[\d:]+Z, pin [A-Za-z0-9+/]{43}=\n$/,
    );
    await make("server --ca @ca.pem -o @server");
    await make("client --ca @ca.pem --ca-key @ca.key -o @client");
    const ca = parseCertificate(await text("ca.pem"));
    for (const name of ["ca", "server", "client"]) {
      const pair = { cert: await text(`${name}.pem`), key: await text(`${name}.key`) };
      checkMaterial({ ca: await text("ca.pem"), ...pair });
      assert.ok(parseCertificate(pair.cert).checkIssued(ca), name);
      assert.ok(!out.includes(pair.key.slice(40, 60)));
      if (process.platform === "win32") continue;
      assert.equal(await mode(`${name}.key`), 0o600);
      // What the umask takes away from others may be missing.
      assert.equal((await mode(`${name}.pem`)) & ~0o044, 0o600);
    }
    assert.equal((await readdir(folder)).length, 6);
  });

  test("writes GoDoxy's pairs and stores, in which no key of the CA is", async () => {
    await make("ca -o @ca --format pair");
    const ca = parsePemPair(await text("ca.pair.txt"));
    checkMaterial(ca);
    await make("server --ca @ca.pair.txt -o @server --format pair");
    checkMaterial({ ca: ca.cert, ...parsePemPair(await text("server.pair.txt")) });
    await make("client --ca @ca.pair.txt -o @10.0.0.5:8890 --format zip");
    const bytes = await readFile(join(folder, "10.0.0.5:8890.zip"));
    const store = readStore(bytes);
    checkMaterial(store);
    assert.equal(store.ca, ca.cert);
    assert.ok(!bytes.includes(ca.key.slice(40, 80)));
    await writeFile(join(folder, "both.pem"), ca.cert + ca.key);
    await make("client --ca @both.pem -o @both --format zip");
    assert.equal(readStore(await readFile(join(folder, "both.zip"))).ca, ca.cert);
    if (process.platform === "win32") return;
    for (const name of ["ca.pair.txt", "server.pair.txt", "10.0.0.5:8890.zip"]) {
      assert.equal(await mode(name), 0o600, name);
    }
  });

  test("signs with the original's CA, its key from anywhere", async () => {
    const ca = vectorPath("agent-a", "ca.pem");
    const key = {
      CA_KEY: vectorText("agent-a", "ca.key"),
      CA: vectorText("agent-a", "ca.pair.txt"),
    };
    await make(`server --ca ${ca} -o @a`);
    await make(`server --ca ${ca} --ca-key env:CA_KEY -o @b`, key);
    await make(`client --ca env:CA -o @c`, key);
    await make(`client --ca ${ca} --ca-key env:CA -o @d`, key);
    for (const name of ["a", "b", "c", "d"]) {
      const made = parseCertificate(await text(`${name}.pem`));
      assert.ok(made.verify(parseCertificate(vectorText("agent-a", "ca.pem")).publicKey));
    }
  });

  test("puts names and days where they belong", async () => {
    await make("ca --days 365000 --name office -o @ca");
    await make("server --ca @ca.pem --name agent.example --san 10.0.0.5 --san b.example -o @s");
    const made = parseCertificate(await text("s.pem"));
    assert.equal(made.subjectAltName, "DNS:agent.example, IP Address:10.0.0.5, DNS:b.example");
    assert.match(made.subject, /CN=agent\.example$/);
    assert.match(made.issuer, /CN=office$/);
    const years = parseCertificate(await text("ca.pem")).validToDate.getUTCFullYear();
    assert.ok(years >= 3025);
  });

  test("replaces nothing unless told, and then leaves nothing half done", async () => {
    await make("ca -o @ca");
    const before = await text("ca.pem");
    const refused = await cert("ca -o @ca");
    assert.equal(refused.code, 1);
    assert.match(refused.err, /ca\.pem is there already; nothing was written\nhint: give --force/);
    await rm(join(folder, "ca.pem"));
    const second = await cert("ca -o @ca");
    assert.equal(second.code, 1);
    assert.match(second.err, /ca\.key is there already/);
    assert.deepEqual(await readdir(folder), ["ca.key"]);
    await make("ca -o @ca --force");
    assert.notEqual(await text("ca.pem"), before);
    checkMaterial({ cert: await text("ca.pem"), key: await text("ca.key") });
    assert.deepEqual((await readdir(folder)).toSorted(), ["ca.key", "ca.pem"]);
    await rm(join(folder, "ca.key"));
    await mkdir(join(folder, "ca.key"));
    const { code, err } = await cert("ca -o @ca --force");
    assert.equal(code, 1);
    assert.match(err, /ca\.key cannot be written: it is a directory/);
    assert.deepEqual((await readdir(folder)).toSorted(), ["ca.key", "ca.pem"]);
  });

  test("shows what is in every form", async () => {
    const out = await make(`show ${vectorPath("agent-a", "agent.zip")}`);
    const pin = /pin +(\S+)\n {2}belongs +yes\n$/.exec(out)?.[1] ?? "?";
    assert.equal(
      out.replaceAll(/^.*agent\.zip/gm, "agent.zip").replaceAll(/pin( +)\S+/g, "pin$1…"),
      `agent.zip, ca.pem: certificate
  subject  O=GoDoxy, CN=godoxy.agent
  issuer   O=GoDoxy, CN=godoxy.agent
  names    none
  valid    2026-11-20T16:22:16Z until 3026-11-20T16:22:16Z
  usages   CA, keyCertSign, cRLSign
  key      EC prime256v1
  pin      …

agent.zip, cert.pem: certificate
  subject  O=GoDoxy, OU=Client, CN=godoxy.agent
  issuer   O=GoDoxy, CN=godoxy.agent
  names    DNS:godoxy.agent
  valid    2026-11-20T16:22:16Z until 3026-11-20T16:22:16Z
  usages   digitalSignature, clientAuth
  key      EC prime256v1
  pin      …

agent.zip, key.pem: key
  key      EC prime256v1
  pin      …
  belongs  yes
`.replaceAll("\n  valid    2026-11-20T16:22:16Z until 3026-11-20T16:22:16Z", validLine(out)),
    );
    for (const name of ["client.pem", "client.key", "client.pair.txt"]) {
      assert.ok((await make(`show ${vectorPath("agent-a", name)}`)).includes(pin), name);
    }
    const { out: piped } = await cert("show -", {}, vectorText("agent-a", "client.pem"));
    assert.match(piped, /^stdin: certificate\n/);
    const json: unknown = JSON.parse(
      await make(`show ${vectorPath("agent-a", "client.key")} --json`),
    );
    assert.deepEqual(json, [{ kind: "key", keyType: "EC prime256v1", pin }]);
  });

  const table: readonly (readonly [string, number, RegExp])[] = [
    ["clint", 2, /unknown command 'clint'\s+\(Did you mean client\?\)/],
    ["ca --format zip", 2, /--format: "zip" is not one of pem, pair/],
    ["client --format par", 2, /"par" is not one of pem, pair, zip \(did you mean "pair"\?\)/],
    ["ca --days 0", 2, /--days: "0" is no whole number from 1 to 365000/],
    ["ca --days 365001", 2, /--days: "365001" is no whole number/],
    ["ca --name a,b", 2, /--name: "a,b" is no host name and no IP address/],
    ["server --san a..b", 2, /--san: "a..b" is no host name/],
    ["ca --san a", 2, /unknown option '--san'/],
    ["show", 2, /missing required argument 'FILE'/],
    ["server --ca @none.pem", 1, /--ca: file .*none\.pem cannot be read: there is no such file/],
    ["server --ca env:NOPE", 1, /environment variable NOPE is not set/],
    ["ca -o @none/ca", 1, /none\/ca\.pem cannot be written: there is no such directory/],
    ["show @none.pem", 1, /none\.pem cannot be read: there is no such file/],
    ["show @", 1, /cannot be read: it is a directory/],
  ];
  for (const [line, code, expected] of table) {
    test(`${line} exits with ${code} and says why`, async () => {
      const { code: actual, out, err } = await cert(line);
      assert.match(err, expected);
      assert.equal(actual, code);
      assert.equal(out, "");
      assert.deepEqual(await readdir(folder), []);
    });
  }

  test("says what is wrong with a CA", async () => {
    const [agentA, agentB] = [vectorPath("agent-a", "ca.pem"), vectorPath("agent-b", "ca.key")];
    const server = vectorPath("agent-a", "server.pem");
    const alone = { CA: vectorText("agent-a", "ca.pem") };
    for (const [flags, message] of [
      [`--ca ${agentA} --ca-key ${agentB}`, /CA key does not belong to the CA certificate/],
      [
        `--ca ${server}`,
        /CA certificate may not sign others.*\nhint: make one with `sluice cert ca`/,
      ],
      [`--ca ${vectorPath("agent-a", "agent.zip")}`, /--ca: is a zip store, not PEM/],
      ["--ca env:CA", /the key of the CA is needed to sign\nhint: give --ca-key/],
      [`--ca ${vectorPath("agent-a", "ca.key")} --ca-key ${agentB}`, /holds no certificate/],
    ] as const) {
      const { code, err } = await cert(`server ${flags} -o @x`, alone);
      assert.match(err, message);
      assert.equal(code, 1, flags);
    }
    assert.deepEqual(await readdir(folder), []);
  });
});

/** The machine's clock may be earlier than the certificates. */
function validLine(out: string): string {
  const note = out.includes("(not yet)") ? " (not yet)" : "";
  return `\n  valid    2026-11-20T16:22:16Z until 3026-11-20T16:22:16Z${note}`;
}
