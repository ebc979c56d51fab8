import type { HostPort } from "../../address/socks-address.ts";
import { ConfigError, ProtocolError, toTunnelError } from "../../errors.ts";
import { decodeJson, encodeJson } from "./json-messages.ts";
import { type Memory, NEW_MEMORY } from "./memory.ts";
import { fromUuid, ID_BYTES, MessageReader } from "./message-reader.ts";
import {
  type Auth,
  type ChannelId,
  type Connector,
  type ConnectorResponse,
  type ConnectTcp,
  type ConnectUdp,
  type ConnectUnknown,
  type ConnectResponse,
  type DataTcp,
  type DataUdp,
  type DataUnknown,
  type Disconnect,
  type Malformed,
  type Message,
  MessageType,
  type Unknown,
} from "./messages.ts";

/**
 * Reads one WebSocket message: `version u8 | type u8 | …`. Never throws: what cannot be read comes
 * back as {@link Malformed}. Bytes behind the last field are ignored, unknown types survive.
 *
 * Spec: linksocks 1. Reference: linksocks `message.go`, `ParseMessageWithVersion`.
 */
export function parseMessage(
  bytes: Uint8Array,
  maxBytes: number = Number.POSITIVE_INFINITY,
): Message | Malformed {
  const [version, type] = bytes;
  if (version === undefined || type === undefined) {
    return malformed(undefined, undefined, new ProtocolError("message too short"));
  }
  if (version >> 4 !== VERSION >> 4) {
    const text = `unsupported protocol major version: peer=${describeVersion(version)} local=${describeVersion(VERSION)}`;
    return malformed(type, undefined, new ProtocolError(text));
  }
  if (bytes.byteLength > maxBytes) {
    const text = `message of ${bytes.byteLength} bytes exceeds ${maxBytes}`;
    return malformed(type, channelOf(type, bytes), new ProtocolError(text));
  }
  const reader = new MessageReader(bytes, HEADER_BYTES);
  try {
    return parseBody(type, reader);
  } catch (thrown) {
    const cause = toTunnelError(thrown, "ERR_PROTOCOL", "message");
    const error = new ProtocolError(complaintOf(type, bytes.byteLength), { cause });
    return malformed(type, channelOf(type, bytes), error);
  }
}

/**
 * The bytes of a message. Error texts are cut to what one length octet can say; what must not be
 * cut is refused.
 *
 * @throws ConfigError when a token exceeds 255 bytes; ProtocolError when a host does
 */
export function encodeMessage(message: Message): Uint8Array {
  switch (message.type) {
    case "auth":
      return encodeAuth(message);
    case "authResponse":
      return join(MessageType.authResponse, outcome(message.error));
    case "connect":
      return encodeConnect(message);
    case "connectResponse":
      return encodeConnectResponse(message);
    case "data":
      return encodeAnyData(message);
    case "disconnect":
      return encodeDisconnect(message);
    case "connector":
      return encodeConnector(message);
    case "connectorResponse":
      return encodeConnectorResponse(message);
    case "finish":
      return join(MessageType.finish, id(message.channelId));
    case "window":
      return join(MessageType.window, id(message.channelId), u32(message.increment));
    case "unknown":
      return join(message.messageType, message.body);
    case "log":
    case "partners":
    case "directCapabilities":
    case "directRendezvous":
    case "directStatus": {
      const json = utf8(encodeJson(message));
      return join(MessageType[message.type], u32(json.byteLength), json);
    }
  }
}

/** What every Data message of a TCP channel begins with, for {@link encodeData}. */
export function dataHeader(channelId: ChannelId): Uint8Array {
  return join(MessageType.data, octets(PROTOCOL_BYTES.tcp), id(channelId));
}

/**
 * One Data message of a TCP channel: a single chunk, so the payload is copied.
 *
 * @param memory where the message's own comes from
 */
export function encodeData(
  header: Uint8Array,
  { compression, payload }: { readonly compression: number; readonly payload: Uint8Array },
  memory: Memory,
): Uint8Array {
  const bytes = memory.allocate(DATA_HEADER_BYTES + payload.byteLength);
  const { byteLength } = payload;
  bytes.set(header, 0);
  let at = header.byteLength;
  bytes[at++] = compression;
  for (let shift = 24; shift >= 0; shift -= 8) bytes[at++] = byteLength >>> shift;
  bytes.set(payload, at);
  return bytes;
}

/** `text` in UTF-8, cut between two characters so that its length fits one octet. */
export function shortText(text: string): Uint8Array {
  const bytes = utf8(text);
  if (bytes.byteLength <= MAX_TEXT_BYTES) return bytes;
  let end = MAX_TEXT_BYTES;
  while (isContinuation(bytes[end] ?? 0)) end--;
  return bytes.subarray(0, end);
}

