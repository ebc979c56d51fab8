import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { run, start } from "../support/child-process.ts";
import { httpOrigin, patternHash, patternStream } from "../support/origin.ts";
import { freePorts, PONG_TRANSPORTS, SLUICE, startTunnel } from "../support/tunnel.ts";
import { skipWithout, which } from "../support/which.ts";

describe("large transfers", { skip: skipWithout("curl", "openssl") }, () => {
  test("carry 1 GiB down and 1 GiB up with equal SHA-256", { timeout: 180_000 }, async () => {
    const size = 1024 ** 3;
    await using origin = await httpOrigin();
    await using tunnel = await startTunnel({ deadlineMs: 180_000 });
    const expected = await patternHash(size);
    const flags = ["-sS", "--socks5", `127.0.0.1:${tunnel.proxyPort}`];
    const url = `http://127.0.0.1:${origin.port}`;
    await using down = start(
      "sh",
      ["-c", `curl ${flags.join(" ")} ${url}/bytes/${size} | sha256sum`],
      { deadlineMs: 90_000 },
    );
    assert.match((await down.exit).stdout, new RegExp(`^${expected} `), down.stderr);
    await using up = start("curl", [...flags, "-T", "-", `${url}/put`], {
      deadlineMs: 90_000,
      keepsStdinOpen: true,
    });
    assert.ok(up.process.stdin !== null);
    patternStream(size).pipe(up.process.stdin);
    assert.equal((await up.exit).stdout, `${size} ${expected}\n`, up.stderr);
  });
});

for (const transport of PONG_TRANSPORTS) {
  test(`iperf3 runs both ways with control and data on one ${transport} link`, {
    skip: skipWithout("iperf3", "openssl"),
    timeout: 60_000,
  }, async () => {
    const [iperfPort, localPort] = await freePorts(2);
    await using _ = await startTunnel({
      transport,
      connectFlags: ["-L", `${localPort}:127.0.0.1:${iperfPort}`],
    });
    for (const direction of [[], ["-R"], ["-P", "4"], ["--bidir"]]) {
      // A server that just finished one test may still call itself busy: each run has its own.
      const serverFlags = ["-s", "-1", "-B", "127.0.0.1", "-p", String(iperfPort), "--forceflush"];
      await using server = start("iperf3", serverFlags, { deadlineMs: 30_000 });
      await server.waitFor(/Server listening/);
      const flags = ["-c", "127.0.0.1", "-p", String(localPort), "-t", "1", ...direction];
      const result = await run("iperf3", flags, { deadlineMs: 20_000 });
      assert.equal(result.code, 0, `${direction.join(" ")}\n${result.stdout}\n${result.stderr}`);
      assert.match(result.stdout, /receiver/);
    }
  });
}

test("ssh logs in through a ProxyCommand", {
  skip: skipWithout("ssh", "sshd", "ssh-keygen"),
  timeout: 60_000,
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), "sluice-ssh-"));
  try {
    for (const name of ["host", "user"]) {
      await run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", join(folder, name)]);
    }
    await writeFile(join(folder, "keys"), await readFile(join(folder, "user.pub")), {
      mode: 0o600,
    });
    const [port] = await freePorts(2);
    const settings = [
      `Port=${port}`,
      "ListenAddress=127.0.0.1",
      `HostKey=${join(folder, "host")}`,
      `AuthorizedKeysFile=${join(folder, "keys")}`,
      "StrictModes=no",
      "UsePAM=no",
      "PidFile=none",
    ];
    const flags = settings.flatMap((setting) => ["-o", setting]);
    await run("mkdir", ["-p", "/run/sshd"]);
    await using server = start(which("sshd") ?? "sshd", ["-D", "-e", "-f", "/dev/null", ...flags], {
      deadlineMs: 60_000,
    });
    await server.waitFor(/Server listening/, { on: "stderr" });
    await using tunnel = await startTunnel();
    const proxy = `${process.execPath} ${SLUICE} connect ${tunnel.url} -L -:%h:%p --log-level error`;
    const options = [
      "UserKnownHostsFile=/dev/null",
      "StrictHostKeyChecking=no",
      "LogLevel=ERROR",
      `ProxyCommand=${proxy}`,
    ];
    const command = "echo from the far side; head -c 3000000 /dev/zero | sha256sum";
    const result = await run(
      "ssh",
      [
        ...options.flatMap((option) => ["-o", option]),
        "-i",
        join(folder, "user"),
        "-p",
        String(port),
        "127.0.0.1",
        command,
      ],
      { deadlineMs: 40_000 },
    );
    assert.match(
      result.stdout,
      /from the far side\n[0-9a-f]{64} /,
      `${result.stderr}\n${server.stderr}`,
    );
    assert.equal(result.code, 0);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
