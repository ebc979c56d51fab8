import { formatTarget, type Target } from "../address/target.ts";
import type { TunnelError } from "../errors.ts";
import type { ConnectionInfo } from "../tunnel/connection.ts";
import { type Logger, silentLogger } from "../tunnel/logger.ts";
import type { Packet, PacketChannel, PacketHandler } from "../tunnel/packets.ts";
import type { Metadata, Outbound } from "../tunnel/request.ts";
import { SaidOnce } from "../tunnel/said-once.ts";
import type { Policy } from "./exit-policy.ts";

/**
 * The same way out behind a policy, for outbounds that resolve nothing themselves: an upstream
 * proxy, a tunnel. What a name stands for is then the far end's to judge; `direct` asks by itself.
 * Denied datagrams are dropped, with one line for each target of an association.
 */
export function guardOutbound(
  outbound: Outbound,
  policy: Policy,
  logger: Logger = silentLogger,
): Outbound {
  const guarded: Outbound = {
    name: outbound.name,
    dial: async (target, options) => {
      const denied = policy.checkUnresolved(target, options.metadata);
      if (denied !== undefined) throw denied;
      return await outbound.dial(target, options);
    },
  };
  const associate = outbound.associate?.bind(outbound);
  if (associate === undefined) return guarded;
  return {
    ...guarded,
    associate: async (options) => {
      const { metadata } = options;
      const guard = { policy, logger, metadata, via: outbound.name };
      return new GuardedPackets(await associate(options), guard);
    },
  };
}

interface Guard {
  readonly policy: Policy;
  readonly logger: Logger;
  readonly metadata: Metadata;
  readonly via: string;
}

class GuardedPackets implements PacketChannel {
  readonly #channel: PacketChannel;
  readonly #guard: Guard;
  readonly #said = new SaidOnce();

  constructor(channel: PacketChannel, guard: Guard) {
    this.#channel = channel;
    this.#guard = guard;
  }

  get info(): ConnectionInfo {
    return this.#channel.info;
  }

  attach(handler: PacketHandler): void {
    this.#channel.attach(handler);
  }

  send(packet: Packet): void {
    const { policy, logger, metadata, via } = this.#guard;
    const target: Target = { network: "udp", host: packet.host, port: packet.port };
    const denied = policy.checkUnresolved(target, metadata);
    if (denied === undefined) {
      this.#channel.send(packet);
      return;
    }
    const to = formatTarget(target);
    if (!this.#said.isFirst(to)) return;
    const { user, source, inbound: from } = metadata;
    const { message: reason, code } = denied;
    logger.info("datagrams dropped", { user, source, from, to, via, reason, code });
  }

  close(error?: TunnelError): void {
    this.#channel.close(error);
  }
}
