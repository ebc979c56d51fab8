import { sentBytes, type Transcript } from "./transcript.ts";
import { cutFrames, frame, Type, type WireFrame } from "./pong-frames.ts";

/** One place where the protocol leaves an end free, and ours does not do what pong-go did. */
export interface Freedom {
  /** Section of the pong specification. */
  readonly spec: string;
  readonly why: string;
  /** Turns the recorded frames into those we must send. */
  readonly apply: (
    recorded: readonly WireFrame[],
    transcript: Transcript,
    conn: number,
  ) => readonly WireFrame[];
}

/** Their names. */
export type FreedomName =
  | "finishForClose"
  | "silenceForDead"
  | "finishIsHalfClose"
  | "lateAnswerIsSent"
  | "dataAfterFinish"
  | "finishHeld"
  | "closeForRst"
  | "codeInEveryRst"
  | "allChunksSent"
  | "freeCuts"
  | "inwardStreamsRefused"
  | "streamZeroIgnored"
  | "badAddressCostsOneStream"
  | "outlivesText";

/** Every such place. What is not listed is compared byte for byte. */
export const FREEDOMS: Readonly<Record<FreedomName, Freedom>> = {
  finishForClose: {
    spec: "2.5",
    why: "CLOSE right behind DATA cuts answers off; our remote ends with FINISH and waits for CLOSE",
    apply: (recorded) => recorded.map((it) => (it.type === Type.close ? { ...it, type: 7 } : it)),
  },
  silenceForDead: {
    spec: "2.3",
    why: "CLOSE and RST forget the id; pong-go's RST 16 for it is an echo nobody needs",
    apply: without((it) => isRst(it, 16)),
  },
  finishIsHalfClose: {
    spec: "2.4",
    why: "FINISH ends one direction; HEAD takes it for an abort and answers RST 16",
    apply: without((it) => isRst(it, 16)),
  },
  lateAnswerIsSent: {
    spec: "2.4",
    why: "after FINISH the target's answer is sent; HEAD has dropped the stream",
    apply: (recorded, transcript) => [
      ...recorded,
      ...transcript.lines
        .filter(({ layer, from, event, at }) => {
          return layer === "dst" && from === "server" && event === "data" && at > LATE_MS;
        })
        .map(({ bytes }) => ({ id: 1, type: Type.data, payload: bytes })),
    ],
  },
  dataAfterFinish: {
    spec: "2.3",
    why: "DATA after FINISH is answered with RST 1 as at v0.9.4; HEAD has forgotten the id by then",
    apply: (recorded) => [...recorded, frame(Type.rst, 3, 1)],
  },
  finishHeld: {
    spec: "2.5",
    why: "our local holds FINISH back from a remote that may be HEAD, where it would be an abort",
    apply: without(({ type }) => type === Type.finish),
  },
  closeForRst: {
    spec: "2.3",
    why: "a local that gives up says CLOSE; only remotes send RST",
    apply: (recorded) =>
      recorded.map((it) => (it.type === Type.rst ? frame(Type.close, it.id) : it)),
  },
  codeInEveryRst: {
    spec: "1.5",
    why: "our remote always gives a code of the table: 50 where the probe sent none, or 200",
    apply: (recorded) =>
      recorded.map((it) =>
        it.type === Type.rst && ![5, 16].includes(it.payload[0] ?? 0)
          ? frame(Type.rst, it.id, 50)
          : it,
      ),
  },
  allChunksSent: {
    spec: "1.6",
    why: "HEAD drops reads of 30 bytes or less; ours drops nothing",
    apply: (recorded, { name, lines }) => {
      const isLocal = recorded[0]?.type === Type.connect;
      const chunks = lines.filter(({ layer, from, event, at }) => {
        const isOwner = isLocal ? layer === "app" && from === "client" : layer === "dst";
        return event === "data" && isOwner && (isLocal || from === "server") && at > 50;
      });
      if (chunks.length === 0) throw new Error(`${name} has no chunks`);
      const opening = recorded.filter(({ type }) => type === Type.connect);
      return [...opening, ...chunks.map(({ bytes }) => ({ id: 1, type: 0, payload: bytes }))];
    },
  },
  freeCuts: {
    spec: "1.6",
    why: "the probe sent DATA of up to 57344 bytes; ours cuts at 8096, which every receiver takes",
    apply: (recorded) => recorded,
  },
  inwardStreamsRefused: {
    spec: "1.7",
    why: "a pong-go local dials into its own network for the remote; ours refuses with RST 2",
    apply: (recorded, transcript) => {
      const asked = cutFrames(
        sentBytes(transcript, { layer: transcript.wireLayer, from: "server", conn: 1 }),
      ).frames.filter(({ type }) => type === Type.connect);
      return [
        ...recorded.filter(({ id }) => id === 1),
        ...asked.map(({ id }) => frame(Type.rst, id, 2)),
      ];
    },
  },
  streamZeroIgnored: {
    spec: "1.7",
    why: "CONNECT on 0 takes over an id of the remote's choice at pong-go; ours opens nothing",
    apply: without(({ id }) => id === 1),
  },
  badAddressCostsOneStream: {
    spec: "1.4",
    why: "a CONNECT cut short costs that stream (RST 8); pong-go closes the connection",
    apply: (recorded, _, conn) => (conn === 1 ? [...recorded, frame(Type.rst, 1, 8)] : recorded),
  },
  outlivesText: {
    spec: "1.5",
    why: "a text in RST kills pong-go, with every connection; ours goes on, and ends stream 1 later",
    apply: (recorded, _, conn) => (conn === 1 ? [...recorded, frame(Type.finish, 1)] : recorded),
  },
};

function without(isGone: (it: WireFrame) => boolean): Freedom["apply"] {
  return (recorded) => recorded.filter((it) => !isGone(it));
}

function isRst({ type, payload }: WireFrame, code: number): boolean {
  return type === Type.rst && payload[0] === code;
}

/** In the scenario with a late answer, everything up to here was before FINISH. */
const LATE_MS = 300;
