import assert from "node:assert/strict";
import dgram from "node:dgram";
import { once } from "node:events";
import { describe, test } from "node:test";
import { tcpOrigin } from "../../test/support/origin.ts";
import { connect } from "./connect.ts";
import { provide } from "./provide.ts";
import { serve } from "./serve.ts";

describe("LinkSocks as a library", { timeout: 30_000 }, () => {
  test("meets its provider at a server, for streams and for datagrams", async () => {
    await using origin = await tcpOrigin((socket) => void socket.pipe(socket));
    await using server = await serve("linksocks+ws://127.0.0.1:0", {
      providers: { office: "provider-token" },
      connectors: { me: { token: "connector-token", provider: "office" } },
    });
    const place = server.address.replace(/\/.*$/, "");
    await using provider = await provide(`linksocks+ws://provider-token@${place}`, {
      allow: ["127.0.0.0/8"],
    });
    await using tunnel = connect(`linksocks+ws://connector-token@${place}`);
    const stream = await tunnel.open({ host: "127.0.0.1", port: origin.port });
    stream.end("through the office");
    assert.equal(Buffer.concat(await stream.toArray()).toString(), "through the office");
    const echo = dgram.createSocket("udp4");
    echo.on("message", (data, { port, address }) => echo.send(data, port, address));
    echo.bind(0, "127.0.0.1");
    await once(echo, "listening");
    const { port } = echo.address();
    const association = await tunnel.associate();
    const answer = await new Promise<string>((resolve) => {
      association.attach({
        onPacket: ({ data }) => resolve(Buffer.from(data).toString()),
        onClose: () => resolve("closed"),
      });
      association.send({ host: "127.0.0.1", port, data: Buffer.from("ping") });
    });
    assert.equal(answer, "ping");
    association.close();
    echo.close();
    assert.equal(provider.status()?.state, "up");
  });

  test("tells a provider with a wrong token that it is refused for good", async () => {
    await using server = await serve("linksocks+ws://127.0.0.1:0", { clients: { a: "token" } });
    const place = server.address.replace(/\/.*$/, "");
    await using provider = await provide(`linksocks+ws://wrong@${place}`);
    const [error] = await once(provider.events, "refused");
    assert.ok(error instanceof Error && "code" in error);
    assert.equal(error.code, "ERR_REFUSED_FOR_GOOD");
    assert.match(error.message, /invalid token/);
  });
});
