import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { clientOptions, DtlsPair, serverOptions } from "../../../test/support/dtls-pair.ts";
import { hex } from "../../../test/support/hex.ts";
import { TunnelError } from "../../errors.ts";
import { AlertDescription, decodeAlert, describeAlert } from "./alerts.ts";
import { readClientHello } from "./client-hello.ts";
import { ContentType, encodeRecord } from "./records.ts";
import { DtlsServerSession } from "./server-session.ts";

describe("alerts", () => {
  test("are two bytes with a level", () => {
    assert.deepEqual(decodeAlert(hex("0228")), { level: 2, description: 40 });
    assert.deepEqual(decodeAlert(hex("0100")), { level: 1, description: 0 });
    for (const bytes of ["", "02", "022800", "0028", "0328"]) {
      assert.equal(decodeAlert(hex(bytes)), undefined);
    }
  });

  test("are told in words, also those nobody knows", () => {
    assert.equal(describeAlert(AlertDescription.unknownCa), "48 unknown ca");
    assert.equal(describeAlert(200), "200");
  });

  test("of the handshake end it, with a hint where certificates are to blame", () => {
    for (const [description, hint] of [
      [42, /cert= and key=/],
      [40, /see the log of the server/],
    ] as const) {
      const pair = new DtlsPair();
      const alert = Uint8Array.of(2, description);
      pair.deliver("client", encodeRecord(ContentType.alert, 0, 0, alert));
      const { end } = pair.client;
      assert.ok(end instanceof TunnelError);
      assert.equal(end.code, "ERR_TLS");
      assert.match(end.hint ?? "", hint);
      assert.equal(pair.client.session?.deadline, undefined);
    }
  });

  test("that only warn do not end a handshake, a close does", () => {
    const pair = new DtlsPair();
    pair.deliver("client", encodeRecord(ContentType.alert, 0, 0, Uint8Array.of(1, 100)));
    assert.equal(pair.client.end, undefined);
    pair.deliver("client", encodeRecord(ContentType.alert, 0, 1, Uint8Array.of(1, 0)));
    const end: unknown = pair.client.end;
    assert.ok(end instanceof TunnelError);
    assert.match(end.message, /closed before the handshake was done/);
  });
});

describe("server session", () => {
  test("numbers its answer by the hello it answers", () => {
    const pair = new DtlsPair(clientOptions(), serverOptions());
    pair.run();
    const [, second] = pair.client.sent.map(readClientHello);
    assert.ok(second !== undefined);
    const later = { ...second, messageSeq: 4, recordSeq: 9 };
    const session = new DtlsServerSession(serverOptions(), later, 0);
    const [flight] = session.start(0).datagrams;
    assert.ok(flight !== undefined);
    const view = new DataView(flight.buffer, flight.byteOffset);
    assert.equal(view.getUint32(7), 9);
    assert.equal(view.getUint16(13 + 4), 4);
  });

  test("says nothing at its deadline, and that it was the client", () => {
    const pair = new DtlsPair(clientOptions(), serverOptions(), (datagram) =>
      datagram.byteLength > 600 ? [] : [0],
    );
    pair.run();
    assert.ok(pair.server.end instanceof TunnelError);
    assert.equal(pair.server.end.code, "ERR_HANDSHAKE_TIMEOUT");
    assert.match(pair.server.end.message, /the client did not finish/);
  });
});