function parseBody(type: number, reader: MessageReader): Message {
  switch (type) {
    case MessageType.auth:
      return {
        type: "auth",
        token: reader.text(),
        isReverse: reader.u8() !== 0,
        instance: reader.uuid(),
      };
    case MessageType.authResponse:
      return { type: "authResponse", error: failure(reader.u8() !== 0, reader) };
    case MessageType.connect:
      return parseConnect(reader);
    case MessageType.data:
      return parseData(reader);
    case MessageType.connectResponse: {
      const isSuccess = reader.u8() !== 0;
      const channelId = reader.id();
      return { type: "connectResponse", channelId, error: failure(isSuccess, reader) };
    }
    case MessageType.disconnect: {
      const channelId = reader.id();
      return { type: "disconnect", channelId, error: reader.textOrNothing() ?? "" };
    }
    case MessageType.connector:
      return parseConnector(reader);
    case MessageType.connectorResponse:
      return parseConnectorResponse(reader);
    case MessageType.log:
    case MessageType.partners:
    case MessageType.directCapabilities:
    case MessageType.directRendezvous:
    case MessageType.directStatus:
      return decodeJson(type, reader.bytes(reader.u32()));
    case MessageType.finish:
      if (reader.left < ID_BYTES) return parseUnknown(type, reader);
      return { type: "finish", channelId: reader.id() };
    case MessageType.window:
      if (reader.left < ID_BYTES + 4) return parseUnknown(type, reader);
      return { type: "window", channelId: reader.id(), increment: reader.u32() };
    default:
      return parseUnknown(type, reader);
  }
}

/** Also for numbers of ours that a stranger uses for something else. */
function parseUnknown(messageType: number, reader: MessageReader): Unknown {
  return { type: "unknown", messageType, body: reader.bytes(reader.left) };
}

function parseConnect(reader: MessageReader): ConnectTcp | ConnectUdp | ConnectUnknown {
  const protocolByte = reader.u8();
  const protocol = protocolOf(protocolByte);
  const channelId = reader.id();
  if (protocol === "udp") return { type: "connect", protocol, channelId };
  if (protocol === "unknown") return { type: "connect", protocol, protocolByte, channelId };
  return { type: "connect", protocol, channelId, ...reader.hostPort() };
}

function parseData(reader: MessageReader): DataTcp | DataUdp | DataUnknown {
  const protocolByte = reader.u8();
  const protocol = protocolOf(protocolByte);
  const channelId = reader.id();
  const compression = reader.u8();
  const payload = reader.bytes(reader.u32());
  const data = { type: "data", channelId, compression, payload } as const;
  if (protocol === "tcp") return { ...data, protocol };
  if (protocol === "unknown") return { ...data, protocol, protocolByte };
  return { ...data, protocol, source: reader.hostPort(), target: reader.hostPort() };
}

function parseConnector(reader: MessageReader): Connector {
  const requestId = reader.id();
  const token = reader.text();
  const operation = reader.u8();
  if (operation !== Operation.add && operation !== Operation.remove) {
    throw new ProtocolError(`operation ${operation} is not 1 or 2`);
  }
  const name = operation === Operation.add ? "add" : "remove";
  return { type: "connector", requestId, token, operation: name };
}

function parseConnectorResponse(reader: MessageReader): ConnectorResponse {
  const requestId = reader.id();
  const isSuccess = reader.u8() !== 0;
  const text = reader.textOrNothing();
  return {
    type: "connectorResponse",
    requestId,
    error: isSuccess ? undefined : (text ?? ""),
    token: isSuccess ? text : undefined,
  };
}

/** Laxer than the reference: a failure may lack its text, as the Worker server's does. Spec: 2.9. */
function failure(isSuccess: boolean, reader: MessageReader): string | undefined {
  return isSuccess ? undefined : (reader.textOrNothing() ?? "");
}

function malformed(
  messageType: number | undefined,
  channelId: ChannelId | undefined,
  error: ProtocolError,
): Malformed {
  return { type: "malformed", messageType, channelId, error };
}

/** What the reference tells a client whose login it cannot read, and the like for the others. */
function complaintOf(type: number, byteLength: number): string {
  if (type !== MessageType.auth) {
    return `linksocks message type ${type} of ${byteLength} bytes is malformed`;
  }
  return byteLength === HEADER_BYTES ? "invalid auth message" : "invalid auth message length";
}

/** The channel of a message that could not be read to its end. */
function channelOf(type: number, bytes: Uint8Array): ChannelId | undefined {
  const at = CHANNEL_OFFSETS[type];
  if (at === undefined || bytes.byteLength < at + ID_BYTES) return undefined;
  return new MessageReader(bytes, at).id();
}

function describeVersion(version: number): string {
  const digits = version.toString(16).toUpperCase().padStart(2, "0");
  return `0x${digits} (major=${version >> 4} minor=${version & 0x0f})`;
}

function encodeAuth({ token, isReverse, instance }: Auth): Uint8Array {
  return join(
    MessageType.auth,
    tokenText(token),
    octets(isReverse ? 1 : 0),
    id(fromUuid(instance) ?? ""),
  );
}

