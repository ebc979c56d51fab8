import { STATUS_CODES } from "node:http";
import type { TunnelError } from "../../errors.ts";
import { STATUS_OF } from "./status-of.ts";

/** A response of the proxy itself. */
export interface Answer {
  readonly status: number;
  readonly text: string;
  /** @default plain text */
  readonly contentType?: string | undefined;
  readonly headers?: readonly (readonly [name: string, value: string])[] | undefined;
}

/** Says that a target was not reached: what failed, where, and what to try. */
export function failureAnswer(what: string, error: TunnelError): Answer {
  const { status, phase } = STATUS_OF[error.code];
  const lines = [
    `sluice: ${what} failed`,
    "",
    `reason: ${error.message}`,
    `phase:  ${phase}`,
    `code:   ${error.code}`,
  ];
  if (error.hint !== undefined) lines.push(`try:    ${error.hint}`);
  return { status, text: `${lines.join("\n")}\n` };
}

/** Says that the client has to name itself, or did so wrongly, or too often. */
export function authAnswer(denial: TunnelError | undefined): Answer {
  const isBlocked = denial?.code === "ERR_LIMIT";
  const reason = denial?.message ?? "this proxy asks for user and password";
  const hint = denial?.hint === undefined ? "" : `\ntry:    ${denial.hint}`;
  return {
    status: isBlocked ? 429 : 407,
    text: `sluice: not authenticated\n\nreason: ${reason}\nphase:  authentication${hint}\n`,
    headers: isBlocked ? [] : [["Proxy-Authenticate", 'Basic realm="sluice", charset="UTF-8"']],
  };
}

/** Says that the request itself is at fault. */
export function badRequestAnswer(reason: string, hint: string, status = 400): Answer {
  return { status, text: `sluice: bad request\n\nreason: ${reason}\ntry:    ${hint}\n` };
}

/** The fields every answer has, behind its own. */
export function answerHeaders({
  text,
  headers = [],
  contentType = "text/plain; charset=utf-8",
}: Answer): string[] {
  return [
    ...headers,
    ["Content-Type", contentType],
    ["Content-Length", `${Buffer.byteLength(text)}`],
    ["Cache-Control", "no-store"],
  ].flat();
}

/** The bytes of an answer where no HTTP server writes them: the last on its connection. */
export function encodeAnswer(answer: Answer): Uint8Array {
  const headers = answerHeaders(answer).concat("Connection", "close");
  const head = encodeHead(answer.status, STATUS_CODES[answer.status] ?? "", headers);
  return Buffer.concat([head, Buffer.from(answer.text)]);
}

/** Status line and fields of a response, with the empty line behind them. */
export function encodeHead(status: number, reason: string, headers: readonly string[]): Uint8Array {
  let head = `HTTP/1.1 ${status} ${reason}\r\n`;
  for (let at = 0; at + 1 < headers.length; at += 2)
    head += `${headers[at]}: ${headers[at + 1]}\r\n`;
  return Buffer.from(`${head}\r\n`, "latin1");
}
