/** The public door of the package; nothing else is API. */
export { connect, type ConnectOptions, type Tunnel, type TunnelEvents } from "./library/connect.ts";
export {
  provide,
  type ProvideOptions,
  type Provider,
  type ProviderEvents,
} from "./library/provide.ts";
export { serve, type Server, type ServeOptions, type ServerEvents } from "./library/serve.ts";
export { type App, type AppOptions, startApp } from "./app.ts";
export type { Config, ConfigInput } from "./config/config.ts";
export { parseConfig } from "./config/parse-config.ts";
export {
  type Blame,
  blameOf,
  ConfigError,
  type ErrorCode,
  MisuseError,
  NetworkError,
  PolicyError,
  ProtocolError,
  StreamReset,
  TunnelError,
} from "./errors.ts";
export type { TunnelState } from "./registry/system.ts";
export type { StreamEvent } from "./relay/relay.ts";
export type { Logger } from "./tunnel/logger.ts";
export type { Packet, PacketChannel, PacketHandler } from "./tunnel/packets.ts";
