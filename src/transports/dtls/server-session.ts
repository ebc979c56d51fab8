import type { X509Certificate } from "node:crypto";
import { MisuseError } from "../../errors.ts";
import type { ReceivedClientHello } from "./client-hello.ts";
import type { DtlsServerOptions } from "./dtls-options.ts";
import type { DtlsSession, DtlsStep } from "./dtls-step.ts";

/**
 * The listening end of one DTLS session, for a ClientHello whose cookie was verified. `start` gives
 * the answer to it. Later datagrams of that address belong to `receive`, repeated hellos included.
 */
export class DtlsServerSession implements DtlsSession {
  readonly isEstablished = false;
  readonly peerCertificate: X509Certificate | undefined = undefined;
  readonly deadline: number | undefined;
  readonly dropped = 0;

  /** @throws ConfigError when certificate, key or CA cannot work */
  constructor(_options: DtlsServerOptions, _hello: ReceivedClientHello, now: number) {
    this.deadline = now;
  }

  /** The answer to the ClientHello: our flight, or an alert and the end. Once, before anything else. */
  start(_now: number): DtlsStep {
    throw new MisuseError("dtls: not there yet");
  }

  /** Whether `hello` is the one this session answers (then it is a repetition for `receive`). */
  beganWith(_hello: ReceivedClientHello): boolean {
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
