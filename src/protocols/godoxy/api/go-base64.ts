/** What became of base64: the bytes, or where it is wrong. */
export type Base64Result = { readonly bytes: Uint8Array } | { readonly faultAt: number };

/**
 * Reads base64 with padding as strictly as the reference does, and names the same byte when it is
 * wrong: Node's own decoder takes anything.
 *
 * Reference: Go `encoding/base64`, `StdEncoding` and its `CorruptInputError`.
 */
export function decodeGoBase64(text: string): Base64Result {
  const digits = /^[A-Za-z0-9+/]*/.exec(text)?.[0].length ?? 0;
  const partial = digits % 4;
  const rest = text.slice(digits);
  if (rest === "") {
    return partial === 0 ? decoded(text) : { faultAt: digits - partial };
  }
  if (!rest.startsWith("=") || partial < 2) return { faultAt: digits };
  const padding = 4 - partial;
  if (padding === 2 && rest === "=") return { faultAt: text.length };
  if (padding === 2 && rest[1] !== "=") return { faultAt: digits };
  return rest.length === padding ? decoded(text) : { faultAt: digits + padding };
}

function decoded(text: string): Base64Result {
  return { bytes: Buffer.from(text, "base64") };
}