function encodeConnect(message: ConnectTcp | ConnectUdp | ConnectUnknown): Uint8Array {
  const protocol =
    message.protocol === "unknown" ? message.protocolByte : PROTOCOL_BYTES[message.protocol];
  const head = [octets(protocol), id(message.channelId)];
  if (message.protocol === "tcp") head.push(hostPort(message));
  return join(MessageType.connect, ...head);
}

function encodeConnectResponse({ channelId, error }: ConnectResponse): Uint8Array {
  const success = octets(error === undefined ? 1 : 0);
  return join(MessageType.connectResponse, success, id(channelId), failureText(error));
}

function encodeAnyData(message: DataTcp | DataUdp | DataUnknown): Uint8Array {
  const { channelId, compression, payload } = message;
  if (message.protocol === "tcp") return encodeData(dataHeader(channelId), message, NEW_MEMORY);
  const protocol =
    message.protocol === "unknown" ? message.protocolByte : PROTOCOL_BYTES[message.protocol];
  const parts = [octets(protocol), id(channelId), octets(compression), u32(payload.byteLength)];
  parts.push(payload);
  if (message.protocol === "udp") parts.push(hostPort(message.source), hostPort(message.target));
  return join(MessageType.data, ...parts);
}

function encodeDisconnect({ channelId, error }: Disconnect): Uint8Array {
  const text = error === "" ? NO_BYTES : withLength(shortText(error));
  return join(MessageType.disconnect, id(channelId), text);
}

function encodeConnector({ requestId, token, operation }: Connector): Uint8Array {
  const code = octets(Operation[operation]);
  return join(MessageType.connector, id(requestId), tokenText(token), code);
}

function encodeConnectorResponse({ requestId, error, token }: ConnectorResponse): Uint8Array {
  const added = error === undefined && token !== undefined ? tokenText(token) : NO_BYTES;
  return join(MessageType.connectorResponse, id(requestId), outcome(error), added);
}

/** `success u8`, and behind a failure its text. */
function outcome(error: string | undefined): Uint8Array {
  return Buffer.concat([octets(error === undefined ? 1 : 0), failureText(error)]);
}

/** The reference's socket dies of a failure without its text's length. */
function failureText(error: string | undefined): Uint8Array {
  return error === undefined ? NO_BYTES : withLength(shortText(error));
}

function hostPort({ host, port }: HostPort): Uint8Array {
  const name = utf8(host);
  if (name.byteLength > MAX_TEXT_BYTES) {
    throw new ProtocolError(`host of ${name.byteLength} bytes exceeds ${MAX_TEXT_BYTES}`);
  }
  return Buffer.concat([withLength(name), octets(port >> 8, port & 0xff)]);
}

function tokenText(token: string): Uint8Array {
  const bytes = utf8(token);
  if (bytes.byteLength <= MAX_TEXT_BYTES) return withLength(bytes);
  const text = `token of ${bytes.byteLength} bytes exceeds ${MAX_TEXT_BYTES}`;
  throw new ConfigError(text, { code: "ERR_CREDENTIAL", hint: "use a shorter token" });
}

function join(type: number, ...parts: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat([octets(VERSION, type), ...parts]);
}

function withLength(text: Uint8Array): Uint8Array {
  return Buffer.concat([octets(text.byteLength), text]);
}

function id(digits: ChannelId): Uint8Array {
  const bytes = Buffer.from(digits, "hex");
  if (bytes.byteLength === ID_BYTES) return bytes;
  throw new ProtocolError(`id of ${bytes.byteLength} bytes is not one of ${ID_BYTES}`);
}

function u32(value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function octets(...values: readonly number[]): Uint8Array {
  return Uint8Array.from(values);
}

function utf8(text: string): Uint8Array {
  return Buffer.from(text, "utf8");
}

function isContinuation(octet: number): boolean {
  return octet >> 6 === 0b10;
}

function protocolOf(octet: number): "tcp" | "udp" | "unknown" {
  if (octet === PROTOCOL_BYTES.tcp) return "tcp";
  return octet === PROTOCOL_BYTES.udp ? "udp" : "unknown";
}

const PROTOCOL_BYTES = { tcp: 0x01, udp: 0x02 } as const;
const Operation = { add: 0x01, remove: 0x02 } as const;

/** Major 0, minor 1; minors may differ. */
const VERSION = 0x01;
/** Version and type. */
const HEADER_BYTES = 2;
/** Version, type, protocol, channel, compression, length. */
const DATA_HEADER_BYTES: number = HEADER_BYTES + 1 + ID_BYTES + 1 + 4;
/** What one length octet can say: the longest host, token and error text, bytes. */
export const MAX_TEXT_BYTES = 255;

/** Where messages that belong to a channel name it. */
const CHANNEL_OFFSETS: Readonly<Record<number, number | undefined>> = {
  [MessageType.connect]: 3,
  [MessageType.data]: 3,
  [MessageType.connectResponse]: 3,
  [MessageType.disconnect]: 2,
};

const NO_BYTES = new Uint8Array(0);
