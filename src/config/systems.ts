import { ConfigError } from "../errors.ts";
import { didYouMean } from "./nearest.ts";

/** What a command does with a tunnel URL: listen for peers, use the far side, lend our side. */
export type Role = "serve" | "connect" | "provide";

/** The tunnel systems known by name. */
export type SystemName = "pong" | "vproxy" | "ptth" | "linksocks" | "godoxy" | "kcptun";

/** How a system's bytes travel. */
export interface TransportInfo {
  /** Taken when the URL names no port. */
  readonly defaultPort: number;
  /** Whether certificates are involved. */
  readonly hasTls: boolean;
  /** Whether there is a request with a path and headers. */
  readonly hasHttp: boolean;
  /** Whether it runs on UDP. */
  readonly isUdp: boolean;
  /** Whether that is in datagrams of KCP. */
  readonly hasKcp: boolean;
}

/** One tunnel system, as far as URLs and commands are concerned. */
export interface SystemInfo {
  readonly transports: Readonly<Record<string, TransportInfo>>;
  /** Transports that work in this version; the others are known by name only. */
  readonly readyTransports: readonly string[];
  readonly roles: readonly Role[];
  /** What to do instead of a role the system does not have. */
  readonly roleHint: string;
  /** What the credential of the URL is, for help and errors. */
  readonly credential: string;
  /** What lets a client in; `nothing`: whoever reaches the port is. */
  readonly login: "secret" | "user and password" | "certificate" | "nothing";
  /** Whether its server decides where every stream leads. */
  readonly hasFixedTarget: boolean;
}

/** A scheme taken apart and found in the table. */
export interface Scheme {
  readonly system: SystemName;
  readonly transport: string;
  readonly info: TransportInfo;
}

/**
 * Finds `<system>+<transport>`, or an alias another program uses for it.
 *
 * @throws ConfigError naming the nearest valid word, or that this version cannot do it yet
 */
export function findScheme(scheme: string): Scheme {
  const wanted = ALIASES.get(scheme.toLowerCase()) ?? scheme.toLowerCase();
  const beyond = OUT_OF_SCOPE.exec(wanted);
  if (beyond !== null) {
    throw new ConfigError(`"${scheme}" is out of scope: ${beyond[1]} is not carried`, {
      hint: "dial the server's TCP, TLS or KCP port: websocks://, websockss://, websocks:kcp:// or websockss:kcp://",
    });
  }
  const [system = "", ...rest] = wanted.split("+");
  const transport = rest.join("+");
  if (!isSystemName(system)) {
    if (NOT_TUNNELS.test(wanted)) {
      throw new ConfigError(`"${scheme}" is no tunnel: a tunnel URL starts like ${EXAMPLE}`);
    }
    throw new ConfigError(
      `tunnel system "${system}" is not one of ${SYSTEM_NAMES.join(", ")}${didYouMean(system, SYSTEM_NAMES)}`,
    );
  }
  const { transports, readyTransports } = SYSTEMS[system];
  const names = Object.keys(transports);
  const example = `${system}+${names[0] ?? "tcp"}://`;
  if (transport === "") {
    throw new ConfigError(
      `"${scheme}" names no transport: write ${example}, or one of ${names.slice(1).join(", ")}`,
    );
  }
  const info = Object.hasOwn(transports, transport) ? transports[transport] : undefined;
  if (info === undefined) {
    throw new ConfigError(
      `${system} has no transport "${transport}", only ${names.join(", ")}${didYouMean(transport, names)}`,
    );
  }
  if (readyTransports.length === 0) {
    throw new ConfigError(`${system} is not in this version yet`, {
      hint: `this version speaks ${READY_SYSTEMS.join(", ")}`,
    });
  }
  if (!readyTransports.includes(transport)) {
    throw new ConfigError(`${system} over ${transport} is not in this version yet`, {
      hint: `this version carries ${system} over ${readyTransports.join(", ")}`,
    });
  }
  return { system, transport, info };
}

/**
 * Makes sure the system can play the role.
 *
 * @throws ConfigError saying what to do instead
 */
export function requireRole(system: SystemName, role: Role): void {
  const { roles, roleHint } = SYSTEMS[system];
  if (roles.includes(role)) return;
  throw new ConfigError(`${system} has no ${role} role; ${roleHint}`);
}

