import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { startOurs } from "./linksocks-our-end.ts";
import { PlayedSocket } from "./linksocks-peers.ts";
import { type Line, readLinksocksTranscript } from "./linksocks-transcript.ts";

describe("the HTTP surface of a linksocks server", () => {
  const transcript = readLinksocksTranscript("http-surface");
  const tcp = transcript.lines.filter(({ layer, event }) => layer === "tcp" && event === "data");

  for (const conn of new Set(tcp.map((line) => line.conn))) {
    const request = sent(tcp, conn, "client");
    const recorded = sent(tcp, conn, "server");
    test(`answers like the reference: ${summary(request)}`, async () => {
      await using ours = await startOurs(transcript, "server", undefined);
      const client = await PlayedSocket.connect(ours.port);
      client.socket.write(request);
      const { head, body } = split(recorded);
      await client.until(() => {
        const answer = client.received;
        const isWhole = answer.byteLength >= split(answer).headBytes + body.byteLength;
        const isHere = answer.includes("\r\n\r\n") && (isWhole || client.isEnded);
        return isHere ? true : undefined;
      }, "an answer");
      const answer = split(client.received);
      client.socket.destroy();
      assert.equal(answer.status, split(recorded).status);
      for (const name of HEADERS) assert.equal(answer.head.get(name), head.get(name), name);
      // On a WebSocket a Log message of ours may follow.
      const got = answer.body.subarray(0, body.byteLength);
      assert.equal(plain(got), plain(body));
    });
  }
});

function sent(lines: readonly Line[], conn: number, from: Line["from"]): Buffer {
  const mine = lines.filter((line) => line.conn === conn && line.from === from);
  return Buffer.concat(mine.map(({ bytes }) => bytes));
}

function split(answer: Buffer): {
  status: string;
  head: Map<string, string>;
  headBytes: number;
  body: Buffer;
} {
  const headBytes = answer.indexOf("\r\n\r\n") + 4;
  const [status = "", ...lines] = answer.subarray(0, headBytes).toString().trim().split("\r\n");
  const head = new Map(
    lines.map((line) => {
      const [name = "", ...rest] = line.split(": ");
      return [name.toLowerCase(), rest.join(": ").toLowerCase()] as const;
    }),
  );
  return { status, head, headBytes, body: answer.subarray(headBytes) };
}

/** The text without the program's name, which is its own. */
function plain(body: Buffer): string {
  return body.toString("latin1").replace(/^(LinkSocks v1\.8\.9|Sluice) /, "");
}

function summary(request: Buffer): string {
  const [line = "", ...head] = request.toString().trim().split("\r\n");
  const what = line.replace(/token=\w+/, "token=…").replace(" HTTP/1.1", "");
  const version = head.find((it) => it.startsWith("Sec-WebSocket-Version"))?.slice(-2);
  const key = head.find((it) => it.startsWith("Sec-WebSocket-Key"))?.slice(19);
  return version === undefined ? what : `${what}, WebSocket ${version}, key ${key}`;
}

/** Of the others dates and lengths follow from the body, and one is a habit of the reference. */
const HEADERS = [
  "content-type",
  "upgrade",
  "sec-websocket-version",
  "sec-websocket-accept",
  "sec-websocket-extensions",
  "sec-websocket-protocol",
];
