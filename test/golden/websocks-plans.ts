import type { ErrorCode } from "../../src/errors.ts";

/** Where ours differs from the recording on one connection, and why. */
export interface WebSocksFreedom {
  readonly why: string;
  /** What our server answers instead: the whole of it behind the 101, or the status of a page. */
  readonly answers?: string | number;
  /** What became of the target at our server; @default it is reached */
  readonly target?: ErrorCode | "resets";
  /** What our client makes of the recorded answers; @default a stream */
  readonly fails?: ErrorCode;
}

const PAGE = "a page ends its connection: what the recording does behind it is left out";

/** By scenario and connection. What is not here is the same, byte for byte. */
export const WEBSOCKS_FREEDOMS: Readonly<
  Record<string, Readonly<Record<number, WebSocksFreedom>> | undefined>
> = {
  "ws-agent-refused-target": {
    1: {
      why: "the original says success before it dials; ours says what became of it",
      answers: "827f7fffffffffffffff 0500 05050001000000006d8b",
      target: "ERR_DIAL_REFUSED",
    },
  },
  "ws-close-variants": {
    4: { why: "a reset of the target stays one", target: "resets" },
  },
  "ws-socks-replies": {
    3: { why: "the name does not resolve", target: "ERR_DNS", fails: "ERR_DNS" },
    4: { why: "BIND", fails: "ERR_COMMAND_UNSUPPORTED" },
    5: { why: "UDP ASSOCIATE", fails: "ERR_COMMAND_UNSUPPORTED" },
    6: { why: "address type 2", fails: "ERR_ADDRESS_UNSUPPORTED" },
    7: { why: "no method in common", fails: "ERR_TUNNEL_LOST" },
    8: { why: "version 4", fails: "ERR_TUNNEL_LOST" },
    9: {
      why: "payload behind the request is kept, not a mistake",
      answers: "827f7fffffffffffffff 0500 05000001000000006d8b",
      fails: "ERR_DIAL_FAILED",
    },
  },
  "ws-auth-refused": {
    1: { why: PAGE, fails: "ERR_AUTH" },
    2: { why: PAGE, fails: "ERR_AUTH" },
    3: { why: PAGE, fails: "ERR_REFUSED_FOR_GOOD" },
    4: { why: PAGE, fails: "ERR_REFUSED_FOR_GOOD" },
    5: { why: PAGE, fails: "ERR_REFUSED_FOR_GOOD" },
    6: { why: PAGE, fails: "ERR_REFUSED_FOR_GOOD" },
    7: { why: PAGE, fails: "ERR_REFUSED_FOR_GOOD" },
    8: { why: PAGE, fails: "ERR_REFUSED_FOR_GOOD" },
  },
  "ws-plain-http": {
    2: { why: "a request without a field is answered", answers: 400 },
    7: { why: "so is what is no HTTP", answers: 400 },
  },
};