/** Whether clients of the system say who they are in words. */
export function hasCredentials(system: SystemName): boolean {
  const { login } = SYSTEMS[system];
  return login === "secret" || login === "user and password";
}

const tcp: TransportInfo = {
  defaultPort: 443,
  hasTls: false,
  hasHttp: false,
  isUdp: false,
  hasKcp: false,
};
const tls: TransportInfo = { ...tcp, hasTls: true };
const http: TransportInfo = { ...tcp, defaultPort: 80, hasHttp: true };
const https: TransportInfo = { ...tls, hasHttp: true };
const kcp: TransportInfo = { ...tcp, defaultPort: 18_686, isUdp: true, hasKcp: true };

/** Every system, with everything a URL of it may say. */
export const SYSTEMS: Readonly<Record<SystemName, SystemInfo>> = {
  pong: {
    transports: {
      tcp,
      tls,
      ws: http,
      wss: https,
      http,
      https,
      h2: https,
      h2c: http,
      h3: https,
      grpc: https,
    },
    readyTransports: ["tcp", "tls", "ws", "wss"],
    roles: ["serve", "connect"],
    roleHint: "its remote always dials: run `sluice serve` on the side whose network is lent",
    credential: "the client id, a UUID",
    login: "secret",
    hasFixedTarget: false,
  },
  vproxy: {
    transports: { tcp, tls, kcp, "kcp+tls": { ...kcp, hasTls: true } },
    readyTransports: ["tcp", "tls", "kcp", "kcp+tls"],
    roles: ["serve", "connect"],
    roleHint: "run `sluice serve` on the side whose network is lent",
    credential: "user:password",
    login: "user and password",
    hasFixedTarget: false,
  },
  ptth: {
    transports: { quic: { ...tls, defaultPort: 4_433 }, h2: https },
    readyTransports: [],
    roles: ["serve", "connect", "provide"],
    roleHint: "",
    credential: "the name of the client or server",
    login: "secret",
    hasFixedTarget: false,
  },
  linksocks: {
    transports: { ws: http, wss: https },
    readyTransports: ["ws", "wss"],
    roles: ["serve", "connect", "provide"],
    roleHint: "",
    credential: "the token",
    login: "secret",
    hasFixedTarget: false,
  },
  godoxy: {
    transports: {
      tls: { ...tls, defaultPort: 8_890 },
      dtls: { ...tls, defaultPort: 8_890, isUdp: true },
    },
    readyTransports: ["tls", "dtls"],
    roles: ["serve", "connect"],
    roleHint: "run `sluice serve` on the side whose network is lent",
    credential: "nothing: certificates decide",
    login: "certificate",
    hasFixedTarget: false,
  },
  kcptun: {
    transports: { kcp: { ...kcp, defaultPort: 20_010 } },
    readyTransports: ["kcp"],
    roles: ["serve", "connect"],
    roleHint: "run `sluice serve` on the side whose network is lent",
    credential: "none",
    login: "nothing",
    hasFixedTarget: true,
  },
};

// Object.keys gives string[]; the table above has exactly these keys.
const SYSTEM_NAMES = Object.keys(SYSTEMS).filter(isSystemName);

const READY_SYSTEMS = SYSTEM_NAMES.filter((name) => SYSTEMS[name].readyTransports.length > 0);

/** Schemes of other programs' configuration. */
const ALIASES: ReadonlyMap<string, string> = new Map([
  ["websocks", "vproxy+tcp"],
  ["websockss", "vproxy+tls"],
  ["websocks:kcp", "vproxy+kcp"],
  ["websockss:kcp", "vproxy+kcp+tls"],
]);

/** Ways of the same program that need raw packets or a QUIC library. */
const OUT_OF_SCOPE = /^(?:websockss?|vproxy)[:+](uot|quic)(?:$|[:+])/;

/** Schemes that people write by habit. */
const NOT_TUNNELS = /^(socks\w*|https?|wss?|tcp|tls|quic)$/;

const EXAMPLE = "pong+tls://";

function isSystemName(text: string): text is SystemName {
  return Object.hasOwn(SYSTEMS, text);
}
