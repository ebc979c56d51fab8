import type { ErrorCode } from "../../src/errors.ts";
import { RstCode } from "../../src/protocols/pong/codes.ts";
import { frame, Type, type WireFrame } from "./pong-frames.ts";
import type { FreedomName } from "./pong-freedoms.ts";

/** What one end of ours must do in a scenario, beyond sending the recorded bytes. */
export interface EndPlan {
  readonly freedoms?: readonly FreedomName[];
  /** Why streams failed, in order. */
  readonly errors?: readonly ErrorCode[];
  /** Why connections were given up. */
  readonly lost?: Readonly<Record<number, ErrorCode>>;
  /** What it sends after the transcript, when its deadlines pass. */
  readonly later?: readonly WireFrame[];
}

/** A scenario for both ends; a text says where else that end is played, or why it cannot be. */
export interface Plan {
  readonly local: EndPlan | string;
  readonly remote: EndPlan | string;
}

/** The target ends; pong-go's remote says CLOSE. */
const DST_CLOSES: Plan = { local: {}, remote: { freedoms: ["finishForClose"] } };

const RST_FORMS: readonly ErrorCode[] = [
  "ERR_DIAL_REFUSED",
  "ERR_STREAM_RESET",
  "ERR_DIAL_TIMEOUT",
  "ERR_STREAM_RESET",
];

const CLOSE_AND_RST: Plan = {
  local: { freedoms: ["closeForRst"] },
  remote: { freedoms: ["silenceForDead"], errors: ["ERR_STREAM_RESET", "ERR_DIAL_REFUSED"] },
};

/** Five streams, each with a frame of a type that nobody knows. */
const UNKNOWN_TYPES: Plan = {
  local: { errors: Array.from({ length: 5 }, () => "ERR_COMMAND_UNSUPPORTED") },
  remote: { errors: Array.from({ length: 5 }, () => "ERR_PROTOCOL") },
};

const UNKNOWN_FRAMES: Plan = {
  local: { errors: ["ERR_PROTOCOL"] },
  remote: { errors: ["ERR_COMMAND_UNSUPPORTED"] },
};

