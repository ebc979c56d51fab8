import { createHash } from "node:crypto";
import { formatHostPort } from "../../../address/target.ts";
import type { ByteReader, Parser } from "../../../bytes/byte-reader.ts";
import { NetworkError, ProtocolError, TunnelError } from "../../../errors.ts";
import { type ClockDifference, clockDifference, formatHttpDate } from "./http-date.ts";
import { fieldOf, hasBody, type HttpHead, listOf, readHead } from "./http-head.ts";

/** What a client says in its request. */
export interface UpgradeRequest {
  /** The server as configured. */
  readonly host: string;
  readonly port: number;
  /** base64 of 16 random bytes. */
  readonly key: string;
  readonly authorization: string;
}

/**
 * The request, its fields in the order of the original.
 *
 * Spec: vproxy 1.2. Reference: `WebSocksProxyAgentConnectorProvider.java`.
 *
 * DEVIATION(vproxy): a random key, and a Host that something in front of the server can go by.
 */
export function encodeRequest({ host, port, key, authorization }: UpgradeRequest): Uint8Array {
  return encodeHead("GET / HTTP/1.1", [
    ["Upgrade", "websocket"],
    ["Connection", "Upgrade"],
    ["Host", port === 80 || port === 443 ? bracketed(host) : formatHostPort(host, port)],
    ["Sec-WebSocket-Key", key],
    ["Sec-WebSocket-Version", "13"],
    ["Sec-WebSocket-Protocol", "socks5"],
    ["Authorization", authorization],
  ]);
}

/** What a request without its Authorization is worth. */
export type Judgement =
  | { readonly kind: "upgrade"; readonly key: string }
  /** No upgrade at all. */
  | { readonly kind: "page" }
  | { readonly kind: "refused"; readonly status: 400; readonly reason: string };

/**
 * Judges a request up to its Authorization, in the order of the original.
 *
 * Spec: vproxy 1.4. Reference: `WebSocksProtocolHandler.java`.
 *
 * DEVIATION(vproxy): lists and any case where the original wants one exact word.
 *
 * @param hasMore whether bytes came behind the empty line
 */
export function judgeRequest(head: HttpHead, hasMore: boolean): Judgement {
  const [method] = head.start;
  if (method !== "GET") return refused(`unsupported http method ${method.slice(0, 32)}`);
  if (fieldOf(head, "upgrade") === undefined) return { kind: "page" };
  const key = fieldOf(head, "sec-websocket-key");
  const isRight =
    listOf(head, "upgrade").includes("websocket") && listOf(head, "connection").includes("upgrade");
  if (!isRight || key === undefined || !isBase64(key) || hasBody(head)) {
    return refused("upgrading related headers are invalid");
  }
  if (hasMore) return refused("upgrading request should not contain a body");
  return { kind: "upgrade", key };
}

/** Whether the request offers what comes next; asked after its Authorization was right. */
export function offersSocks(head: HttpHead): boolean {
  return listOf(head, "sec-websocket-protocol").includes("socks5");
}

/**
 * The answer that says yes.
 *
 * QUIRK(vproxy): clients compare `Upgrade` by its case, and take no lists.
 */
export function encodeAccepted(key: string, unixMs: number): Uint8Array {
  return encodeHead("HTTP/1.1 101 Switching Protocols", [
    ["Date", formatHttpDate(unixMs)],
    ["Upgrade", "websocket"],
    ["Connection", "Upgrade"],
    ["Sec-Websocket-Accept", acceptOf(key)],
    ["Sec-WebSocket-Protocol", "socks5"],
  ]);
}

/** A whole head. */
export function encodeHead(
  start: string,
  fields: readonly (readonly [name: string, value: string])[],
): Uint8Array {
  const lines = [start, ...fields.map(([name, value]) => `${name}: ${value}`)];
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
}

/** Reads a server's answer; interim ones are skipped. @throws ProtocolError */
export function* readAnswer(reader: ByteReader): Parser<HttpHead> {
  for (let interim = 0; interim <= MAX_INTERIM_ANSWERS; interim++) {
    const head = yield* readHead(reader);
    const [version, status] = head.start;
    if (!version.startsWith("HTTP/") || !/^\d{3}$/.test(status)) {
      throw new ProtocolError("answer is not HTTP/1.1");
    }
    if (status === "101" || !status.startsWith("1")) return head;
  }
  throw new ProtocolError(`more than ${MAX_INTERIM_ANSWERS} interim answers`);
}

