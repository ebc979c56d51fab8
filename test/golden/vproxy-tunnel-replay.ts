import assert from "node:assert/strict";
import { gunzipSync } from "node:zlib";
import { NetworkError, TunnelError } from "../../src/errors.ts";
import {
  encodeFrame,
  FrameDecoder,
  FrameFlag,
  FrameType,
} from "../../src/protocols/vproxy/tunnel/frames.ts";
import { acceptTunnel, openTunnel } from "../../src/protocols/vproxy/tunnel/handshake.ts";
import { connectionPair } from "../../src/tunnel/connection-pair.ts";
import { manualRuntime, TestClient, turns } from "../support/test-client.ts";
import { TunnelEnd } from "../support/vproxy-tunnel-end.ts";
import type { RecordedFrame, Side, TunnelTranscript } from "./vproxy-tunnel-transcript.ts";

/** What our end did on one connection. */
export interface ReplayedTunnel {
  /** Everything it said, as short texts. */
  readonly said: readonly string[];
  /** By stream: what it heard, as text. */
  readonly heard: ReadonlyMap<number, string>;
  /** How the tunnel ended; `undefined` while it lives. */
  readonly over: string | undefined;
}

/** Plays one end of one connection: the peer's frames are heard, our end's are asked for. */
export async function replayTunnel(
  transcript: TunnelTranscript,
  {
    side,
    conn,
    compress,
  }: { readonly side: Side; readonly conn: number; readonly compress: boolean },
): Promise<ReplayedTunnel> {
  const mine = transcript.frames.filter((it) => it.conn === conn);
  const hello = await shakeHands(
    side,
    transcript.bytesOf(conn, side === "client" ? "server" : "client"),
  );
  if (hello.error !== undefined) {
    const over = hello.error.code;
    return { said: nameAll(framesIn(hello.said), compress), heard: new Map(), over };
  }
  const rest = mine.filter((_, at) => at >= 2);
  const startedAt = mine[1]?.at ?? 0;
  const end = new TunnelEnd(side, { compress });
  const opened = new Set<number>();
  for (const frame of rest) {
    end.pass(Math.max(0, frame.at - startedAt - end.now));
    if (frame.from !== side) end.hear(frame.type, frame.streamId, frame.flags, frame.payload);
    else command(end, frame, opened);
  }
  end.pass(100);
  const heard = new Map<number, string>();
  for (const event of end.log) {
    if (event.type !== "streamData") continue;
    const before = heard.get(event.streamId) ?? "";
    heard.set(event.streamId, before + Buffer.from(event.data).toString("latin1"));
  }
  const last = end.log.at(-1);
  const over = last?.type === "closed" ? (last.error?.code ?? "in order") : undefined;
  const said = [...framesIn(hello.said), ...end.frames().map((it) => toRecorded(it, side, conn))];
  return { said: nameAll(said, compress), heard, over };
}

/** The texts of what was recorded of our end, to compare with. */
export function nameAll(frames: readonly RecordedFrame[], compress: boolean): string[] {
  const names: string[] = [];
  let open: { readonly streamId: number; text: string } | undefined;
  for (const frame of frames) {
    const { type, flags, streamId, payload } = frame;
    const isGzip = (flags & FrameFlag.gzip) !== 0;
    if (type === FrameType.data && payload.byteLength > 0) {
      const plain = (isGzip ? gunzipSync(payload) : payload).toString("latin1");
      // Where a stream's bytes are cut, and whether they travel compressed, is the sender's affair.
      if (!compress && open?.streamId === streamId) {
        open.text += plain;
        names[names.length - 1] = `PSH ${streamId} ${open.text}`;
      } else {
        open = { streamId, text: plain };
        names.push(`PSH${compress && isGzip ? "-GZIP" : ""} ${streamId} ${plain}`);
      }
      continue;
    }
    open = undefined;
    names.push(`${type} ${flags} ${streamId} ${payload.toString("latin1")}`);
  }
  return names;
}

/** By stream: what the peer sent on it while it lived. */
export function sentTo(side: Side, frames: readonly RecordedFrame[]): ReadonlyMap<number, string> {
  const live = new Set<number>();
  const sent = new Map<number, string>();
  for (const { from, type, flags, streamId, payload } of frames) {
    if (type === FrameType.goaway) break;
    if (type === FrameType.headers && flags === 0 && payload.byteLength === 0) live.add(streamId);
    if (type === FrameType.headers && flags === FrameFlag.end) live.delete(streamId);
    if (from === side || type !== FrameType.data || !live.has(streamId)) continue;
    if (payload.byteLength === 0 || !isSound(flags, payload)) continue;
    const plain = (flags & FrameFlag.gzip) === 0 ? payload : gunzipSync(payload);
    sent.set(streamId, (sent.get(streamId) ?? "") + plain.toString("latin1"));
  }
  return sent;
}

/** Has our end do what the recorded one did; what it does of itself is not asked for. */
function command(end: TunnelEnd, frame: RecordedFrame, opened: Set<number>): void {
  const { type, flags, streamId, payload } = frame;
  switch (type) {
    case FrameType.headers:
      if (flags === FrameFlag.end) end.reset(streamId, ASKED);
      else if (frame.from === "client" && !opened.has(streamId)) {
        opened.add(streamId);
        assert.equal(end.open(), streamId);
      }
      break;
    case FrameType.data:
      if (payload.byteLength === 0) end.finish(streamId);
      else end.write(streamId, (flags & FrameFlag.gzip) === 0 ? payload : gunzipSync(payload));
      break;
    default: // PINGs, answers and GOAWAY come of themselves
  }
}

async function shakeHands(
  side: Side,
  heard: Buffer,
): Promise<{ readonly said: Buffer; readonly error: TunnelError | undefined }> {
  const runtime = manualRuntime();
  const [near, far] = connectionPair(runtime);
  const peer = new TestClient(far);
  const shake = side === "client" ? openTunnel : acceptTunnel;
  let error: TunnelError | undefined;
  void shake(near, { runtime }).catch((thrown: unknown) => {
    if (thrown instanceof TunnelError) error = thrown;
  });
  await turns();
  await peer.send(heard);
  return { said: Buffer.from(peer.bytes), error };
}

function framesIn(bytes: Buffer): RecordedFrame[] {
  const settings = Buffer.concat(
    encodeFrame({ type: FrameType.settings, flags: 0, streamId: 0, payload: new Uint8Array(0) }),
  );
  const isHandshake = bytes.subarray(0, settings.byteLength).equals(settings);
  const rest = isHandshake ? bytes.subarray(settings.byteLength) : bytes;
  const frames = Array.from(new FrameDecoder({ maxFrameBytes: 0xff_ffff }).decode(rest), (it) =>
    toRecorded(it, "server", 0),
  );
  const first = { type: FrameType.settings, flags: 0, streamId: 0, payload: new Uint8Array(0) };
  return isHandshake ? [toRecorded(first, "server", 0), ...frames] : frames;
}

function toRecorded(
  frame: { type: number; flags: number; streamId: number; payload: Uint8Array },
  from: Side,
  conn: number,
): RecordedFrame {
  return { ...frame, payload: Buffer.from(frame.payload), from, conn, at: 0 };
}

function isSound(flags: number, payload: Buffer): boolean {
  return (flags & FrameFlag.gzip) === 0 || payload.readUInt16BE(0) === GZIP_MAGIC;
}

const ASKED = new NetworkError("ERR_CONNECTION_RESET", "recorded");
const GZIP_MAGIC = 0x1f8b;
