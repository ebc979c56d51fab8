import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { LogRecorder } from "../../../test/support/log-recorder.ts";
import { manualRuntime } from "../../../test/support/test-client.ts";
import { turns } from "../../../test/support/turns.ts";
import { NetworkError, TunnelError } from "../../errors.ts";
import type { Connection } from "../../tunnel/connection.ts";
import { connectionPair } from "../../tunnel/connection-pair.ts";
import type { MuxStream } from "../../tunnel/mux-stream.ts";
import { KcpCarrier } from "./kcp-carrier.ts";
import { TunnelServer } from "./tunnel/tunnel-server.ts";

describe("the carrier of WebSocks over KCP", () => {
  test("opens streams on one tunnel, dialled once for all who wait", async () => {
    const house = new House();
    const { carrier } = house;
    assert.equal(house.dials, 0, "nothing is dialled before it is wanted");
    const opened = await Promise.all([1, 2, 3].map(() => carrier.open(never())));
    await carrier.open(never());
    await turns();
    assert.equal(house.dials, 1);
    assert.equal(house.streams.length, 4);
    assert.deepEqual({ ...opened[0]?.info }, { transport: "kcp", local: "server", peer: "host:1" });
  });

  test("dials again after the tunnel was lost", async () => {
    const house = new House();
    const stream = await house.carrier.open(never());
    const closed = new Promise<TunnelError | undefined>((resolve) => {
      const nothing = (): void => {};
      stream.attach({ onData: nothing, onEnd: nothing, onDrain: nothing, onClose: resolve });
      stream.resume();
    });
    house.lose();
    assert.equal((await closed)?.code, "ERR_TUNNEL_LOST");
    await house.carrier.open(never());
    assert.equal(house.dials, 2);
  });

  test("says why there is no tunnel, and tries again for the next who asks", async () => {
    const house = new House();
    house.failure = new NetworkError("ERR_DIAL_REFUSED", "nobody listens");
    await assert.rejects(house.carrier.open(never()), { code: "ERR_DIAL_REFUSED" });
    house.failure = undefined;
    await house.carrier.open(never());
    assert.equal(house.dials, 2);
  });

  test("gives up on a server that does not answer the handshake", async () => {
    const house = new House({ isMute: true });
    const opened = assert.rejects(house.carrier.open(never()), { code: "ERR_HANDSHAKE_TIMEOUT" });
    await turns();
    house.runtime.clock.advance(5_000);
    await opened;
  });

  test("lets one who waits go, and not the others", async () => {
    const house = new House({ isMute: true });
    const impatient = new AbortController();
    const gone = assert.rejects(house.carrier.open(impatient.signal), { code: "ERR_ABORTED" });
    const patient = assert.rejects(house.carrier.open(never()), { code: "ERR_HANDSHAKE_TIMEOUT" });
    impatient.abort(new TunnelError("ERR_ABORTED", "enough"));
    await gone;
    await turns();
    house.runtime.clock.advance(5_000);
    await patient;
    assert.equal(house.dials, 1);
  });

  test("ends its tunnels, and dials no more", async () => {
    const house = new House();
    await house.carrier.open(never());
    house.carrier.close();
    await turns();
    assert.equal(house.server.tunnelCount, 0);
    await assert.rejects(house.carrier.open(never()), { code: "ERR_SHUTDOWN" });
    assert.equal(house.dials, 1);
  });
});

/** A carrier, and a server of tunnels behind its dialer. */
class House {
  readonly runtime = manualRuntime();
  readonly streams: MuxStream[] = [];
  readonly server: TunnelServer;
  readonly carrier: KcpCarrier;
  dials = 0;
  failure: NetworkError | undefined;
  #far: Connection | undefined;

  constructor({ isMute = false }: { readonly isMute?: boolean } = {}) {
    const { runtime } = this;
    const logger = new LogRecorder();
    this.server = new TunnelServer({
      runtime,
      logger,
      system: "kcp",
      target: { network: "tcp", host: "host", port: 1 },
      onStream: ({ stream, link }) => {
        link.accept(stream);
        this.streams.push(stream);
      },
    });
    this.carrier = new KcpCarrier({
      name: "house",
      server: { host: "host", port: 1 },
      runtime,
      logger,
      dialer: {
        description: "memory",
        dial: () => {
          this.dials++;
          if (this.failure !== undefined) return Promise.reject(this.failure);
          const [near, far] = connectionPair(runtime, { names: ["client", "server"] });
          this.#far = far;
          if (!isMute) this.server.accept(far);
          return Promise.resolve(near);
        },
      },
    });
  }

  lose(): void {
    this.#far?.reset(new NetworkError("ERR_CONNECTION_RESET", "lost"));
  }
}

function never(): AbortSignal {
  return new AbortController().signal;
}
