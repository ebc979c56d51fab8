import type { X509Certificate } from "node:crypto";
import { MisuseError } from "../../errors.ts";
import type { DtlsClientOptions } from "./dtls-options.ts";
import type { DtlsSession, DtlsStep } from "./dtls-step.ts";

/** The dialling end of one DTLS session. `start` gives its first datagram. */
export class DtlsClientSession implements DtlsSession {
  readonly isEstablished = false;
  readonly peerCertificate: X509Certificate | undefined = undefined;
  readonly deadline: number | undefined;
  readonly dropped = 0;

  /** @throws ConfigError when certificate, key or CA cannot work */
  constructor(_options: DtlsClientOptions, now: number) {
    this.deadline = now;
  }

  /** The first flight. Once, before anything else. */
  start(_now: number): DtlsStep {
    throw new MisuseError("dtls: not there yet");
  }

  receive(_datagram: Uint8Array, _now: number): DtlsStep {
    throw new MisuseError("dtls: not there yet");
  }

  send(_data: Uint8Array, _now: number): DtlsStep {
    throw new MisuseError("dtls: not there yet");
  }

  tick(_now: number): DtlsStep {
    throw new MisuseError("dtls: not there yet");
  }

  close(_now: number): DtlsStep {
    throw new MisuseError("dtls: not there yet");
  }
}
