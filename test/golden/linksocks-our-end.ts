import { parseArgs } from "node:util";
import { type App, startApp } from "../../src/app.ts";
import { connectInput, provideInput, serveInput } from "../../src/cli/inputs.ts";
import type { ConfigInput } from "../../src/config/config.ts";
import { parseConfig } from "../../src/config/parse-config.ts";
import type { LinksocksTranscript, Role } from "./linksocks-transcript.ts";

/** An end of ours, in this process, over real sockets. */
export interface OurEnd extends AsyncDisposable {
  /** Of a server's listener. */
  readonly port: number;
  /** Of its SOCKS5 listener, if there is one. */
  readonly socksPort: number;
}

/**
 * Starts the end of ours that the recorded command line stands for.
 *
 * @param port where the played server listens, for ends that dial
 */
export async function startOurs(
  { args, path }: LinksocksTranscript,
  role: Role,
  port: number | undefined,
): Promise<OurEnd> {
  const flags = readArgs(args[role] ?? []);
  const app = await startApp(
    parseConfig(role === "server" ? serverInput(flags) : clientInput(flags, { role, port, path })),
  );
  return {
    port: portOf(app, "linksocks+ws"),
    socksPort: portOf(app, "socks"),
    [Symbol.asyncDispose]: async () => await app.close(0),
  };
}

function serverInput(flags: Flags): ConfigInput {
  const { token = "", connector, reverse, autonomy, key, user, password, port, direct } = flags;
  const hub = {
    ...(reverse && { provider: [`home=${token}`], autonomy }),
    ...(reverse && connector !== undefined && { connector: [`app@home=${connector}`] }),
    ...(reverse && port !== undefined && { dynamic: ["0"] }),
    ...(user !== undefined && { user: [`${user}:${password}`] }),
    ...(!reverse && key === undefined && { client: [`app=${token}`] }),
    ...(key !== undefined && { apiKey: key }),
  };
  const allow = ["127.0.0.0/8", "::1/128"];
  return serveInput([`linksocks+ws://127.0.0.1:0?direct=${direct}`], { ...hub, allow });
}

function clientInput(
  { token = "", connector, fastOpen }: Flags,
  { role, port, path }: { role: Role; port: number | undefined; path: string },
): ConfigInput {
  const options = [
    ...(fastOpen ? ["fastopen=true"] : []),
    ...(role === "provider" && connector !== undefined ? [`connector=${connector}`] : []),
  ];
  const query = options.length === 0 ? "" : `?${options.join("&")}`;
  const url = `linksocks+ws://${token}@127.0.0.1:${port}${path}${query}`;
  if (role === "client") return connectInput([url], { dynamic: ["0"] });
  return provideInput([url], { allow: ["127.0.0.0/8", "::1/128"] });
}

/** The flags of the reference that scenarios were recorded with. */
interface Flags {
  readonly token?: string | undefined;
  readonly connector?: string | undefined;
  readonly port?: string | undefined;
  readonly key?: string | undefined;
  readonly user?: string | undefined;
  readonly password?: string | undefined;
  readonly reverse: boolean;
  readonly autonomy: boolean;
  readonly fastOpen: boolean;
  readonly direct: boolean;
}

function readArgs(args: readonly string[]): Flags {
  const { values } = parseArgs({
    args: [...args],
    allowPositionals: true,
    strict: false,
    options: {
      token: { type: "string", short: "t" },
      connector: { type: "string", short: "c" },
      port: { type: "string", short: "p" },
      key: { type: "string", short: "k" },
      user: { type: "string", short: "n" },
      password: { type: "string", short: "w" },
      reverse: { type: "boolean", short: "r" },
      autonomy: { type: "boolean", short: "a" },
      fastOpen: { type: "boolean", short: "f" },
      "direct-enable": { type: "boolean" },
    },
  });
  const text = (name: string): string | undefined => {
    const value = values[name];
    return typeof value === "string" ? value : undefined;
  };
  return {
    token: text("token"),
    connector: text("connector"),
    port: text("port"),
    key: text("key"),
    user: text("user"),
    password: text("password"),
    reverse: values["reverse"] === true,
    autonomy: values["autonomy"] === true,
    fastOpen: values["fastOpen"] === true,
    direct: values["direct-enable"] === true,
  };
}

function portOf({ listeners }: App, kind: string): number {
  const address = listeners.find((listener) => listener.kind === kind)?.address ?? "";
  return Number(/:(\d+)(?:\/|$)/.exec(address)?.[1] ?? 0);
}
