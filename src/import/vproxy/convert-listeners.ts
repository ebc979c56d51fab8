import type { ConfigInput } from "../../config/config.ts";
import type { AgentFile } from "./agent-file.ts";
import type { ImportReport } from "./report.ts";

/** The doors for local programs that listeners of the agent become. */
export function convertListeners(
  { socks, http, pac, gateway }: AgentFile,
  report: ImportReport,
): ConfigInput[] {
  const host = gateway?.value === true ? "0.0.0.0" : "127.0.0.1";
  const inbounds: ConfigInput[] = [];
  if (socks !== undefined) inbounds.push({ socks: `${host}:${socks.value}` });
  if (http !== undefined) inbounds.push({ http: `${host}:${http.value}` });
  if (pac !== undefined) {
    inbounds.push({ socks: `${host}:${pac.value}`, pac: "/" });
    report.note({
      kind: "differs",
      place: pac.place,
      text: `agent.gateway.pac.listen: the PAC file is at http://HOST:${pac.value}/ alone, not at every path, and names this port, which is a proxy too`,
      instead:
        "give browsers that address; pac: true on another proxy serves it there, at /proxy.pac",
    });
  }
  if (gateway?.value === true && inbounds.length > 0) {
    report.note({
      kind: "to do",
      place: gateway.place,
      text: "agent.gateway: everybody who reaches the ports may use them, as before",
      instead: "give them users: { NAME: env:PASSWORD }, or name one address instead of 0.0.0.0",
    });
  }
  if (inbounds.length === 0) {
    report.note({
      kind: "to do",
      text: "neither agent.socks5.listen nor agent.httpconnect.listen: nothing leads into the tunnels",
      instead: "add inbounds: [{ socks: 1080 }]",
    });
  }
  return inbounds;
}
