import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { KCP_PROFILES, type KcpOptions } from "./kcp-options.ts";
import { KcpSession } from "./kcp-session.ts";

/** When a session whose datagrams are all lost sends them, until `untilMs`. */
function transmissionsOf(byteLength: number, options: KcpOptions, untilMs: number): number[] {
  const session = new KcpSession(options, 0);
  const at = session.write(new Uint8Array(byteLength), 0).datagrams.map(() => 0);
  for (;;) {
    const { deadline } = session;
    if (deadline === undefined || deadline > untilMs) return at;
    at.push(...session.tick(deadline).datagrams.map(() => deadline));
  }
}

describe("kcp sender", () => {
  test("sends a short answer twice when its timeout says that it was lost", () => {
    assert.deepEqual(transmissionsOf(64, KCP_PROFILES.vproxy, 1_500), [0, 200, 210, 510, 960]);
  });

  test("sends much once each time, as it does where it is to be careful", () => {
    const much = transmissionsOf(5 * 1226, KCP_PROFILES.vproxy, 1_000);
    assert.deepEqual(
      much,
      [0, 0, 0, 0, 0, 200, 200, 200, 200, 200, 500, 500, 500, 500, 500, 950, 950, 950, 950, 950],
    );
    assert.deepEqual(transmissionsOf(64, KCP_PROFILES.normal, 1_000), [0, 225, 625]);
  });
});
