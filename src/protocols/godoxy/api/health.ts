import { parseIp } from "../../../address/ip.ts";
import { formatHostPort, parseHostPort } from "../../../address/target.ts";
import { timeoutAfter } from "../../../clock/clock.ts";
import { NetworkError, toTunnelError, TunnelError } from "../../../errors.ts";
import { dialFailure, isPolicy, NOT_ALLOWED } from "./dial-failure.ts";
import { checkHttp } from "./health-http.ts";
import type { Health, HealthChecks } from "./health-checks.ts";
import { demandAllowed, openOrigin } from "./origin.ts";

/** The answer to a question about health: what was found, or why nothing was looked for. */
export type HealthAnswer =
  | { readonly status: 200; readonly health: Health }
  | { readonly status: 400 | 502; readonly text: string };

/**
 * Runs the check a query asks for.
 *
 * Reference: godoxy `agent/pkg/handler/check_health.go`.
 */
export async function checkHealth(
  query: URLSearchParams,
  checks: HealthChecks,
  signal: AbortSignal,
): Promise<HealthAnswer> {
  const scheme = query.get("scheme") ?? "";
  if (scheme === "") return bad("missing scheme");
  using deadline = timeoutAfter(checks.runtime.clock, timeoutOf(query), () => {
    return new NetworkError("ERR_DIAL_TIMEOUT", "i/o timeout");
  });
  const either = AbortSignal.any([signal, deadline.signal]);
  const host = query.get("host") ?? "";
  const path = query.get("path") ?? "";
  switch (scheme) {
    case "fileserver":
      return path === "" ? bad("missing path") : await checkFile(path, checks);
    case "http":
    case "https":
    case "h2c":
      return host === ""
        ? bad("missing host")
        : ok(await checkHttp({ scheme, host, path }, checks, either));
    case "tcp":
    case "udp":
    case "tcp4":
    case "udp4":
    case "tcp6":
    case "udp6":
      return await checkStream(scheme, query, { checks, signal: either });
    default:
      return ok({ healthy: false, detail: "", latency: 0 });
  }
}

async function checkStream(
  network: "tcp" | "udp" | "tcp4" | "udp4" | "tcp6" | "udp6",
  query: URLSearchParams,
  { checks, signal }: { readonly checks: HealthChecks; readonly signal: AbortSignal },
): Promise<HealthAnswer> {
  const asked = query.get("host") ?? "";
  const port = query.get("port") ?? "";
  if (asked === "") return bad("missing host");
  if (port !== "" && asked.includes(":")) {
    return bad("port and host with port cannot both be provided");
  }
  const target = parseHostPort(port === "" ? asked : `${asked}:${port}`);
  if (target === undefined || target.port === 0) {
    return ok({ healthy: false, detail: "no port specified", latency: 0 });
  }
  const family = network.endsWith("4") ? 4 : network.endsWith("6") ? 16 : undefined;
  const literal = parseIp(target.host)?.byteLength;
  if (family !== undefined && literal !== undefined && literal !== family) {
    const text = `dial ${network}: address ${target.host}: no suitable address found`;
    return { status: 502, text };
  }
  const { clock } = checks.runtime;
  const startedAt = clock.now();
  const latency = (): number => Math.round((clock.now() - startedAt) * 1e6);
  const isUdp = network.startsWith("udp");
  try {
    await demandAllowed(checks, { network: isUdp ? "udp" : "tcp", ...target });
    if (isUdp) await checks.checkUdp?.(target, signal);
    else (await openOrigin(checks, { ...target, signal })).end().destroy();
    return ok({ healthy: true, detail: "", latency: latency() });
  } catch (thrown) {
    const error = toTunnelError(thrown, "ERR_DIAL_FAILED", "dial");
    const what = formatHostPort(target.host, target.port);
    if (isPolicy(error)) return ok({ healthy: false, detail: NOT_ALLOWED, latency: 0 });
    const text = dialFailure(network, what, error);
    return isVerdict(error)
      ? ok({ healthy: false, detail: text, latency: latency() })
      : { status: 502, text };
  }
}

async function checkFile(path: string, checks: HealthChecks): Promise<HealthAnswer> {
  const { hasFile, runtime } = checks;
  if (hasFile === undefined) return ok({ healthy: false, detail: NOT_ALLOWED, latency: 0 });
  const startedAt = runtime.clock.now();
  try {
    if (!(await hasFile(path))) {
      const detail = `stat ${path}: no such file or directory`;
      return ok({ healthy: false, detail, latency: 0 });
    }
  } catch (thrown) {
    const why = thrown instanceof Error ? thrown.message : String(thrown);
    return { status: 502, text: `stat ${path}: ${why}` };
  }
  const latency = Math.round((runtime.clock.now() - startedAt) * 1e6);
  return ok({ healthy: true, detail: "", latency });
}

/** Whether a failure says something of the target: it is there, and does not want us. */
function isVerdict({ code }: TunnelError): boolean {
  return code === "ERR_DIAL_REFUSED" || code === "ERR_CONNECTION_RESET";
}

/** What cannot be read is as if it were not there. */
function timeoutOf(query: URLSearchParams): number {
  const text = query.get("timeout") ?? "";
  const ms = /^\+?\d{1,15}$/.test(text) ? Number(text) : 0;
  return ms === 0 ? DEFAULT_TIMEOUT_MS : Math.min(ms, MAX_TIMEOUT_MS);
}

function ok(health: Health): HealthAnswer {
  return { status: 200, health };
}

function bad(text: string): HealthAnswer {
  return { status: 400, text };
}

const DEFAULT_TIMEOUT_MS = 5_000;

const MAX_TIMEOUT_MS = 60_000;
