/**
 * Runs the reference out of its Python wheel: `node linksocks-wheel.ts LIBRARY MODE FLAG…`, with the
 * flags of the reference's own program that the interop tests use. The wheel carries the reference
 * as a shared library; its own command line cannot start a server.
 */
import { parseArgs } from "node:util";
import koffi, { type KoffiFunc } from "koffi";

const [library = "", mode = "", ...flags] = process.argv.slice(2);

const { values } = parseArgs({
  args: flags,
  options: {
    token: { type: "string", short: "t", default: "" },
    connector: { type: "string", short: "c" },
    reverse: { type: "boolean", short: "r", default: mode === "provider" },
    autonomy: { type: "boolean", short: "a", default: false },
    host: { type: "string", short: "H", default: "127.0.0.1" },
    port: { type: "string", short: "P", default: "8765" },
    "socks-port": { type: "string", short: "p", default: "9870" },
    url: { type: "string", short: "u", default: "" },
    threads: { type: "string", short: "T", default: "1" },
    "fast-open": { type: "boolean", short: "f", default: false },
    "no-env-proxy": { type: "boolean", short: "E", default: false },
    "direct-mode": { type: "string", default: "relay-only" },
  },
});

const lib = koffi.load(library);

/** What every function of the library returns: an error's text, or nothing. */
const text = koffi.disposable("LinksocksText", "str", lib.func("void linksocks_free(void *p)"));

const READY_NS = 30_000_000_000n;

const handle = [0n];
if (mode === "server") await startServer();
else await startClient();
setInterval(() => {}, 1 << 30); // the library's own threads do not keep this process alive

async function startServer(): Promise<void> {
  const create = lib.func("linksocks_server_new", text, ["str", "_Out_ uint64_t *"]);
  const config = {
    ws_host: values.host,
    ws_port: Number(values.port),
    socks_host: "127.0.0.1",
    fast_open: values["fast-open"],
  };
  check(create(JSON.stringify(config), handle));
  if (values.reverse) {
    const add = lib.func("linksocks_server_add_reverse_token", text, ["uint64_t", "str"]);
    const port = values.autonomy ? {} : { port: Number(values["socks-port"]) };
    const token = { token: values.token, allow_manage_connector: values.autonomy, ...port };
    add(handle[0], JSON.stringify(token)); // returns what it added
    if (values.connector !== undefined) {
      const connect = lib.func("linksocks_server_add_connector_token", text, [
        "uint64_t",
        "str",
        "str",
      ]);
      connect(handle[0], values.connector, values.token);
    }
  } else {
    lib.func("linksocks_server_add_forward_token", text, ["uint64_t", "str"])(
      handle[0],
      values.token,
    );
  }
  await ready("linksocks_server_wait_ready");
}

async function startClient(): Promise<void> {
  const create = lib.func("linksocks_client_new", text, ["str", "str", "_Out_ uint64_t *"]);
  const config = {
    ws_url: values.url,
    reverse: values.reverse,
    socks_host: "127.0.0.1",
    socks_port: Number(values["socks-port"]),
    reconnect: true,
    threads: Number(values.threads),
    fast_open: values["fast-open"],
    no_env_proxy: values["no-env-proxy"],
    direct_mode: values["direct-mode"],
  };
  check(create(values.token, JSON.stringify(config), handle));
  await ready("linksocks_client_wait_ready");
  if (values.reverse && values.connector !== undefined) {
    const add = lib.func("linksocks_client_add_connector", text, ["uint64_t", "str"]);
    await call(add, handle[0], values.connector);
  }
}

async function ready(name: string): Promise<void> {
  check(await call(lib.func(name, text, ["uint64_t", "int64_t"]), handle[0], READY_NS));
}

/** Calls it on another thread: the library blocks. */
function call(
  fn: KoffiFunc<(...args: readonly unknown[]) => unknown>,
  ...args: readonly unknown[]
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    fn.async(...args, (error: unknown, result: unknown) => {
      if (error instanceof Error) reject(error);
      else resolve(result);
    });
  });
}

function check(problem: unknown): void {
  if (typeof problem !== "string" || problem === "") return;
  process.stderr.write(`${problem}\n`);
  process.exit(1);
}
