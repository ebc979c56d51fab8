import type { HostPort } from "../../address/socks-address.ts";
import type { ProtocolError } from "../../errors.ts";

/** Message types, in the order of the specification; from 0x20 on: between two Sluice ends only. */
export const MessageType = {
  auth: 0x01,
  authResponse: 0x02,
  connect: 0x03,
  data: 0x04,
  connectResponse: 0x05,
  disconnect: 0x06,
  connector: 0x07,
  connectorResponse: 0x08,
  log: 0x09,
  partners: 0x0a,
  directCapabilities: 0x0b,
  directRendezvous: 0x0c,
  directStatus: 0x0d,
  finish: 0x20,
  window: 0x21,
} as const;

/** 16 bytes as 32 lower-case hexadecimal digits: a channel, or the id of a connector's request. */
export type ChannelId = string;

/** The plain token, for servers that were not told its hash in the URL. Spec: linksocks 1.4. */
export interface Auth {
  readonly type: "auth";
  readonly token: string;
  /** Whether we come as a provider. */
  readonly isReverse: boolean;
  /** The client's instance, as UUID text. */
  readonly instance: string;
}

/** The server's answer to a login. Spec: linksocks 1.5. */
export interface AuthResponse {
  readonly type: "authResponse";
  /** `undefined`: welcome. A refusal may have an empty text. */
  readonly error: string | undefined;
}

/** Asks for a TCP target. Spec: linksocks 1.6. */
export interface ConnectTcp extends HostPort {
  readonly type: "connect";
  readonly protocol: "tcp";
  readonly channelId: ChannelId;
}

/** Asks for a UDP association. */
export interface ConnectUdp {
  readonly type: "connect";
  readonly protocol: "udp";
  readonly channelId: ChannelId;
}

/** Asks for something we do not know. */
export interface ConnectUnknown {
  readonly type: "connect";
  readonly protocol: "unknown";
  readonly protocolByte: number;
  readonly channelId: ChannelId;
}

/** The exit's answer to a Connect. Spec: linksocks 1.7. */
export interface ConnectResponse {
  readonly type: "connectResponse";
  readonly channelId: ChannelId;
  /** `undefined`: the target was reached. A failure may have an empty text. */
  readonly error: string | undefined;
}

/** What Data of every protocol has. Spec: linksocks 1.8. */
interface AnyData {
  readonly type: "data";
  readonly channelId: ChannelId;
  /** Raw octet: {@link Compression}, everything else means as it is. */
  readonly compression: number;
  /** As it stands on the wire. After decoding it shares memory with the message. */
  readonly payload: Uint8Array;
}

/** A piece of a TCP stream. */
export interface DataTcp extends AnyData {
  readonly protocol: "tcp";
}

/** One datagram. */
export interface DataUdp extends AnyData {
  readonly protocol: "udp";
  /** Toward the SOCKS side: where it came from. Else an empty host and port 0. */
  readonly source: HostPort;
  /** Toward the exit: where it goes. Else an empty host and port 0. */
  readonly target: HostPort;
}

/** Data of something we do not know. */
export interface DataUnknown extends AnyData {
  readonly protocol: "unknown";
  readonly protocolByte: number;
}

/** The end of a channel, both ways. Spec: linksocks 1.9. */
export interface Disconnect {
  readonly type: "disconnect";
  readonly channelId: ChannelId;
  /** Empty or `EOF`: in order. */
  readonly error: string;
}

/** An autonomy provider's wish for a connector token. Spec: linksocks 1.10. */
export interface Connector {
  readonly type: "connector";
  /** Names the request in its answer. */
  readonly requestId: ChannelId;
  /** Empty with `add`: the server makes one up. */
  readonly token: string;
  readonly operation: "add" | "remove";
}

/** The server's answer to it. Spec: linksocks 1.11. */
export interface ConnectorResponse {
  readonly type: "connectorResponse";
  readonly requestId: ChannelId;
  /** `undefined`: done. */
  readonly error: string | undefined;
  /** The token that was added; absent when one was removed. */
  readonly token: string | undefined;
}

/** Text for the other side's log, and hellos. It is raw: clean it before it reaches a terminal. Spec: linksocks 1.12. */
export interface Log {
  readonly type: "log";
  /** `trace`, `debug`, `info`, `warn`, `error`, or whatever the peer wrote. */
  readonly level: string;
  readonly text: string;
}

/** How many of the other kind are there. Spec: linksocks 1.13. */
export interface Partners {
  readonly type: "partners";
  readonly count: number;
}

/** A UDP address that a peer of the direct mode may be reached at. */
export interface DirectCandidate {
  readonly address: string;
  readonly port: number;
  /** `srflx`, `host`, or empty. */
  readonly kind: string;
}

/** What a peer of the direct mode offers; the server relays it. Spec: linksocks 1.14. */
export interface DirectCapabilities {
  readonly type: "directCapabilities";
  /** UUID text. */
  readonly sessionId: string;
  readonly candidates: readonly DirectCandidate[];
  readonly discoveries: readonly string[];
  /** Empty when absent. */
  readonly publicKey: Uint8Array;
}

/** The answer to it. Spec: linksocks 1.15. */
export interface DirectRendezvous {
  readonly type: "directRendezvous";
  readonly sessionId: string;
  readonly remoteSessionId: string;
  readonly candidates: readonly DirectCandidate[];
  readonly publicKey: Uint8Array;
}

/** How a direct path does. Spec: linksocks 1.16. */
export interface DirectStatus {
  readonly type: "directStatus";
  readonly sessionId: string;
  /** `probing`, `ready`, `failed`, `degraded`, or whatever the peer wrote. */
  readonly status: string;
  /** 0 when absent. */
  readonly rttMs: number;
  /** 0 when absent. */
  readonly lossPpm: number;
  /** Empty when absent. */
  readonly reason: string;
}

/** Between two Sluice ends: the sender half-closed the channel. `version type channel(16)`. */
export interface Finish {
  readonly type: "finish";
  readonly channelId: ChannelId;
}

/** Between two Sluice ends: the channel may send so much more. `version type channel(16) increment(4)`. */
export interface Window {
  readonly type: "window";
  readonly channelId: ChannelId;
  readonly increment: number;
}

/** A type we do not know, which everybody ignores. Spec: linksocks 1.1. */
export interface Unknown {
  readonly type: "unknown";
  readonly messageType: number;
  readonly body: Uint8Array;
}

/** What belongs to one channel. */
export type ChannelMessage =
  | ConnectTcp
  | ConnectUdp
  | ConnectUnknown
  | ConnectResponse
  | DataTcp
  | DataUdp
  | DataUnknown
  | Disconnect
  | Finish
  | Window;

/** What a client or server acts on itself. */
export type ControlMessage =
  | Log
  | Partners
  | Connector
  | ConnectorResponse
  | DirectCapabilities
  | DirectRendezvous
  | DirectStatus;

/** One WebSocket message. */
export type Message = Auth | AuthResponse | ChannelMessage | ControlMessage | Unknown;

/** What could not be read, and whom it costs. */
export interface Malformed {
  readonly type: "malformed";
  /** The type octet, where there was one. */
  readonly messageType: number | undefined;
  /** The channel that it was about, where that could be read. */
  readonly channelId: ChannelId | undefined;
  /** Its message is fit for the wire: what the reference says where it says anything. */
  readonly error: ProtocolError;
}

/** What Data can say of its payload. */
export const Compression = { none: 0x00, gzip: 0x01 } as const;
