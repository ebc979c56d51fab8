import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CertificateFactory, type Identity, type IdentityOptions } from "./certificates.ts";
import { type Child, start } from "./child-process.ts";

/** Certificates for both ends of DTLS, good and bad, and their files. */
export class DtlsCertificates implements Disposable {
  readonly ca: Identity;
  readonly server: Identity;
  readonly client: Identity;
  readonly #factory = new CertificateFactory();
  readonly #folder = mkdtempSync(join(tmpdir(), "sluice-dtls-"));
  #files = 0;

  constructor() {
    this.ca = this.#factory.make({ isCa: true });
    this.server = this.make("server");
    this.client = this.make("client");
  }

  /** One more certificate for an end, by default of the one CA, for the one name, and valid. */
  make(role: "server" | "client", options: IdentityOptions = {}): Identity {
    return this.#factory.make({
      issuer: this.ca,
      names: `DNS:${SERVER_NAME}`,
      extensions: ["keyUsage=critical,digitalSignature", `extendedKeyUsage=${role}Auth`],
      ...options,
    });
  }

  /** A CA that signed nobody. */
  otherCa(): Identity {
    return this.#factory.make({ isCa: true });
  }

  /** The path of a file with this text. */
  file(text: string): string {
    const path = join(this.#folder, `${(this.#files += 1)}.pem`);
    writeFileSync(path, text);
    return path;
  }

  [Symbol.dispose](): void {
    this.#factory[Symbol.dispose]();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** The name in the servers' certificates. */
export const SERVER_NAME = "godoxy.agent";

/** OpenSSL's own DTLS client, which sends what it reads. Hold it with `await using`. */
export function opensslClient(port: number, args: readonly string[]): Child {
  const to = ["s_client", "-connect", `127.0.0.1:${port}`, "-quiet", "-no_ign_eof"];
  const verified = ["-verify_return_error", "-verify_hostname", SERVER_NAME];
  return start("openssl", [...to, ...verified, ...args], { keepsStdinOpen: true });
}

/** OpenSSL's own DTLS server. Hold `child` with `await using`. */
export async function opensslServer(
  args: readonly string[],
): Promise<{ child: Child; port: number }> {
  const at = ["s_server", "-accept", "127.0.0.1:0"];
  const child = start("openssl", [...at, ...args], { keepsStdinOpen: true });
  try {
    const [, port] = await child.waitFor(/ACCEPT 127\.0\.0\.1:(\d+)/);
    return { child, port: Number(port) };
  } catch (thrown) {
    await child[Symbol.asyncDispose]();
    throw thrown;
  }
}
