import { connectLinkSocks, provideLinkSocks } from "./linksocks-dial.ts";
import { serveLinkSocks } from "./linksocks-serve.ts";
import type { TunnelSystem } from "./system.ts";

/** LinkSocks: clients and connectors `connect`, providers `provide`, and all meet at who `serve`s. */
export const linksocks: TunnelSystem = {
  connect: connectLinkSocks,
  provide: provideLinkSocks,
  serve: serveLinkSocks,
};
