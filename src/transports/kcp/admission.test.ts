import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ManualClock } from "../../clock/manual-clock.ts";
import { Admission } from "./admission.ts";

function admission() {
  const clock = new ManualClock();
  return { clock, door: new Admission(clock, () => 0.3, { perSecond: 10, burst: 20 }) };
}

describe("admission", () => {
  test("lets everybody in while few come", () => {
    const { clock, door } = admission();
    for (let guest = 0; guest < 100; guest++) {
      clock.advance(200);
      assert.ok(door.admits(`192.0.2.1 ${guest}`));
    }
  });

  test("lets those in who come twice when many come, up to a bound", () => {
    const { door } = admission();
    let admitted = 0;
    for (let guest = 0; guest < 50_000; guest++) {
      if (door.admits(`198.51.100.${guest % 256} ${guest}`)) admitted++;
    }
    // Half the burst is for those who come once; two made-up ones may look alike.
    assert.ok(admitted >= 11 && admitted < 16, String(admitted));
    assert.equal(door.admits("192.0.2.1 1"), false);
    assert.equal(door.admits("192.0.2.1 1"), true);
    for (let guest = 0; guest < 100; guest++) {
      const name = `192.0.2.2 ${guest}`;
      door.admits(name);
      if (door.admits(name)) admitted++;
    }
    assert.equal(admitted + 1, 20);
  });

  test("remembers an honest address through a flood of made-up ones", () => {
    const { clock, door } = admission();
    let remembered = 0;
    for (let guest = 0; guest < 100; guest++) {
      clock.advance(100);
      const isIn = door.admits(`192.0.2.1 ${guest}`);
      for (let spoof = 0; spoof < 2_000; spoof++) door.admits(`203.0.113.9 ${guest} ${spoof}`);
      if (isIn || door.admits(`192.0.2.1 ${guest}`)) remembered++;
    }
    assert.ok(remembered >= 90, `${remembered} of 100`);
  });
});
