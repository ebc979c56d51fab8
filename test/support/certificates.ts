import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A certificate and its key, PEM. */
export interface Identity {
  readonly cert: string;
  readonly key: string;
}

/** What a certificate is to be. */
export interface IdentityOptions {
  /** @default DNS:localhost,IP:127.0.0.1 */
  readonly names?: string | undefined;
  /** Who signs it. @default itself */
  readonly issuer?: Identity | undefined;
  /** How long it is valid; negative: it expired. @default 2 */
  readonly days?: number | undefined;
  readonly isCa?: boolean | undefined;
  /** @default ec */
  readonly keyType?: "ec" | "rsa" | "ed25519" | undefined;
  /** Further ones, as openssl spells them: `keyUsage=critical,digitalSignature`. */
  readonly extensions?: readonly string[] | undefined;
}

/** Makes certificates with the `openssl` program, in a directory that is gone when disposed. */
export class CertificateFactory implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), "sluice-certificates-"));

  make(options: IdentityOptions = {}): Identity {
    const {
      names = "DNS:localhost,IP:127.0.0.1",
      issuer,
      days = 2,
      isCa,
      keyType = "ec",
    } = options;
    const key = this.#path("key.pem");
    const cert = this.#path("cert.pem");
    this.#run("genpkey", ...KEY_TYPES[keyType], "-out", key);
    const request = ["req", "-new", "-key", key, "-subj", `/CN=${isCa ? "test ca" : "test"}`];
    const extensions = [
      `subjectAltName=${names}`,
      `basicConstraints=critical,CA:${isCa ? "TRUE" : "FALSE"}`,
      ...(options.extensions ?? []),
    ];
    if (issuer === undefined && days > 0) {
      const added = extensions.flatMap((extension) => ["-addext", extension]);
      this.#run(...request, "-x509", "-days", String(days), ...added, "-out", cert);
    } else {
      const [csr, signer, signerKey] = [
        this.#path("csr.pem"),
        this.#write("ca.pem", issuer?.cert ?? ""),
        this.#write("ca.key", issuer?.key ?? ""),
      ];
      this.#run(...request, "-out", csr);
      const by = issuer ? ["-CA", signer, "-CAkey", signerKey] : ["-signkey", key];
      const text = ["-extfile", this.#write("extensions", extensions.join("\n"))];
      const serial = ["-set_serial", String((serials += 1))];
      this.#run(
        "x509",
        "-req",
        "-in",
        csr,
        ...by,
        ...serial,
        "-days",
        String(days),
        ...text,
        "-out",
        cert,
      );
    }
    return { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") };
  }

  /** The base64 SHA-256 of the public key, as any other program computes it. */
  pin({ cert }: Identity): string {
    const file = this.#write("pinned.pem", cert);
    const key = execFileSync("openssl", ["x509", "-in", file, "-noout", "-pubkey"]);
    const der = execFileSync("openssl", ["pkey", "-pubin", "-outform", "der"], { input: key });
    const digest = execFileSync("openssl", ["dgst", "-sha256", "-binary"], { input: der });
    return digest.toString("base64");
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #run(...args: readonly string[]): void {
    execFileSync("openssl", args, { stdio: ["ignore", "ignore", "pipe"] });
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }

  #write(name: string, text: string): string {
    const path = this.#path(name);
    writeFileSync(path, text);
    return path;
  }
}

const KEY_TYPES = {
  ec: ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
  rsa: ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
  ed25519: ["-algorithm", "ED25519"],
} as const;

let serials = 1;
