import type { AgentFile } from "./agent-file.ts";
import type { ImportReport } from "./report.ts";

/** Reports every front end and switch of the agent that has no counterpart here. */
export function noteLeftOut(file: AgentFile, report: ImportReport): void {
  const { shadowsocks, dns, sniErasure, directRelay, uot, quic } = file;
  const leave = (
    at: { readonly place: { readonly line: number; readonly column: number } } | undefined,
    text: string,
    instead: string,
  ): void => {
    if (at !== undefined) report.note({ kind: "left out", place: at.place, text, instead });
  };
  leave(
    shadowsocks,
    "agent.ss: its only cipher, aes-256-cfb, protects nothing against change or replay",
    "let those clients use the SOCKS5 port; for other machines name users, or join them with a tunnel of their own",
  );
  leave(
    dns,
    "agent.dns: there is no DNS server; names travel through the proxies unresolved, and the far side resolves them",
    "let programs hand names to the proxy (socks5h), and leave the system's resolver as it is",
  );
  leave(
    sniErasure,
    "agent.tls-sni-erasure: it takes TLS connections apart with certificates of its own",
    "route those domains through a tunnel: where the name is seen then is the server's side",
  );
  leave(
    directRelay,
    directRelay?.isTransparent === true
      ? "agent.direct-relay: catching connections to a range of addresses needs transparent sockets, which Node.js has not"
      : 'agent.direct-relay: add inbounds for it by hand, { sni: "0.0.0.0:443" } and { sni: "0.0.0.0:80" }: names that lead to this machine go on as the routes say',
    "point programs to the SOCKS5 or HTTP proxy, or forward single ports: { forward: 0.0.0.0:443, to: HOST:443 }",
  );
  leave(
    uot,
    "agent.uot: KCP in hand-made TCP packets needs raw packet access (XDP), which Node.js has not",
    "use the server's KCP, TLS or TCP port",
  );
  leave(
    quic,
    "agent.quic: the QUIC mode of vproxy is not spoken here",
    "use the server's KCP, TLS or TCP port",
  );
  const rules = [...file.groups.values()].flatMap(({ resolve }) => resolve);
  const [first] = rules;
  leave(
    first,
    `resolve: ${rules.length === 1 ? "this rule is" : `these ${rules.length} rules are`} for the agent's DNS server only, and choose no way out`,
    "add the names to a route where they should go through a tunnel: the far side resolves them then",
  );
}
