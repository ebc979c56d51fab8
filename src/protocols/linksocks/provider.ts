import { TunnelError } from "../../errors.ts";
import { muxPacketRequest, muxRequest } from "../../tunnel/mux-request.ts";
import type { OnRequest, OnPacketRequest } from "../../tunnel/request.ts";
import type { ControlMessage } from "./messages.ts";
import { type LinkSocksDialOptions, type LinkSocksStatus, Threads } from "./threads.ts";

/** What a provider needs. */
export interface LinkSocksProviderOptions extends LinkSocksDialOptions {
  /** Where the wishes of the far side go. */
  readonly onRequest: OnRequest;
  readonly onPacketRequest?: OnPacketRequest | undefined;
  /** Tokens of connectors to announce, for a provider that may manage its own. */
  readonly connectors?: readonly string[] | undefined;
}

/** The provider: dials out and lends our network to the far side. */
export class LinkSocksProvider {
  readonly #options: LinkSocksProviderOptions;
  readonly #threads: Threads;
  /** Connectors asked for on this WebSocket, by request id. */
  readonly #asked = new Map<string, string>();
  readonly #known = new Set<string>();
  #isClosing = false;

  constructor(options: LinkSocksProviderOptions) {
    this.#options = options;
    const { name, onRequest, onPacketRequest } = options;
    const metadata = { inbound: name, source: name };
    this.#threads = new Threads(options, {
      role: { takesStreams: true, opensStreams: false, isProvider: true },
      onChange: () => {},
      onRequest: (driver, { stream, target, signal }) => {
        if (this.#isClosing) return stream.reset(SHUTTING_DOWN);
        onRequest(muxRequest(driver, stream, { target, metadata, signal }));
      },
      onPacketRequest: (driver, { channel, signal }) => {
        if (this.#isClosing || onPacketRequest === undefined) return channel.close(NO_DATAGRAMS);
        onPacketRequest(muxPacketRequest(driver, channel, { metadata, signal }));
      },
      onMessage: (message) => this.#hear(message),
      onUp: (index, send) => {
        if (index === 0) this.#announce(send);
      },
    });
  }

  start(): void {
    this.#threads.start();
  }

  status(): LinkSocksStatus {
    return this.#threads.status();
  }

  /** Takes nothing more, lets running streams finish for `graceMs`, then ends every WebSocket. */
  async close(graceMs: number): Promise<void> {
    this.#isClosing = true;
    await this.#threads.close(graceMs);
  }

  #announce(send: (message: ControlMessage) => void): void {
    this.#asked.clear();
    for (const token of this.#options.connectors ?? []) {
      const requestId = crypto.randomUUID().replaceAll("-", "");
      this.#asked.set(requestId, token);
      send({ type: "connector", requestId, token, operation: "add" });
    }
  }

  #hear(message: ControlMessage): void {
    if (message.type !== "connectorResponse") return;
    const token = this.#asked.get(message.requestId);
    if (token === undefined) return;
    this.#asked.delete(message.requestId);
    const { logger, name } = this.#options;
    if (message.error === undefined) {
      this.#known.add(token);
      logger.info("connector added", { tunnel: name });
      return;
    }
    // A server of the reference still holds ours from before the loss.
    const isOurs = this.#known.has(token);
    logger[isOurs ? "info" : "warn"]("connector not added", {
      tunnel: name,
      reason: message.error,
      hint: isOurs ? undefined : "choose another connector token, or ask the server's operator",
    });
  }
}

const SHUTTING_DOWN = new TunnelError("ERR_SHUTDOWN", "shutting down");

const NO_DATAGRAMS = new TunnelError("ERR_COMMAND_UNSUPPORTED", "no datagrams here");
