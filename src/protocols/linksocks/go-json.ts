/**
 * JSON as the reference writes it: `<`, `>`, `&` and the two line separators of Unicode are escaped.
 *
 * Reference: Go `encoding/json`, which escapes for HTML unless told otherwise.
 */
export function toGoJson(value: unknown): string {
  return JSON.stringify(value).replaceAll(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
