import { ProtocolError } from "../../errors.ts";
import { toGoJson } from "./go-json.ts";
import { fromUuid, toUuid } from "./message-reader.ts";
import {
  type ControlMessage,
  type DirectCandidate,
  type DirectCapabilities,
  type DirectRendezvous,
  type DirectStatus,
  type Log,
  MessageType,
  type Partners,
} from "./messages.ts";

/** Messages whose body is a JSON object. */
export type JsonMessage = Exclude<
  ControlMessage,
  { readonly type: "connector" | "connectorResponse" }
>;

/**
 * Reads the JSON body of a message. Keys match in any case and unknown ones are ignored; `null` and
 * absent members are empty, as in the reference.
 *
 * Spec: linksocks 1.12-1.16, 5.1.
 *
 * @throws ProtocolError when a member has the wrong form, or there is too much of it
 */
export function decodeJson(type: number, body: Uint8Array): JsonMessage {
  if (body.byteLength > MAX_JSON_BYTES) {
    throw new ProtocolError(`JSON of ${body.byteLength} bytes exceeds ${MAX_JSON_BYTES}`);
  }
  const fields = new Fields(JSON.parse(new TextDecoder().decode(body)));
  switch (type) {
    case MessageType.log:
      return { type: "log", level: fields.text("level"), text: fields.text("msg") };
    case MessageType.partners:
      return { type: "partners", count: fields.integer("count") };
    case MessageType.directCapabilities:
      return {
        type: "directCapabilities",
        sessionId: fields.uuid("session_id"),
        candidates: fields.list("candidates").map(toCandidate),
        discoveries: fields.list("discoveries").map(toText),
        publicKey: fields.base64("public_key"),
      };
    case MessageType.directRendezvous:
      return {
        type: "directRendezvous",
        sessionId: fields.uuid("session_id"),
        remoteSessionId: fields.uuid("remote_session_id"),
        candidates: fields.list("candidates").map(toCandidate),
        publicKey: fields.base64("public_key"),
      };
    case MessageType.directStatus: {
      const metrics = new Fields(fields.member("metrics"));
      return {
        type: "directStatus",
        sessionId: fields.uuid("session_id"),
        status: fields.text("status"),
        rttMs: metrics.integer("rtt_ms"),
        lossPpm: metrics.integer("loss_ppm"),
        reason: metrics.text("reason"),
      };
    }
    default:
      throw new ProtocolError(`message type ${type} has no JSON`);
  }
}

/** The JSON of a message, spelled as the reference spells it. */
export function encodeJson(message: JsonMessage): string {
  return toGoJson(plainOf(message));
}

function plainOf(message: JsonMessage): object {
  switch (message.type) {
    case "log":
      return plainLog(message);
    case "partners":
      return plainPartners(message);
    case "directCapabilities":
      return plainCapabilities(message);
    case "directRendezvous":
      return plainRendezvous(message);
    case "directStatus":
      return plainStatus(message);
  }
}

function plainLog({ level, text }: Log): object {
  return { level, msg: text };
}

function plainPartners({ count }: Partners): object {
  return { count };
}

function plainCapabilities(message: DirectCapabilities): object {
  return {
    session_id: message.sessionId,
    candidates: unlessEmpty(message.candidates.map(plainCandidate)),
    discoveries: unlessEmpty(message.discoveries),
    public_key: base64(message.publicKey),
  };
}

function plainRendezvous(message: DirectRendezvous): object {
  return {
    session_id: message.sessionId,
    remote_session_id: message.remoteSessionId,
    candidates: unlessEmpty(message.candidates.map(plainCandidate)),
    public_key: base64(message.publicKey),
  };
}

function plainStatus({ sessionId, status, rttMs, lossPpm, reason }: DirectStatus): object {
  return {
    session_id: sessionId,
    status,
    metrics: {
      rtt_ms: rttMs === 0 ? undefined : rttMs,
      loss_ppm: lossPpm === 0 ? undefined : lossPpm,
      reason: reason === "" ? undefined : reason,
    },
  };
}

function plainCandidate({ address, port, kind }: DirectCandidate): object {
  return { addr: address, port, kind: kind === "" ? undefined : kind };
}

function unlessEmpty<Item>(items: readonly Item[]): readonly Item[] | undefined {
  return items.length === 0 ? undefined : items;
}

function base64(bytes: Uint8Array): string | undefined {
  return bytes.byteLength === 0 ? undefined : Buffer.from(bytes).toString("base64");
}

function toCandidate(value: unknown): DirectCandidate {
  const fields = new Fields(value);
  return { address: fields.text("addr"), port: fields.integer("port"), kind: fields.text("kind") };
}

function toText(value: unknown): string {
  if (typeof value === "string") return value;
  throw new ProtocolError("a list of texts holds something else");
}

/** The members of a JSON object. */
class Fields {
  readonly #members = new Map<string, unknown>();

  constructor(value: unknown) {
    if (value === null || value === undefined) return;
    if (typeof value !== "object" || Array.isArray(value)) {
      throw new ProtocolError("JSON is no object");
    }
    for (const [key, member] of Object.entries(value)) {
      this.#members.set(key.toLowerCase(), member);
    }
  }

  member(name: string): unknown {
    return this.#members.get(name) ?? undefined;
  }

  text(name: string): string {
    const value = this.member(name) ?? "";
    if (typeof value === "string") return value;
    throw new ProtocolError(`${name} is no text`);
  }

  integer(name: string): number {
    const value = this.member(name) ?? 0;
    if (typeof value === "number" && Number.isSafeInteger(value)) return value;
    throw new ProtocolError(`${name} is no integer`);
  }

  list(name: string): readonly unknown[] {
    const value = this.member(name) ?? [];
    if (!Array.isArray(value)) throw new ProtocolError(`${name} is no list`);
    if (value.length <= MAX_ITEMS) return value;
    throw new ProtocolError(`${name} has ${value.length} items, more than ${MAX_ITEMS}`);
  }

  uuid(name: string): string {
    const digits = fromUuid(this.text(name) || NIL_UUID);
    if (digits === undefined) throw new ProtocolError(`${name} is no UUID`);
    return toUuid(digits);
  }

  base64(name: string): Uint8Array {
    const text = this.text(name);
    if (/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text)) {
      return Uint8Array.from(Buffer.from(text, "base64"));
    }
    throw new ProtocolError(`${name} is no base64`);
  }
}

const NIL_UUID = "00000000-0000-0000-0000-000000000000";

/** The reference's own bodies stay below 2 KiB; logs may be longer. */
const MAX_JSON_BYTES = 256 * 1024;

/** Candidates or discoveries; the reference sends a handful. */
const MAX_ITEMS = 64;
