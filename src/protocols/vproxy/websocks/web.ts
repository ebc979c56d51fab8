import { normalizeHostName } from "../../../address/host-name.ts";
import { timeoutAfter } from "../../../clock/clock.ts";
import { NetworkError } from "../../../errors.ts";
import type { Runtime } from "../../../tunnel/runtime.ts";
import { fieldOf, type HttpHead } from "./http-head.ts";
import { NOSNIFF, type Page, textPage, type WebFile } from "./send-page.ts";
import { isCacheable, mediaTypeOf, parseWebPath } from "./web-path.ts";

/** A folder of files to show. */
export interface WebFiles {
  /**
   * Finds a file below the folder; what links lead out of it is absent.
   *
   * @param path decoded, starts with a slash, no segment is `..` or hidden
   */
  find(path: string): Promise<WebFile | "folder" | undefined>;
}

/** What requests without an upgrade get. */
export interface WebOptions {
  /** Absent: everything is 400. */
  readonly files?: WebFiles | undefined;
  /** Resolves names for `/tools/resolve`; absent: there is no such tool. */
  readonly resolve?: ((name: string) => Promise<readonly string[]>) | undefined;
  /** Lets everybody resolve, as the original does. @default false */
  readonly isResolveOpen?: boolean | undefined;
}

/** One question without an upgrade. */
export interface WebQuestion {
  readonly head: HttpHead;
  readonly runtime: Runtime;
  /** Whether its Authorization is right; asked only where it matters. */
  readonly isAuthorized: () => boolean;
}

/** Answers a GET without an upgrade. Spec: vproxy 1.9. */
export async function pageFor(
  { head, runtime, isAuthorized }: WebQuestion,
  { files, resolve, isResolveOpen = false }: WebOptions,
): Promise<Page> {
  const asked = parseWebPath(head.start[1]);
  if (asked?.path === "/tools/resolve" && resolve !== undefined) {
    if (!isResolveOpen && !isAuthorized()) return unauthorizedPage();
    return await resolvePage(asked.query.get("domain") ?? "", resolve, runtime);
  }
  if (asked === undefined || files === undefined) return textPage(400, "bad request");
  return (await filePage(asked.path, files, head)) ?? textPage(404, "not found");
}

/** Asks for user and password, in the words of the original. */
export function unauthorizedPage(): Page & { readonly body: Uint8Array } {
  return textPage(401, "auth failed", [["WWW-Authenticate", "Basic"]]);
}

/**
 * Sends everybody to the same place over TLS: what the original's `redirectport` answers.
 *
 * @param domain where to; absent: the host that was asked for
 */
export function redirectPage(
  head: HttpHead,
  { domain, port }: { readonly domain?: string | undefined; readonly port: number },
): Page & { readonly body: Uint8Array } {
  const [, named] = HOST_FIELD.exec(fieldOf(head, "host") ?? "") ?? [];
  const host = domain ?? named;
  if (host === undefined) return textPage(400, "bad request");
  const [, target] = head.start;
  const path = /^\/[\u0021-\u007e]*$/.test(target) ? target : "/";
  const authority = port === 443 ? host : `${host}:${port}`;
  return textPage(301, "moved", [["Location", `https://${authority}${path}`]]);
}

/** The file itself, its folder's index, or the page of that name. */
async function filePage(path: string, files: WebFiles, head: HttpHead): Promise<Page | undefined> {
  const isFolderPath = path.endsWith("/");
  const found = isFolderPath ? "folder" : await files.find(path);
  if (found !== "folder" && found !== undefined) return shown(path, found);
  const index = isFolderPath ? `${path}index.html` : `${path}/index.html`;
  const page = found === "folder" ? await files.find(index) : undefined;
  if (page !== undefined && page !== "folder") {
    // Links on the page are relative to its folder.
    return isFolderPath ? shown(index, page) : movedInto(head);
  }
  if (isFolderPath) return undefined;
  const named = await files.find(`${path}.html`);
  return named === undefined || named === "folder" ? undefined : shown(`${path}.html`, named);
}

function shown(path: string, body: WebFile): Page {
  const cache = isCacheable(path) ? ([["Cache-Control", "max-age=600"]] as const) : [];
  return {
    status: 200,
    fields: [["Content-Type", mediaTypeOf(path)], NOSNIFF, ...cache],
    body,
  };
}

/** DEVIATION(vproxy): without scheme and host, which something in front of us may have changed. */
function movedInto(head: HttpHead): Page {
  const [, path = "/", query = ""] =
    /^(?:https?:\/\/[^/]*)?([^?#]*)(\?[^#]*)?/i.exec(head.start[1]) ?? [];
  return textPage(302, "moved", [["Location", `${path}/${query}`]]);
}

async function resolvePage(
  domain: string,
  resolve: (name: string) => Promise<readonly string[]>,
  runtime: Runtime,
): Promise<Page> {
  const name = normalizeHostName(domain);
  if (name === undefined) return textPage(400, "bad request: no domain");
  using deadline = timeoutAfter(runtime.clock, RESOLVE_MS, () => {
    return new NetworkError("ERR_DNS", `${name}: not resolved within ${RESOLVE_MS} ms`);
  });
  try {
    const addresses = await Promise.race([resolve(name), aborted(deadline.signal)]);
    const list = addresses.map((address) => JSON.stringify(address)).join(", ");
    const text = `{\n    "domain": ${JSON.stringify(name)},\n    "addresses": [ ${list} ]\n}`;
    const type = ["Content-Type", "application/json"] as const;
    return { status: 200, fields: [type, NOSNIFF], body: Buffer.from(text, "utf8") };
  } catch {
    return textPage(400, "bad request: the domain does not resolve"); // why is for the log of the resolver
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const onAbort = (): void => {
      reject(signal.reason instanceof Error ? signal.reason : new Error(String(signal.reason)));
    };
    signal.addEventListener("abort", onAbort, { once: true });
  });
}

/** A name or an address and maybe a port, which is not ours to repeat. */
const HOST_FIELD = /^([\w.-]+|\[[\da-fA-F:.]+\])(?::\d+)?$/;

const RESOLVE_MS = 10_000;
