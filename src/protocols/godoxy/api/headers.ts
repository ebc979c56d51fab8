/** Header names and values in the order of the wire, as Node's `rawHeaders`. */
export type RawHeaders = readonly string[];

/** What a forwarded request says of itself and of its sender. */
export interface Forwarded {
  readonly method: string;
  /** The address of who sent it to us. */
  readonly address: string;
  /** Its `Host`. */
  readonly host: string;
}

/**
 * The fields of a request to the origin: what is not meant for the next hop alone, and where it
 * comes from.
 *
 * Reference: goutils `http/reverseproxy/reverse_proxy.go`. `Forwarded` is dropped, the headers that
 * brought the request here are not. `Accept-Encoding` is never added: bodies pass as they are.
 */
export function originRequestHeaders(raw: RawHeaders, from: Forwarded): string[] {
  const kept = endToEndHeaders(raw);
  const forwardedFor: string[] = [];
  const headers = ["Host", from.host];
  for (const [name, value] of headerPairs(kept)) {
    const lower = name.toLowerCase();
    if (lower === "x-forwarded-for") forwardedFor.push(value);
    else if (!REPLACED.has(lower)) headers.push(name, value);
  }
  headers.push("X-Forwarded-For", [...forwardedFor, from.address].join(", "));
  headers.push("X-Forwarded-Host", from.host, "X-Forwarded-Method", from.method);
  // The reference asks for the URI after it was emptied.
  headers.push("X-Forwarded-Proto", "https", "X-Forwarded-Uri", "");
  if (/(?:^|,)\s*trailers\s*(?:,|$)/i.test(headerValue(raw, "te") ?? "")) {
    headers.push("Te", "trailers");
  }
  return headers;
}

/** What frames a request's body on HTTP/1.1. */
export function framingOf(raw: RawHeaders, method: string): string[] {
  const coding = headerValue(raw, "transfer-encoding");
  if (coding !== undefined) return ["Transfer-Encoding", coding];
  const hasLength = headerValue(raw, "content-length") !== undefined;
  return !hasLength && EXPECTS_BODY.has(method) ? ["Content-Length", "0"] : [];
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

/** Everything but the hop-by-hop fields and those that `Connection` lists. */
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

/** The first value of a field. */
export function headerValue(raw: RawHeaders, wanted: string): string | undefined {
  for (const [name, value] of headerPairs(raw)) if (name.toLowerCase() === wanted) return value;
  return undefined;
}

/** Name and value, one after the other. */
export function* headerPairs(raw: RawHeaders): Generator<[name: string, value: string]> {
  for (let at = 0; at + 1 < raw.length; at += 2) yield [raw[at] ?? "", raw[at + 1] ?? ""];
}

/** Status line and fields of a response, with the empty line behind them. */
export function encodeHead(status: number, reason: string, headers: RawHeaders): Uint8Array {
  let head = `HTTP/1.1 ${status} ${reason}\r\n`;
  for (const [name, value] of headerPairs(headers)) head += `${name}: ${value}\r\n`;
  return Buffer.from(`${head}\r\n`, "latin1");
}

/** Spec: RFC 9110 section 7.6.1, and what programs send all the same. */
const HOP_BY_HOP: readonly string[] = [
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
];

const FRAMING: readonly string[] = ["content-length", "host"];

/** Said anew, or not at all. */
const REPLACED: ReadonlySet<string> = new Set([
  "host",
  "forwarded",
  "x-forwarded-host",
  "x-forwarded-method",
  "x-forwarded-proto",
  "x-forwarded-uri",
]);

/** Methods whose requests say so when they have no body. */
const EXPECTS_BODY: ReadonlySet<string> = new Set(["POST", "PUT", "PATCH"]);
