/** A path to look for below a folder, and what was asked besides. */
export interface WebPath {
  /** Starts with a slash; no segment is `.`, `..` or hidden. */
  readonly path: string;
  readonly query: URLSearchParams;
}

/**
 * Reads the target of a request.
 *
 * Hidden files (`.git`, `.htpasswd`) are nobody's business; `.well-known` is not one of them.
 *
 * @returns `undefined` for what is no path, or leads where it must not
 */
export function parseWebPath(target: string): WebPath | undefined {
  const origin = /^https?:\/\/[^/?#]*/i.exec(target)?.[0] ?? "";
  const [, raw = "", query = ""] =
    /^([^?#]*)(?:\?([^#]*))?/.exec(target.slice(origin.length)) ?? [];
  const path = decode(origin !== "" && raw === "" ? "/" : raw);
  if (path === undefined || !path.startsWith("/")) return undefined;
  // oxlint-disable-next-line no-control-regex -- control bytes in a path are what we look for
  if (/[\u0000-\u001f\u007f\\]/.test(path)) return undefined;
  const segments = path.split("/");
  const isHidden = (segment: string): boolean =>
    segment.startsWith(".") && segment !== ".well-known";
  if (segments.some(isHidden)) return undefined;
  // Empty segments in between would make two names for one file, and `//host` is another host.
  if (segments.slice(1, -1).includes("")) return undefined;
  return { path, query: new URLSearchParams(query) };
}

/** The media type, by the end of the name alone. Spec: vproxy 1.9. */
export function mediaTypeOf(path: string): string {
  const [, suffix = ""] = /\.([A-Za-z0-9]+)$/.exec(path) ?? [];
  return MEDIA_TYPES.get(suffix.toLowerCase()) ?? "application/octet-stream";
}

/** Whether browsers may keep it for ten minutes. */
export function isCacheable(path: string): boolean {
  return /\.(?:html|css|js|png|jpe?g)$/i.test(path);
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined; // a percent sign that begins nothing
  }
}

const MEDIA_TYPES: ReadonlyMap<string, string> = new Map([
  ["html", "text/html; charset=utf-8"],
  ["js", "text/javascript; charset=utf-8"],
  ["css", "text/css; charset=utf-8"],
  ["json", "application/json"],
  ["jpg", "image/jpeg"],
  ["jpeg", "image/jpeg"],
  ["png", "image/png"],
  ["svg", "image/svg+xml"],
  ["ico", "image/x-icon"],
  ["txt", "text/plain; charset=utf-8"],
]);
