import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import type { HttpLine } from "./linksocks-transcript.ts";

/** What our server answered. */
export interface HttpAnswer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

/** Asks a server of ours what was asked of the recorded one. */
export async function askHttp(
  port: number,
  { method, path, headers, body }: HttpLine,
): Promise<HttpAnswer> {
  const request = http.request({ port, host: "127.0.0.1", method, path, headers });
  request.end(body);
  const [response] = (await once(request, "response")) as [http.IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return {
    status: response.statusCode ?? 0,
    type: response.headers["content-type"] ?? "",
    body: Buffer.concat(chunks).toString(),
  };
}

/** Compares status, type and body; in JSON what is random or the recorded machine's own is left out. */
export function assertAnswer(answer: HttpAnswer, recorded: HttpLine): void {
  const { status, headers, body } = recorded;
  const expected = { status, type: headers["Content-Type"] ?? "", body: comparable(body) };
  assert.deepEqual({ ...answer, body: comparable(answer.body) }, expected);
}

function comparable(body: string): unknown {
  if (!body.startsWith("{")) return body.replace(/^(LinkSocks v1\.8\.9|Sluice) /, "");
  assert.ok(body.endsWith("\n"), "JSON ends with a newline");
  const value: unknown = JSON.parse(body, (key: string, part: unknown) => {
    if (key === "updated_at") return undefined; // absent here for peers without direct mode
    if (key === "version" || key === "client_id") return "?";
    if (typeof part === "string" && /^[\da-f]{16}$/.test(part)) return "generated";
    if (key === "port" && typeof part === "number" && !ASKED_PORTS.includes(part)) return "any";
    if (key === "internal_token") return "?";
    if (key === "token" && typeof part === "string" && UUID.test(part)) return "internal";
    // Of forward tokens without clients the reference counts the clients of all. Spec: 3.12.
    if (isForwardToken(part)) return { ...part, clients_count: "?" };
    return Array.isArray(part) ? part.toSorted(byText) : part;
  });
  return value;
}

function isForwardToken(part: unknown): part is object {
  return typeof part === "object" && part !== null && "type" in part && part.type === "forward";
}

function byText(a: unknown, b: unknown): number {
  return JSON.stringify(a) < JSON.stringify(b) ? -1 : 1;
}

/** Ports that the recorded requests ask for; -1 is none. The others were chosen at random. */
const ASKED_PORTS = [-1, 9870, 9871];

const UUID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/;
