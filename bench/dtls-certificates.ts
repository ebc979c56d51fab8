import { issueCertificate, makeAuthority } from "../src/certificates/authority.ts";
import type { PemPair } from "../src/certificates/pem-pair.ts";

/** Certificates of one agent, and of somebody its CA does not know. */
export interface DtlsCertificates {
  /** PEM. */
  readonly ca: string;
  readonly server: PemPair;
  readonly client: PemPair;
  /** Another client of the same CA. */
  readonly other: PemPair;
  /** A client of another CA of the same name. */
  readonly stranger: PemPair;
}

/** Makes them; they are valid now. */
export function makeDtlsCertificates(): DtlsCertificates {
  const how = { now: new Date() };
  const authority = makeAuthority(how);
  return {
    ca: authority.cert,
    server: issueCertificate(authority, "server", how),
    client: issueCertificate(authority, "client", how),
    other: issueCertificate(authority, "client", { ...how, name: OTHER_NAME }),
    stranger: issueCertificate(makeAuthority(how), "client", how),
  };
}

/** The common name of {@link DtlsCertificates.other}. */
export const OTHER_NAME = "other.client";
