import type { RecordedFrame } from "./vproxy-tunnel-transcript.ts";

/** Where our end may say something else than the recorded one, and why. */
export interface Freedom {
  /** Section of the specification. */
  readonly spec: string;
  readonly why: string;
  /** What our end says, from what was recorded of the end in its place. */
  apply(
    recorded: readonly RecordedFrame[],
    all: readonly RecordedFrame[],
  ): readonly RecordedFrame[];
}

/** One of {@link FREEDOMS}. */
export type FreedomName = "noLateFin" | "survivesJunk" | "ticksDoNotDrift";

/** All of them. Frame cuts and compression are no matter of these: frames are compared without. */
export const FREEDOMS: Readonly<Record<FreedomName, Freedom>> = {
  noLateFin: {
    spec: "3.8",
    why: "a stream that was reset, and a tunnel that failed, are over: nothing follows",
    apply: (recorded) =>
      recorded.filter((frame, at) => {
        const before = recorded.slice(0, at);
        const isOver = before.some(
          (it) => isGoaway(it) || (isRst(it) && it.streamId === frame.streamId),
        );
        return !(isFin(frame) && isOver);
      }),
  },
  survivesJunk: {
    spec: "2.4",
    why: "a datagram that is no KCP costs the reference its tunnel; ours answers the PING behind it",
    apply: (recorded, all) => {
      const asked = all.find(({ type, from }) => type === 0x06 && from === "client");
      const isAnswered = recorded.some(({ type }) => type === 0x06);
      if (asked === undefined || isAnswered) return recorded;
      return [...recorded, { ...asked, from: "server", flags: 1 }];
    },
  },
  ticksDoNotDrift: {
    spec: "3.7",
    why: "its ticks come some milliseconds later each time, and meet the server's PING; ours asks just before",
    apply: (recorded) =>
      recorded.flatMap((frame) => {
        if (frame.type !== 0x06 || frame.flags !== 1) return [frame];
        const payload = Buffer.from([0, 0, 0, 0, 0, 0, 0, 3]);
        return [{ ...frame, flags: 0, payload }, frame];
      }),
  },
};

function isFin({ type, flags, payload }: RecordedFrame): boolean {
  return type === 0x00 && flags === 0x01 && payload.byteLength === 0;
}

function isRst({ type, flags }: RecordedFrame): boolean {
  return type === 0x01 && flags === 0x01;
}

function isGoaway({ type }: RecordedFrame): boolean {
  return type === 0x07;
}
