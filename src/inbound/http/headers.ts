import type { HostPort } from "../../address/socks-address.ts";
import { parseHostPort } from "../../address/target.ts";

/** Where an absolute-form request goes, and what it asks for there. */
export interface AbsoluteTarget extends HostPort {
  /** For the Host field: as the client wrote it, without user information. */
  readonly authority: string;
  /** The request target in origin form, byte for byte what the client sent. */
  readonly path: string;
}

/** Header names and values in the order of the wire, as Node's `rawHeaders`. */
export type RawHeaders = readonly string[];

/**
 * Reads the target of an absolute-form request. The path is not normalized: that is the origin's.
 *
 * @returns `undefined` for anything but a well-formed http (or ws) URL
 */
export function parseAbsoluteTarget(url: string, method = "GET"): AbsoluteTarget | undefined {
  const match = /^(?:http|ws):\/\/([^/?#]*)([^#]*)/i.exec(url);
  if (match === null) return undefined;
  const [, full = "", rest = ""] = match;
  const authority = full.slice(full.lastIndexOf("@") + 1).replace(/:$/, "");
  const hostPort = parseAuthority(authority, 80);
  if (hostPort === undefined) return undefined;
  const slashed = rest.startsWith("/") ? rest : `/${rest}`;
  // RFC 9112 section 3.2.4: the last proxy turns an OPTIONS without a path into one about the server.
  const path = method === "OPTIONS" && rest === "" ? "*" : slashed;
  return { ...hostPort, authority, path };
}

/**
 * Reads `host:port`, IPv6 in brackets.
 *
 * @param defaultPort used when there is none; without it the port is needed
 * @returns `undefined` when the text is something else
 */
export function parseAuthority(authority: string, defaultPort?: number): HostPort | undefined {
  if (!/^[!-~\u0080-\u00ff]+$/.test(authority) || /[/?#@\\<>"]/.test(authority)) return undefined;
  const isBare = !/:\d*$/.test(authority.replace(/^\[[^\]]*\]/, ""));
  if (isBare && defaultPort === undefined) return undefined;
  return parseHostPort(isBare ? `${authority}:${defaultPort}` : authority);
}

/**
 * What may pass a proxy: everything but the hop-by-hop fields, those that `Connection` lists, and
 * what a proxy and its client say to each other.
 */
export function endToEndHeaders(raw: RawHeaders): string[] {
  const dropped = new Set(HOP_BY_HOP);
  for (const [name, value] of headerPairs(raw)) {
    if (name.toLowerCase() !== "connection") continue;
    for (const option of value.split(",")) dropped.add(option.trim().toLowerCase());
  }
  // Naming these in Connection cannot be meant: without them the message is another.
  for (const name of FRAMING) dropped.delete(name);
  const kept: string[] = [];
  for (const [name, value] of headerPairs(raw)) {
    if (!dropped.has(name.toLowerCase())) kept.push(name, value);
  }
  return kept;
}

/** The fields of a request to the origin, for a request that came in absolute form. */
export function originRequestHeaders(
  raw: RawHeaders,
  { method, authority }: { readonly method: string; readonly authority: string },
): string[] {
  const headers = ["Host", authority];
  for (const [name, value] of headerPairs(endToEndHeaders(raw))) {
    if (name.toLowerCase() !== "host") headers.push(name, value);
  }
  const coding = headerValue(raw, "transfer-encoding");
  if (coding !== undefined) headers.push("Transfer-Encoding", coding);
  else if (headerValue(raw, "content-length") === undefined && EXPECTS_BODY.has(method)) {
    headers.push("Content-Length", "0");
  }
  return headers;
}

/** The fields of a response to the client. Framing other than a length is made anew. */
export function clientResponseHeaders(raw: RawHeaders): string[] {
  const headers = endToEndHeaders(raw);
  const coding = headerValue(raw, "transfer-encoding");
  // `gzip, chunked`: only the chunks were taken off.
  if (coding !== undefined && coding.trim().toLowerCase() !== "chunked") {
    headers.push("Transfer-Encoding", coding);
  }
  return headers;
}

/** The first value of a field. */
export function headerValue(raw: RawHeaders, wanted: string): string | undefined {
  for (const [name, value] of headerPairs(raw)) if (name.toLowerCase() === wanted) return value;
  return undefined;
}

/** Name and value, one after the other. */
export function* headerPairs(raw: RawHeaders): Generator<[name: string, value: string]> {
  for (let at = 0; at + 1 < raw.length; at += 2) yield [raw[at] ?? "", raw[at + 1] ?? ""];
}

/** Spec: RFC 9110 section 7.6.1, and what programs send to proxies all the same. */
const HOP_BY_HOP: readonly string[] = [
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "transfer-encoding",
  "upgrade",
];

const FRAMING: readonly string[] = ["content-length", "host"];

/** Methods whose requests say so when they have no body. */
const EXPECTS_BODY: ReadonlySet<string> = new Set(["POST", "PUT", "PATCH"]);
