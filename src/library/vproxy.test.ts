import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, test } from "node:test";
import { CertificateFactory } from "../../test/support/certificates.ts";
import { tcpOrigin } from "../../test/support/origin.ts";
import { skipWithout } from "../../test/support/which.ts";
import { connect } from "./connect.ts";
import { serve } from "./serve.ts";

describe("vproxy as a library", { skip: skipWithout("openssl"), timeout: 60_000 }, () => {
  for (const transport of ["tcp", "tls", "kcp", "kcp+tls"]) {
    test(`opens streams over ${transport}`, async () => {
      await using origin = await tcpOrigin((socket) => void socket.pipe(socket));
      using factory = new CertificateFactory();
      const identity = factory.make();
      const hasTls = transport.endsWith("tls");
      await using server = await serve(`vproxy+${transport}://127.0.0.1:0`, {
        clients: { alice: "env:ALICE" },
        allow: ["127.0.0.0/8"],
        env: { ALICE: "secret" },
        ...(hasTls ? identity : {}),
      });
      const pin = hasTls ? `?pin=${encodeURIComponent(factory.pin(identity))}` : "";
      const url = `vproxy+${transport}://alice:env:PW@${server.address}${pin}`;
      await using tunnel = connect(url, { env: { PW: "secret" } });
      const streams = Array.from({ length: 8 }, async (_, index) => {
        const stream = await tunnel.open({ host: "127.0.0.1", port: origin.port });
        stream.end(`number ${index}`);
        assert.equal(Buffer.concat(await stream.toArray()).toString(), `number ${index}`);
      });
      await Promise.all(streams);
      assert.equal(tunnel.status().state, "up");
    });
  }

  test("takes the user and the password from one place, and hears that they are wrong", async () => {
    await using server = await serve("vproxy+tcp://127.0.0.1:0", { clients: { alice: "secret" } });
    const url = `websocks://env:LOGIN@${server.address}`;
    await using tunnel = connect(url, { env: { LOGIN: "alice:wrong" } });
    const [error] = await once(tunnel.events, "refused");
    assert.ok(error instanceof Error && "code" in error);
    assert.equal(error.code, "ERR_REFUSED_FOR_GOOD");
    await using odd = connect(url, { env: { LOGIN: "alice" } });
    await assert.rejects(odd.open({ host: "127.0.0.1", port: 1 }), /is not user:password/);
  });

  test("opens streams of kcptun, wherever they are said to lead", async () => {
    await using origin = await tcpOrigin((socket) => void socket.end("the one target"));
    const target = `127.0.0.1:${origin.port}`;
    await using server = await serve(`kcptun+kcp://127.0.0.1:0?target=${target}`);
    await using tunnel = connect(`kcptun+kcp://${server.address}`);
    const stream = await tunnel.open({ host: "anywhere.example", port: 1 });
    stream.end();
    assert.equal(Buffer.concat(await stream.toArray()).toString(), "the one target");
  });
});
