import type { Clock } from "../../clock/clock.ts";
import { encodeMessage } from "./codec.ts";
import type {
  ControlMessage,
  DirectCapabilities,
  DirectRendezvous,
  DirectStatus,
} from "./messages.ts";
import type { Peer } from "./peer.ts";

/** Settings of {@link DirectSignalling}. */
export interface DirectSignallingOptions {
  readonly isEnabled: boolean;
  readonly clock: Clock;
  readonly wallTime: () => Date;
}

/**
 * Relays what connectors and providers of one group say to find a direct path between them. The
 * server takes no part in it. Messages are written anew, so nothing unknown passes.
 *
 * Spec: linksocks 5.1. Reference: `server.go`, `forwardDirectMessageFromClient`.
 */
export class DirectSignalling {
  readonly #options: DirectSignallingOptions;
  readonly #spent = new WeakMap<Peer, Spent>();

  constructor(options: DirectSignallingOptions) {
    this.#options = options;
  }

  get isEnabled(): boolean {
    return this.#options.isEnabled;
  }

  /** Says that we relay. */
  greet(peer: Peer): void {
    if (this.isEnabled) peer.send({ type: "log", level: "debug", text: SERVER_HELLO });
  }

  /** Takes what has to do with the direct mode, and leaves the rest. */
  hear(peer: Peer, message: ControlMessage): void {
    if (!this.isEnabled) return;
    switch (message.type) {
      case "log":
        if (isHello(message.text)) this.#welcome(peer);
        break;
      case "directCapabilities":
        this.#relay(peer, message, () => (peer.direct.capabilities = message));
        break;
      case "directRendezvous":
        this.#relay(peer, message, () => (peer.direct.rendezvous = message));
        break;
      case "directStatus":
        this.#relay(peer, message, () => (peer.direct.status = message));
        break;
      case "partners":
      case "connector":
      case "connectorResponse":
        break;
    }
  }

  /** A peer says that it can: it hears what the others offer. */
  #welcome(peer: Peer): void {
    if (!this.#mayTalk(peer)) return;
    this.#mark(peer);
    for (const { direct } of counterparts(peer)) {
      if (direct.isCapable && direct.capabilities) peer.send(direct.capabilities);
    }
  }

  #relay(peer: Peer, message: Signal, remember: () => void): void {
    if (!this.#mayTalk(peer)) return;
    const { byteLength } = encodeMessage(message);
    if (byteLength > MAX_SIGNAL_BYTES) {
      peer.logger.debug("direct signalling dropped: too long", { bytes: byteLength });
      return;
    }
    this.#mark(peer);
    remember();
    for (const other of counterparts(peer)) {
      // It may be repeated; what is behind already must not be buried under it.
      if (other.direct.isCapable && other.pendingBytes <= MAX_BEHIND_BYTES) other.send(message);
    }
  }

  #mark(peer: Peer): void {
    peer.direct.isCapable = true;
    peer.direct.updatedAt = this.#options.wallTime();
  }

  /** One message goes to many: nobody may say much of it. */
  #mayTalk(peer: Peer): boolean {
    const now = this.#options.clock.now();
    const spent = this.#spent.get(peer) ?? { from: now, messages: 0 };
    if (now - spent.from >= WINDOW_MS) {
      spent.from = now;
      spent.messages = 0;
    }
    spent.messages++;
    this.#spent.set(peer, spent);
    if (spent.messages === MAX_SIGNALS + 1)
      peer.logger.debug("direct signalling dropped: too much");
    return spent.messages <= MAX_SIGNALS;
  }
}

type Signal = DirectCapabilities | DirectRendezvous | DirectStatus;

interface Spent {
  from: number;
  messages: number;
}

/** Who may hear a peer: the other side of its group, and nobody else. */
function counterparts({ role, group }: Peer): Peer[] {
  if (group === undefined || role === "forward") return [];
  const others = role === "connector" ? group.providers : group.connectors;
  return [...others].slice(0, MAX_HEARERS);
}

function isHello(text: string): boolean {
  return text.startsWith(CLIENT_HELLO) && text.includes("direct_signaling=1");
}

const SERVER_HELLO = "linksocks_server_hello:direct_signaling=1";
const CLIENT_HELLO = "linksocks_client_hello:";

/** A dozen candidates fit many times; the reference sends less than 1 KiB. */
const MAX_SIGNAL_BYTES = 16 * 1024;

/** Messages of one peer in each {@link WINDOW_MS}; the reference sends a few per attempt. */
const MAX_SIGNALS = 50;
const WINDOW_MS = 10_000;

/** Peers that hear one message. */
const MAX_HEARERS = 64;

/** A link with more than this to say has no time for it. */
const MAX_BEHIND_BYTES = 64 * 1024;
