import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:tls";
import type { CertificateMaterial } from "../../src/certificates/material.ts";

/**
 * One TLS connection of Node's own between two ends that ask each other for a certificate. Gives the
 * name that was asked for, or why there is no connection, as the dialling end hears it.
 */
export async function shakeHands(
  server: CertificateMaterial,
  client: CertificateMaterial,
): Promise<string> {
  await using listener = createServer({ ...server, requestCert: true, rejectUnauthorized: true });
  listener.on("secureConnection", (socket) => {
    socket.on("error", () => {});
    socket.end(socket.authorized ? String(socket.servername) : "a stranger");
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  const address = listener.address();
  assert.ok(typeof address === "object" && address !== null);
  const socket = connect({ ...client, port: address.port, servername: "godoxy.agent" });
  try {
    const chunks: Buffer[] = [];
    for await (const chunk of socket) chunks.push(Buffer.from(chunk));
    return Buffer.concat(chunks).toString();
  } catch (thrown) {
    return thrown instanceof Error ? thrown.message : String(thrown);
  } finally {
    socket.on("error", () => {}).destroy();
  }
}