/** Every copied transcript. An empty plan: the same bytes, and nothing else to say. */
export const PLANS: Readonly<Record<string, Plan>> = {
  // One stream, as pong-go talks to itself.
  "tcp-connect-ipv4-dst-closes": DST_CLOSES,
  "tcp-connect-domain-dst-closes": DST_CLOSES,
  "tcp-connect-ipv4-app-closes": { local: {}, remote: { freedoms: ["silenceForDead"] } },
  "tcp-app-half-closes": DST_CLOSES,
  "tcp-dst-refuses": {
    local: { errors: ["ERR_DIAL_REFUSED"] },
    remote: { errors: ["ERR_DIAL_REFUSED"] },
  },
  "tcp-dst-resets": {
    local: { errors: ["ERR_CONNECTION_RESET"] },
    remote: { errors: ["ERR_CONNECTION_RESET"] },
  },
  "tcp-socks-pipelined-and-small-chunks": { local: {}, remote: {} },
  "tcp-upload-100k": DST_CLOSES,
  "transport-tls-open": DST_CLOSES,
  "transport-ws-open": DST_CLOSES,
  "transport-ws-20k-fragments": DST_CLOSES,
  "tcp-idle-connection-closes": DST_CLOSES,
  "tcp-socks-udp-associate": { local: {}, remote: {} },

  // Several streams.
  "tcp-two-streams-interleaved": DST_CLOSES,
  "tcp-three-streams-two-per-connection": DST_CLOSES,

  // HEAD.
  "head-tcp-connect-ipv4-dst-closes": DST_CLOSES,
  "head-tcp-connect-ipv4-app-closes": {
    local: { errors: ["ERR_DIAL_TIMEOUT"] },
    remote: {
      freedoms: ["finishIsHalfClose", "lateAnswerIsSent"],
      errors: ["ERR_IDLE_TIMEOUT"], // the recorded target never ended
      later: [frame(Type.rst, 1, RstCode.readTimeout)],
    },
  },
  "head-tcp-download-100k": DST_CLOSES,
  "head-tcp-dst-refuses": {
    local: { errors: ["ERR_DIAL_REFUSED"] },
    remote: { errors: ["ERR_DIAL_REFUSED"] },
  },
  "head-tcp-name-unresolvable": {
    local: { errors: ["ERR_DNS"] },
    remote: { errors: ["ERR_DNS"] },
  },
  "head-tcp-small-chunks-dropped": {
    local: { freedoms: ["allChunksSent"] },
    remote: { freedoms: ["allChunksSent"] },
  },
  "head-transport-ws-open": DST_CLOSES,

  // A remote that plays tricks on a pong-go local.
  "local-vs-probe-data-close": {
    local: {},
    // That local saw a CLOSE and answered nothing; ours waits for its own, then says it.
    remote: { freedoms: ["finishForClose"], later: [frame(Type.close, 1)] },
  },
  "local-vs-probe-data-finish": { local: {}, remote: {} },
  "head-local-vs-probe-data-finish": { local: {}, remote: {} },
  "local-vs-probe-odd-pieces": { local: {}, remote: { freedoms: ["freeCuts"] } },
  "local-vs-probe-remote-opens-stream-direct": {
    local: { freedoms: ["inwardStreamsRefused"] },
    remote: {},
  },
  "local-vs-probe-remote-opens-stream-proxied": {
    local: { freedoms: ["inwardStreamsRefused"] },
    // Stream 3 was finished by the local, and its target stays quiet.
    remote: { errors: ["ERR_IDLE_TIMEOUT"], later: [frame(Type.rst, 3, RstCode.readTimeout)] },
  },
  "local-vs-probe-rst-forms": {
    local: { errors: RST_FORMS },
    remote: { freedoms: ["codeInEveryRst"], errors: RST_FORMS },
  },
  "local-vs-probe-unknown-frames": UNKNOWN_FRAMES,
  "head-local-vs-probe-unknown-frames": UNKNOWN_FRAMES,

  // A local that plays tricks on a pong-go remote.
  "probe-client-close-and-rst": CLOSE_AND_RST,
  "head-probe-client-close-and-rst": CLOSE_AND_RST,
  "probe-client-finish": {
    local: { errors: ["ERR_STREAM_RESET"] },
    remote: {
      freedoms: ["finishForClose"],
      errors: ["ERR_PROTOCOL"],
      later: [frame(Type.close, 1)],
    },
  },
  "head-probe-client-finish": {
    local: { errors: ["ERR_DIAL_TIMEOUT", "ERR_DIAL_TIMEOUT"] },
    remote: {
      freedoms: ["finishIsHalfClose", "dataAfterFinish"],
      errors: ["ERR_PROTOCOL", "ERR_IDLE_TIMEOUT"],
      later: [frame(Type.rst, 1, RstCode.readTimeout)],
    },
  },
  "probe-frames-for-dead-ids": { local: {}, remote: {} },
  "probe-large-data-frames": { local: { freedoms: ["freeCuts"] }, remote: {} },
  "probe-malformed-lengths": {
    local: {},
    remote: { freedoms: ["badAddressCostsOneStream"], lost: { 2: "ERR_PROTOCOL" } },
  },
  "probe-rst-with-text-kills-remote": {
    local: { lost: { 1: "ERR_TUNNEL_LOST" } },
    // Ours outlives the text, reads it, and loses that one stream; then the probe hangs up.
    remote: {
      freedoms: ["outlivesText"],
      errors: ["ERR_DIAL_REFUSED"],
      lost: { 1: "ERR_TUNNEL_LOST" },
    },
  },
  "probe-set-on-id-0": { local: {}, remote: {} },
  "probe-stream-id-rules": {
    local: {},
    remote: { freedoms: ["silenceForDead", "streamZeroIgnored"] },
  },
  "probe-unknown-client-id": {
    local: "pong-link.test.ts",
    remote: "pong-link.test.ts",
  },
  "probe-unknown-type-on-live-stream": UNKNOWN_TYPES,
  "head-probe-unknown-type-on-live-stream": UNKNOWN_TYPES,
  "probe-ws-ping-origin-text": {
    local: "none: what the probe did at the WebSocket's level, no local does",
    remote: "pong-transports.test.ts",
  },
};
