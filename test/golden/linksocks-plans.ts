import type { FreedomName } from "./linksocks-freedoms.ts";
import type { Role } from "./linksocks-transcript.ts";

/** How one end of ours takes part in a scenario. */
export interface Plan {
  readonly role: Role;
  readonly freedoms?: readonly FreedomName[];
  /** The codes of the SOCKS5 replies that are 4 in the recording. Spec: linksocks 3.10. */
  readonly replies?: readonly number[];
  /** Only these connections, where ours would take the others for an attack, or for another program. */
  readonly conns?: readonly number[];
  /** Another command line than the scenario's first. */
  readonly args?: readonly string[];
  /** Channels, by the first digits of their ids, that depend on the recorded machine's network. */
  readonly without?: readonly string[];
  /** Lines of the file from which on the reference went its own way, and why. */
  readonly until?: { readonly line: number; readonly why: string };
  /** What ours says beyond the recording, by the message's name. */
  readonly surplus?: Readonly<Record<string, string>>;
}

/** The application leaves where it only ended in the recording. */
const LEAVES = ["leavesForEnds"] as const;

/** An exit of ours: the reference closes both ways at once. */
const EXIT = ["targetMaySpeakAlone", "nothingForWhoLeft"] as const;

/** Forward mode, both ends. */
const FORWARD: readonly Plan[] = [
  { role: "server", freedoms: EXIT },
  { role: "client", freedoms: LEAVES },
];

const RELAY = ["endReachesTheOtherSide"] as const;

/** Every transcript with the roles it is replayed in; a text says where else. */
export const PLANS: Readonly<Record<string, readonly Plan[] | string>> = {
  "agent-bulk-gzip-relay": [
    { role: "server", freedoms: RELAY },
    { role: "client", freedoms: LEAVES },
    { role: "provider", freedoms: EXIT },
  ],
  "agent-echo-and-end": [
    {
      role: "server",
      freedoms: RELAY,
      surplus: { disconnect: "3.4: every end of the connector is passed on to the provider" },
    },
    {
      role: "client",
      freedoms: LEAVES,
      replies: [5],
    },
    { role: "provider", freedoms: EXIT },
  ],
  "agent-partners": [
    {
      role: "server",
      surplus: { partners: "3.9: told also when one of several providers or connectors leaves" },
    },
    { role: "client", replies: [3] },
    { role: "provider" },
  ],
  "auth-matrix": [
    { role: "server", conns: range(1, 12) },
    { role: "server", conns: range(13, 24) },
    // Not 28: a message of no bytes is none, and the login waits for a real one.
    { role: "server", conns: range(25, 27) },
  ],
  "auth-wrong-token": [
    { role: "server" },
    // The other connections are other programs'.
    { role: "client", conns: [1], args: ["client", "-t", "not-the-token"] },
  ],
  "autonomy-add-and-use": [
    { role: "server", freedoms: RELAY },
    { role: "client", freedoms: LEAVES },
    { role: "provider", freedoms: EXIT },
  ],
  "client-driven-by-probe-server": [
    // Not what ours takes and the reference does not: data in front of the answer. Spec: 3.3.
    {
      role: "client",
      freedoms: LEAVES,
      replies: [1, 1],
      conns: [1, 2, 3, 5, 6],
      without: ["57f80ee9"],
      surplus: { connectResponse: "1.6: a Connect of the server's is refused, not ignored" },
    },
  ],
  "client-redirect": [{ role: "client", conns: [1, 2, 3] }],
  "connector-management": [
    {
      role: "server",
      freedoms: ["countsOfOneToken"],
      until: { line: 51, why: "1.1: an operation nobody knows is answered, and the link lives on" },
      surplus: {
        partners: "3.9: the counts of one token, not of all",
        disconnect: "3.4: the channels of a connector that was removed end at the provider",
      },
    },
  ],
  "direct-signalling": [{ role: "server" }],
  "forward-auth-message-echo": FORWARD,
  "forward-bulk-compressible": FORWARD,
  "forward-connect-failures": [
    // Unreachable and silent addresses are another matter on other machines; port 0 is answered.
    { role: "server", without: ["46204070", "18339f48", "fa37b388"] },
    // Not 6: ours never asks for port 0.
    { role: "client", replies: [5, 4, 3, 6], conns: range(1, 5), without: ["fa37b388"] },
  ],
  "forward-fast-open": [
    { role: "server", freedoms: EXIT },
    { role: "client", freedoms: ["leavesForEnds", "heldUntilAnswered"] },
  ],
  "forward-half-close": [
    { role: "server", freedoms: EXIT },
    { role: "client", freedoms: ["answerAfterTheEnd"] },
  ],
  "forward-raw-fragmentation": FORWARD,
  "forward-reconnect": FORWARD,
  "forward-target-addresses": FORWARD,
  "forward-udp-targets": [{ role: "server" }, { role: "client", freedoms: ["fragmentsDropped"] }],
  "forward-url-auth-echo": FORWARD,
  "http-api": [
    {
      role: "server",
      freedoms: ["countsOfOneToken"],
      surplus: { partners: "3.9: the counts of one token, not of all" },
    },
  ],
  "http-surface": "linksocks-http-surface.test.ts",
  "reverse-echo": [
    { role: "server", freedoms: LEAVES },
    { role: "provider", freedoms: EXIT },
  ],
  "reverse-sixty-second-cut": [
    { role: "server", until: { line: 37, why: "7.1.5: ours does not cut a provider" } },
    { role: "provider", until: { line: 37, why: "ours hears of the cut at once" } },
  ],
  "reverse-socks-auth-and-errors": [
    // Not 6 and 11: the port takes SOCKS4 too, and waits for the rest of what looks like it. Not 7:
    // who offers no method is not answered. Not 8 and 9: what is not done here is answered with 7.
    { role: "server", freedoms: LEAVES, conns: [1, 2, 3, 4, 5, 10] },
    { role: "provider", freedoms: EXIT },
  ],
  "reverse-two-providers": [
    { role: "server", freedoms: LEAVES },
    { role: "provider", freedoms: EXIT },
  ],
  "server-driven-by-probe": [
    {
      role: "server",
      freedoms: EXIT,
      surplus: {
        connectResponse: "1.6: port 0 and unknown protocols are refused, not ignored",
        disconnect: "3.3: an answer to a Connect that nobody sent is answered",
      },
    },
  ],
};

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, at) => first + at);
}
