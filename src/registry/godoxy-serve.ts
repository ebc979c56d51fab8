import { hostname } from "node:os";
import type { Target } from "../address/target.ts";
import { agentEnvironment } from "../certificates/agent-environment.ts";
import { GodoxyAgent } from "../protocols/godoxy/agent.ts";
import { createAgentApi } from "../protocols/godoxy/api/agent-api.ts";
import { listenDtls } from "../transports/dtls/listen.ts";
import { bindUdp } from "../transports/udp/bind.ts";
import type { Listener } from "../tunnel/connection.ts";
import type { PeerIdentity } from "../tunnel/datagram-connection.ts";
import { askedDialer } from "./asked-dialer.ts";
import { type GodoxyIdentity, openAgentIdentity } from "./godoxy-identity.ts";
import { listenGodoxy } from "./godoxy-listener.ts";
import type { TunnelSystem } from "./system.ts";

/** Listens as an agent: on TCP for streams and the HTTPS API, or on UDP for datagrams. */
export const serveGodoxy: NonNullable<TunnelSystem["serve"]> = async (config, context, hooks) => {
  const { name, runtime, logger, secrets } = context;
  const { transport, host, port, options } = config.url;
  const { keepalive: keepaliveMs } = options;
  const { onRequest, onPacketRequest } = hooks;
  const agent = new GodoxyAgent({ name, runtime, logger, onRequest, onPacketRequest });
  let onChange = (_identity: GodoxyIdentity): void => {};
  const identity = await openAgentIdentity(config, context, (changed) => onChange(changed));
  const environment = agentEnvironment(secrets.environment);
  if (environment.skipsClientCertificates === true) {
    logger.warn("AGENT_SKIP_CLIENT_CERT_CHECK is not followed: certificates decide who may enter", {
      listener: name,
    });
  }
  const api = createAgentApi({
    name: environment.name ?? hostname(),
    runtime,
    logger,
    dial: async (target: Target, signal: AbortSignal) =>
      await askedDialer(onRequest, {
        runtime,
        metadata: { inbound: name, source: "HTTPS API" },
      })(target, signal),
  });
  const listenTls = async (): Promise<Listener> => {
    const listener = await listenGodoxy({
      runtime,
      logger,
      at: { host, port },
      keepaliveMs,
      tls: identity.current(),
      onStream: (connection, peer) => agent.accept(connection, clientOf(peer)),
      onHttp: (socket, peer) =>
        api.accept(socket, { address: socket.remoteAddress ?? "-", ...clientOf(peer) }),
    });
    onChange = ({ cert, key }) => listener.replaceCertificate(cert, key);
    return listener;
  };
  const listenUdp = async (): Promise<Listener> => {
    const dtls = { ...identity.current() };
    onChange = (changed) => void Object.assign(dtls, changed); // for handshakes from now on
    return await listenDtls({
      runtime,
      at: { host, port },
      bindUdp,
      dtls,
      onHandshakeError: ({ message: reason }) =>
        logger.warn("connection refused", { listener: name, phase: "dtls handshake", reason }),
      onConnection: (connection) => {
        if (connection.identity === undefined) connection.close();
        else agent.acceptDatagrams(connection, clientOf(connection.identity));
      },
    });
  };
  return {
    listen: async () => await (transport === "dtls" ? listenUdp() : listenTls()),
    close: async (graceMs) => {
      identity.close();
      await agent.close(graceMs);
      await api.close(graceMs);
    },
  };
};

function clientOf({ name, pin }: PeerIdentity): { readonly name: string; readonly key: string } {
  return { name, key: pin };
}
