import type { SystemName } from "../config/systems.ts";
import { godoxy } from "./godoxy.ts";
import { kcptun } from "./kcptun.ts";
import { linksocks } from "./linksocks.ts";
import { pong } from "./pong.ts";
import type { TunnelSystem } from "./system.ts";
import { vproxy } from "./vproxy.ts";

/** Every system this version can carry; adding one is its folder and a line here. */
export const REGISTRY: Readonly<Partial<Record<SystemName, TunnelSystem>>> = {
  pong,
  vproxy,
  linksocks,
  kcptun,
  godoxy,
};
