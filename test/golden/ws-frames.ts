/** One WebSocket frame, unmasked. */
export interface WsFrame {
  readonly isFinal: boolean;
  readonly opcode: number;
  readonly isMasked: boolean;
  readonly payload: Uint8Array;
}

/** Cuts the whole WebSocket frames out of `bytes` (RFC 6455 5.2), without the library under test. */
export function cutWsFrames(bytes: Uint8Array): WsFrame[] {
  const view = Buffer.from(bytes);
  const frames: WsFrame[] = [];
  let at = 0;
  while (at + 2 <= view.byteLength) {
    const first = view.readUInt8(at);
    const second = view.readUInt8(at + 1);
    let length = second & 0x7f;
    let body = at + 2;
    if (length === 126 && body + 2 <= view.byteLength) length = view.readUInt16BE(body);
    else if (length === 127 && body + 8 <= view.byteLength) length = view.readUInt32BE(body + 4);
    body += (second & 0x7f) === 126 ? 2 : (second & 0x7f) === 127 ? 8 : 0;
    const isMasked = second >= 0x80;
    const mask = view.subarray(body, body + 4);
    if (isMasked) body += 4;
    if (body + length > view.byteLength) break;
    const raw = view.subarray(body, body + length);
    const payload = isMasked ? raw.map((byte, index) => byte ^ (mask[index % 4] ?? 0)) : raw;
    frames.push({ isFinal: first >= 0x80, opcode: first & 0x0f, isMasked, payload });
    at = body + length;
  }
  return frames;
}

/** The payload of all data frames in `bytes`: whole messages and continuations. */
export function wsData(bytes: Uint8Array): Uint8Array {
  const data = cutWsFrames(bytes).filter(({ opcode }) => opcode === 0 || opcode === 2);
  return Buffer.concat(data.map(({ payload }) => payload));
}

/** An HTTP head and what follows it; `undefined` until the head is complete. */
export function cutHead(bytes: Uint8Array): { head: string; rest: Uint8Array } | undefined {
  const end = Buffer.from(bytes).indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  return {
    head: Buffer.from(bytes.subarray(0, end)).toString("latin1"),
    rest: bytes.subarray(end + 4),
  };
}
