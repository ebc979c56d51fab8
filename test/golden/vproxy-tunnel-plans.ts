import type { FreedomName } from "./vproxy-tunnel-freedoms.ts";
import type { Side } from "./vproxy-tunnel-transcript.ts";

/** How one end of a scenario is replayed. */
export interface EndPlan {
  readonly freedoms?: readonly FreedomName[];
  /** How the tunnels ended, by connection: the code our end reports. */
  readonly over?: Readonly<Record<number, string>>;
  /** Whether our end compresses as the recorded one did, frame by frame. */
  readonly compress?: boolean;
}

const PROBE = "the recorded end was a probe";

/** A plan for both ends of every scenario, or why there is none. */
export const PLANS: Readonly<Record<string, Readonly<Record<Side, EndPlan | string>>>> = {
  "kcp-agent-idle-pong-and-ping": { client: { freedoms: ["ticksDoNotDrift"] }, server: {} },
  "kcp-agent-loss-10-percent": { client: {}, server: {} },
  "kcp-agent-session": { client: {}, server: {} },
  "kcp-client-goaway-from-server": {
    client: { over: { 1: "ERR_TUNNEL_LOST" } },
    server: PROBE,
  },
  "kcp-client-keepalive-timeout-goaway": {
    client: { over: { 1: "ERR_PEER_SILENT" } },
    server: PROBE,
  },
  "kcp-client-server-frames": { client: {}, server: PROBE },
  "kcp-negative-first-frame": {
    client: PROBE,
    server: {
      over: {
        1: "ERR_PROTOCOL",
        2: "ERR_PROTOCOL",
        3: "ERR_PROTOCOL",
        4: "ERR_PROTOCOL",
        5: "ERR_TUNNEL_LOST",
      },
    },
  },
  "kcp-negative-goaway-reasons": {
    client: PROBE,
    server: {
      freedoms: ["noLateFin"],
      over: Object.fromEntries([1, 2, 3, 4, 5, 6].map((conn) => [conn, "ERR_PROTOCOL"])),
    },
  },
  "kcp-negative-junk-datagram": { client: PROBE, server: { freedoms: ["survivesJunk"] } },
  "kcp-server-goaway-from-client": { client: PROBE, server: { over: { 1: "ERR_TUNNEL_LOST" } } },
  "kcp-server-ping-variants": { client: PROBE, server: {} },
  "kcp-server-psh-fin": { client: PROBE, server: {} },
  "kcp-server-rst": { client: PROBE, server: { freedoms: ["noLateFin"] } },
  "kcp-server-stream-ids-and-early-data": { client: PROBE, server: {} },
  "kcptun-bulk-100k-each-way": { client: {}, server: {} },
  "kcptun-client-app-resets": { client: {}, server: {} },
  "kcptun-close-by-target": { client: {}, server: {} },
  "kcptun-four-streams": { client: {}, server: {} },
  "kcptun-gzip-boundary": { client: { compress: true }, server: { compress: true } },
  "kcptun-half-close-late-answer": { client: {}, server: {} },
  "kcptun-keepalive-both-ways": { client: { freedoms: ["ticksDoNotDrift"] }, server: {} },
  "kcptun-loss-10-percent": { client: {}, server: {} },
  "kcptun-session-small": { client: {}, server: {} },
  "kcptun-target-refused": { client: {}, server: {} },
};