/** What an answer is an answer to. */
export interface Asked {
  /** Of the server, for errors. */
  readonly peer: string;
  readonly key: string;
  /** Wall clock when the request left and when the answer came, ms. */
  readonly askedAt: number;
  readonly answeredAt: number;
}

/**
 * What speaks against going on after an answer.
 *
 * @returns `undefined` after a proper 101; `ERR_REFUSED_FOR_GOOD` when user or password are wrong
 *   for sure, that is, the server's clock and ours agree; `ERR_AUTH` when it may be the clocks
 */
export function judgeAnswer(head: HttpHead, asked: Asked): TunnelError | undefined {
  const [, status] = head.start;
  const { peer, key } = asked;
  if (status === "401") return unauthorized(peer, clockDifference(fieldOf(head, "date"), asked));
  if (status !== "101") return unexpected(peer, status, fieldOf(head, "location"));
  const what = brokenPart(head, key);
  if (what === undefined) return undefined;
  const hint = "check that nothing between changes WebSocket upgrades";
  return new ProtocolError(`${peer}: upgrade answered with 101, but ${what}`, { hint });
}

/** Spec: RFC 6455 section 4.2.2. */
export function acceptOf(key: string): string {
  return createHash("sha1").update(`${key}${WEBSOCKET_GUID}`, "latin1").digest("base64");
}

function brokenPart(head: HttpHead, key: string): string | undefined {
  if (!listOf(head, "upgrade").includes("websocket")) return "not to a WebSocket";
  if (!listOf(head, "connection").includes("upgrade")) return "without Connection: Upgrade";
  if (fieldOf(head, "sec-websocket-accept") !== acceptOf(key)) return "not to our key";
  if ((fieldOf(head, "content-length") ?? "0") !== "0") return "with a length";
  const protocols = listOf(head, "sec-websocket-protocol");
  if (protocols.length > 0 && !protocols.includes("socks5")) return "not to socks5";
  return undefined;
}

function unauthorized(peer: string, clocks: ClockDifference | undefined): TunnelError {
  const text = `${peer}: server refused user or password (HTTP 401)`;
  if (clocks === undefined) {
    const hint = "check user and password, and the clocks of both machines: they must agree";
    return new TunnelError("ERR_AUTH", text, { hint });
  }
  const { aheadMs } = clocks;
  if (Math.abs(aheadMs) > MAX_SKEW_MS) {
    const amount = formatSpan(Math.abs(aheadMs));
    const side = aheadMs > 0 ? "behind" : "ahead of";
    return new TunnelError(
      "ERR_AUTH",
      `${peer}: server refused our login (HTTP 401): our clock is ${amount} ${side} the server's`,
      {
        hint: "set both clocks, best by NTP: logins depend on the minute; look at time zones if it is whole hours",
      },
    );
  }
  const hint = "check user and password on both sides; the clocks agree";
  return new TunnelError("ERR_REFUSED_FOR_GOOD", text, { hint });
}

function unexpected(peer: string, status: string, location: string | undefined): TunnelError {
  const text = `${peer}: upgrade answered with HTTP ${status}`;
  if (status === "429" || status === "503") {
    return new NetworkError("ERR_TUNNEL_DOWN", text, { hint: "the server asks to wait" });
  }
  if (status.startsWith("5")) {
    const hint = "what stands before the server cannot reach it";
    return new NetworkError("ERR_TUNNEL_DOWN", text, { hint });
  }
  const hint =
    location === undefined
      ? "check host and port: this may be another web server"
      : "the server sends elsewhere: does it want TLS?";
  return new ProtocolError(text, { hint });
}

/** `7 min 12 s`, `3 h 0 min`. */
function formatSpan(ms: number): string {
  const seconds = Math.round(ms / 1_000);
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}

function refused(reason: string): Judgement {
  return { kind: "refused", status: 400, reason };
}

function bracketed(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

/** Of any length, padded or not. */
function isBase64(text: string): boolean {
  return /^[A-Za-z0-9+/]*={0,2}$/.test(text) && text.length % 4 !== 1;
}

const WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const MAX_INTERIM_ANSWERS = 4;

/** What the server's window of three minutes forgives in any case. */
const MAX_SKEW_MS = 60_000;
