import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { manualRuntime, recordingLogger } from "../../test/support/test-client.ts";
import { parseConfig } from "../config/parse-config.ts";
import { Router } from "../relay/router.ts";
import type { Outbound } from "../tunnel/request.ts";
import { HostLists } from "./host-lists.ts";
import { createRoutes } from "./routes.ts";

describe("routes of a configuration", () => {
  test("take domain, cidr, regexp and list for one condition, and port for another", async () => {
    const folder = await mkdtemp(join(tmpdir(), "sluice-routes-"));
    await using _ = {
      [Symbol.asyncDispose]: async () => await rm(folder, { recursive: true }),
    };
    const file = join(folder, "list.txt");
    await writeFile(file, "||list.example\n@@||not.list.example\n");
    const { routes: configs } = parseConfig({
      routes: [
        {
          domain: ".domain.example",
          cidr: "10.0.0.0/8",
          regexp: String.raw`r\d+\.example`,
          list: file,
          port: 443,
          via: "block",
        },
        { regexp: "only", via: "block" },
      ],
    });
    const lists = new HostLists({ runtime: manualRuntime(), logger: recordingLogger().logger });
    const routes = await createRoutes(configs, lists);
    lists.close();
    const dial = (): never => assert.fail("nothing is dialled");
    const outbounds = new Map(
      ["direct", "block"].map((name): [string, Outbound] => [name, { name, dial }]),
    );
    const router = new Router({ routes, outbounds, fallback: "direct" });
    const chosen = (host: string, port = 443): string =>
      router.choose({ network: "tcp", host, port }, { inbound: "test", source: "test" }).name;
    for (const host of ["a.domain.example", "10.1.2.3", "R12.example", "x.list.example", "only"]) {
      assert.equal(chosen(host), "block", host);
    }
    for (const host of ["example", "11.0.0.1", "r.example", "not.list.example", "only.example"]) {
      assert.equal(chosen(host), "direct", host);
    }
    assert.equal(chosen("a.domain.example", 80), "direct");
  });
});
