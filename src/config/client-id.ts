import { ConfigError } from "../errors.ts";

/**
 * Reads a pong client id: a UUID in any spelling (dashes, braces and case do not matter).
 *
 * @returns its 16 bytes in text order
 * @throws ConfigError when the text is no UUID; the text itself is not repeated, it is a secret
 */
export function parseClientId(text: string): Uint8Array {
  const digits = text
    .trim()
    .replace(/^(urn:uuid:|\{)/i, "")
    .replace(/\}$/, "")
    .replaceAll("-", "");
  if (!/^[0-9a-f]{32}$/i.test(digits)) {
    throw new ConfigError(`client id of ${text.length} characters is no UUID`, {
      hint: "a UUID has 32 hexadecimal digits; `uuidgen` makes one",
    });
  }
  return Uint8Array.from({ length: 16 }, (_, at) =>
    Number.parseInt(digits.slice(2 * at, 2 * at + 2), 16),
  );
}
