import type { Line } from "./linksocks-transcript.ts";
import { channelOf, failureOf, Type, typeOf } from "./linksocks-wire.ts";

/** One place where ours does not do what the reference did. */
export interface Freedom {
  /** Section of the LinkSocks specification. */
  readonly spec: string;
  readonly why: string;
  /** Turns the recorded lines into what is played and expected. */
  readonly apply: (lines: readonly Line[]) => readonly Line[];
}

/** Their names. */
export type FreedomName =
  | "leavesForEnds"
  | "answerAfterTheEnd"
  | "endReachesTheOtherSide"
  | "targetMaySpeakAlone"
  | "nothingForWhoLeft"
  | "heldUntilAnswered"
  | "countsOfOneToken"
  | "fragmentsDropped";

/** Every such place that more than one line is about; plans list the others. */
export const FREEDOMS: Readonly<Record<FreedomName, Freedom>> = {
  leavesForEnds: {
    spec: "3.8",
    why: "the reference takes an application's end for its death; ours waits for the answer, so here the application really leaves",
    apply: (lines) =>
      lines.map((line, at) => {
        const isEnd = line.layer === "socks-tcp" && line.event === "end" && line.from === "client";
        const isLast = lines
          .slice(0, at)
          .every((it) => it.conn !== line.conn || it.event !== "end");
        return isEnd && isLast ? { ...line, event: "reset" } : line;
      }),
  },
  answerAfterTheEnd: {
    spec: "3.8",
    why: "what the target says behind the application's end reaches it; the reference has closed by then",
    apply: (lines) => {
      const kept = lines.filter(({ layer, event, from, bytes }) => {
        const isOurEnd = layer === "socks-tcp" && event === "end" && from === "server";
        return !isOurEnd && !(layer === "ws" && typeOf(bytes) === Type.disconnect);
      });
      const late = kept.findLast(({ layer, from }) => layer === "ws" && from === "server");
      const app = kept.find(({ layer }) => layer === "socks-tcp");
      if (late === undefined || app === undefined) throw new Error("no late answer");
      const bytes = late.bytes.subarray(DATA_HEADER_BYTES);
      return [...kept, { ...app, from: "server", event: "data", bytes }];
    },
  },
  endReachesTheOtherSide: {
    spec: "3.4",
    why: "the reference's server sends a connector's Disconnect back to it; ours passes it on to the provider",
    apply: (lines) => {
      const ended = new Map<string, number>();
      return lines.flatMap((line) => {
        const { layer, bytes, conn, from } = line;
        if (layer !== "ws" || typeOf(bytes) !== Type.disconnect) return [line];
        const channel = channelOf(bytes) ?? "";
        if (from === "client") {
          ended.set(channel, conn);
          return [line];
        }
        if (ended.get(channel) !== conn) return [line];
        const asked = lines.find(
          (it) =>
            it.layer === "ws" &&
            it.from === "server" &&
            typeOf(it.bytes) === Type.connect &&
            channelOf(it.bytes) === channel,
        );
        return asked === undefined ? [] : [{ ...line, conn: asked.conn }];
      });
    },
  },
  targetMaySpeakAlone: {
    spec: "3.8",
    why: "a target that ended may still be spoken to, until the application ends too; the reference closes it at once",
    apply: (lines) => {
      const ended = new Set<number>();
      return lines.filter(({ layer, event, conn, from }) => {
        if (layer !== "target-tcp" || event !== "end") return true;
        if (from === "server") ended.add(conn);
        return from === "server" || !ended.has(conn);
      });
    },
  },
  nothingForWhoLeft: {
    spec: "3.8",
    why: "a Disconnect ends the channel at our exit at once; the reference sends on for five seconds",
    apply: (lines) => {
      const ended = new Set<string>();
      return lines.filter(({ layer, bytes, from }) => {
        if (layer !== "ws") return true;
        const channel = channelOf(bytes) ?? "";
        if (from === "client" && typeOf(bytes) === Type.disconnect) ended.add(channel);
        if (from === "client" && typeOf(bytes) === Type.connect) ended.delete(channel);
        return from === "client" || !ended.has(channel);
      });
    },
  },
  heldUntilAnswered: {
    spec: "3.4",
    why: "first bytes wait for the answer, since a server may lose what overtakes it; the reference sends them, also for what then fails",
    apply: (lines) => {
      const failed = new Set(
        lines.flatMap(({ layer, bytes }) =>
          layer === "ws" && failureOf(bytes) !== undefined ? [channelOf(bytes)] : [],
        ),
      );
      return lines.filter(({ layer, bytes }) => {
        const isHeld = typeOf(bytes) === Type.data || typeOf(bytes) === Type.disconnect;
        return layer !== "ws" || !isHeld || !failed.has(channelOf(bytes));
      });
    },
  },
  countsOfOneToken: {
    spec: "3.9",
    why: "the reference tells connectors how many providers all tokens have together",
    apply: (lines) =>
      lines.filter(({ layer, bytes }) => layer !== "ws" || typeOf(bytes) !== Type.partners),
  },
  fragmentsDropped: {
    spec: "3.11",
    why: "a fragment is not a datagram: ours drops it, the reference passes it on",
    apply: (lines) => lines.filter(({ bytes }) => !bytes.includes("frag")),
  },
};

const DATA_HEADER_BYTES = 24;
