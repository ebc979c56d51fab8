import type { MuxDriver } from "./mux-driver.ts";
import type { MuxPackets } from "./mux-packets.ts";
import type { MuxStream } from "./mux-stream.ts";
import type { Request, PacketRequest } from "./request.ts";

/** The wish that a stream of a multiplexed link stands for. */
export function muxRequest<Message>(
  link: MuxDriver<Message>,
  stream: MuxStream,
  request: Omit<Request, "accept" | "reject">,
): Request {
  return {
    ...request,
    accept: () => {
      link.accept(stream);
      return stream;
    },
    reject: (error) => stream.reset(error),
  };
}

/** The same for an association. */
export function muxPacketRequest<Message>(
  link: MuxDriver<Message>,
  channel: MuxPackets,
  request: Omit<PacketRequest, "accept" | "reject">,
): PacketRequest {
  return {
    ...request,
    accept: () => {
      link.accept(channel);
      return channel;
    },
    reject: (error) => channel.close(error),
  };
}
