import type { Role } from "./linksocks-transcript.ts";

/** What a recorded connection is to the end of ours that takes a role. */
export interface Side {
  readonly kind: "link" | "app" | "target" | "relay" | "api";
  /** Which end of it is ours. */
  readonly ours: "client" | "server";
}

/** Our side of a connection; `undefined` when it is between others. */
export function sideOf(
  conns: Readonly<Record<number, string>>,
  conn: number,
  role: Role,
): Side | undefined {
  const what = conns[conn] ?? "";
  const [from = "", to = ""] = what.split(" -> ");
  const hasProvider = Object.values(conns).some((it) => it.includes("provider -> "));
  if (to.includes("UDP relay")) {
    return role === "client" ? { kind: "relay", ours: "server" } : undefined;
  }
  if (to.includes("SOCKS5 port")) {
    const owner = to.startsWith("server") ? "server" : "client";
    return role === owner ? { kind: "app", ours: "server" } : undefined;
  }
  if (from === "exit") {
    const owner = hasProvider ? "provider" : "server";
    return role === owner ? { kind: "target", ours: "client" } : undefined;
  }
  if (from === "API client") return role === "server" ? { kind: "api", ours: "server" } : undefined;
  if (role === "server") return { kind: "link", ours: "server" };
  const isMine = from.includes("provider") ? role === "provider" : role === "client";
  return isMine ? { kind: "link", ours: "client" } : undefined;
}
