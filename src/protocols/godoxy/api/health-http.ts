import { request as httpRequest, STATUS_CODES } from "node:http";
import http2 from "node:http2";
import type { Duplex } from "node:stream";
import { parseIp } from "../../../address/ip.ts";
import { formatHostPort } from "../../../address/target.ts";
import { ProtocolError, toTunnelError } from "../../../errors.ts";
import { dialFailure, isPolicy, NOT_ALLOWED } from "./dial-failure.ts";
import type { Health, HealthChecks } from "./health-checks.ts";
import { demandAllowed, openOrigin } from "./origin.ts";
import { DEFAULT_TLS, type ProxyScheme, readHost } from "./proxy-config.ts";

/** What is asked for, and where. */
export interface HttpCheck {
  readonly scheme: ProxyScheme;
  /** `host` or `host:port`. */
  readonly host: string;
  readonly path: string;
}

/**
 * Asks an origin for the head of a page: whatever it answers below 500 is health. Certificates are
 * not verified: the question is whether it is up.
 *
 * Reference: godoxy `internal/health/check/http.go`.
 */
export async function checkHttp(
  { scheme, host, path }: HttpCheck,
  checks: HealthChecks,
  signal: AbortSignal,
): Promise<Health> {
  const { clock } = checks.runtime;
  const startedAt = clock.now();
  const latency = (): number => Math.round((clock.now() - startedAt) * 1e6);
  let what = host;
  let family = "tcp";
  let isOpen = false;
  let stream: Duplex | undefined;
  try {
    const target = readHost(host, scheme);
    what = formatHostPort(target.host, target.port);
    if (parseIp(target.host)?.byteLength === 4) family = "tcp4";
    await demandAllowed(checks, { network: "tcp", ...target });
    const tls = scheme === "https" ? { ...DEFAULT_TLS, insecure: true } : undefined;
    stream = await openOrigin(checks, { ...target, tls, signal });
    isOpen = true;
    const head = { host, path: cleanPath(path), version: checks.version };
    const status = await (scheme === "h2c" ? askH2c : askH1)(stream, head, signal);
    const isWell = status < 500 || status > 599;
    return {
      healthy: isWell,
      detail: isWell ? "" : (STATUS_CODES[status] ?? ""),
      latency: latency(),
    };
  } catch (thrown) {
    const error = toTunnelError(thrown, "ERR_CONNECTION_RESET", what);
    if (isPolicy(error)) return { healthy: false, detail: NOT_ALLOWED, latency: 0 };
    const isDial = !isOpen && !(error instanceof ProtocolError) && error.code !== "ERR_TLS";
    const detail = isDial ? dialFailure(family, what, error) : error.message;
    return { healthy: false, detail, latency: latency() };
  } finally {
    stream?.destroy();
  }
}

interface Head {
  readonly host: string;
  readonly path: string;
  readonly version: string;
}

async function askH1(stream: Duplex, head: Head, signal: AbortSignal): Promise<number> {
  return await new Promise((resolve, reject) => {
    const { host, path, version } = head;
    const outgoing = httpRequest({
      createConnection: () => stream,
      method: "HEAD",
      path,
      signal,
      headers: [...fieldsOf(version).flat(), "Host", host],
      maxHeaderSize: MAX_HEAD_BYTES,
    });
    outgoing.on("response", ({ statusCode = 0 }) => resolve(statusCode));
    outgoing.on("upgrade", () => resolve(101));
    outgoing.on("error", (cause) => reject(reasonOf(signal, cause)));
    outgoing.end();
  });
}

async function askH2c(stream: Duplex, head: Head, signal: AbortSignal): Promise<number> {
  const session = http2.connect("http://origin.invalid", { createConnection: () => stream });
  try {
    return await new Promise((resolve, reject) => {
      const fail = (cause: Error): void => reject(reasonOf(signal, cause));
      session.on("error", fail);
      const asked = session.request(
        {
          ":method": "HEAD",
          ":path": head.path,
          ":authority": head.host,
          ...Object.fromEntries(
            fieldsOf(head.version).map(([name, value]) => [name.toLowerCase(), value]),
          ),
        },
        { signal },
      );
      asked.on("error", fail);
      asked.on("response", ({ ":status": status = 0 }) => resolve(status));
      asked.on("close", () => fail(new ProtocolError("the origin closed the stream")));
    });
  } finally {
    session.destroy();
  }
}

/** Our own reason comes before what it caused. */
function reasonOf({ aborted, reason }: AbortSignal, cause: Error): Error {
  return aborted && reason instanceof Error ? reason : cause;
}

/** Reference: `setCommonHeaders`; origins' operators know their GoDoxy by these. */
function fieldsOf(version: string): (readonly [string, string])[] {
  return [
    ["User-Agent", `GoDoxy/${version}`],
    ["Accept", "text/plain,text/html,*/*;q=0.8"],
    ["Accept-Encoding", "identity"],
    ["Cache-Control", "no-cache"],
    ["Pragma", "no-cache"],
  ];
}

/** Reference: Go's `URL.JoinPath`: no dots, no doubled slashes, never a query. */
function cleanPath(path: string): string {
  const url = new URL("http://origin.invalid");
  url.pathname = path.replaceAll(/\/{2,}/g, "/");
  return url.pathname;
}

const MAX_HEAD_BYTES = 64 * 1024;
