import assert from "node:assert/strict";
import { mkdtempDisposableSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import tls from "node:tls";
import { describe, test } from "node:test";
import { run } from "../support/child-process.ts";
import { lowPort } from "../support/low-port.ts";
import { httpOrigin } from "../support/origin.ts";
import { startSluice } from "../support/sluice-process.ts";
import { tmpdir } from "node:os";
import { skipWithout } from "../support/which.ts";

describe("an inbound that reads names", {
  skip: skipWithout("curl"),
  timeout: 60_000,
}, () => {
  test("leads HTTP on by its Host, and says which TLS name it cannot lead on", async () => {
    await using origin = await httpOrigin();
    using folder = mkdtempDisposableSync(join(tmpdir(), "sluice-sni-"));
    const port = await lowPort();
    const file = join(folder.path, "sluice.yaml");
    writeFileSync(
      file,
      `inbounds: [{ sni: "127.0.0.1:${port}" }]\nallow: ["127.0.0.0/8", "[::1]"]\nroutes: [{ domain: localhost, via: direct }, { via: block }]\n`,
    );
    await using child = startSluice(["run", file, "--log-format", "json"]);
    await child.waitFor(/sni/);
    const { stdout, stderr } = await run("curl", [
      "-sS",
      "--max-time",
      "10",
      "--noproxy",
      "*",
      "--connect-to",
      `localhost:${origin.port}:127.0.0.1:${port}`,
      `http://localhost:${origin.port}/hello`,
    ]);
    assert.equal(stdout, "hello from /hello\n", stderr);
    const stranger = tls.connect({ port, host: "127.0.0.1", servername: "other.example" });
    stranger.on("error", () => {});
    await new Promise<void>((resolve) => stranger.once("close", () => resolve()));
    await child.waitFor(/other\.example:443/, { on: "stderr" });
  });
});
