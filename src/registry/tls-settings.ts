import type { ServeConfig } from "../config/config.ts";
import type { TunnelUrl } from "../config/tunnel-url.ts";
import { ConfigError } from "../errors.ts";
import type { TlsServerOptions } from "../transports/tls/listen.ts";
import type { TlsClientOptions } from "../transports/tls/tls-options.ts";
import { type Secrets, whose } from "./secrets.ts";

/**
 * How the dialling end of a tunnel uses TLS.
 *
 * @throws ConfigError when a secret cannot be had
 */
export async function readClientTls(url: TunnelUrl, secrets: Secrets): Promise<TlsClientOptions> {
  const { options } = url;
  return {
    serverName: options.sni,
    ca: await secrets.pem(options.ca, whose("ca", url), "cert"),
    cert: await secrets.pem(options.cert, whose("cert", url), "cert"),
    key: await secrets.pem(options.key, whose("key", url), "key"),
    pins: options.pin,
    insecure: options.insecure,
    ...peculiaritiesOf(url),
  };
}

/**
 * How the listening end does.
 *
 * @throws ConfigError when certificate or key is missing or cannot be had
 */
export async function readServerTls(
  { url, cert, key }: ServeConfig,
  secrets: Secrets,
): Promise<TlsServerOptions> {
  const { transport, options } = url;
  const certPem = await secrets.pem(options.cert ?? cert, whose("cert", url), "cert");
  const keyPem = await secrets.pem(options.key ?? key, whose("key", url), "key");
  if (certPem === undefined || keyPem === undefined) {
    throw new ConfigError(`${transport} needs a certificate and its key`, {
      hint: "give --cert cert.pem --key key.pem, or cert: and key: in the file",
    });
  }
  const ca = await secrets.pem(options.ca, whose("ca", url), "cert");
  return { cert: certPem, key: keyPem, ca, serverName: options.domain, ...peculiaritiesOf(url) };
}

/**
 * The original speaks HTTP/1.1 and says so; it refuses who offers something else alone. At an alert
 * that ends one side it ends both, and drops what it has not handed on yet.
 */
function peculiaritiesOf({ system }: TunnelUrl): Pick<TlsClientOptions, "alpn" | "endsQuietly"> {
  return system === "vproxy" ? { alpn: ["http/1.1"], endsQuietly: true } : {};
}
