/** User and password of an `Authorization` or `Proxy-Authorization` field. */
export interface BasicCredentials {
  readonly user: string;
  readonly password: string;
}

/**
 * Reads `Basic base64(user:password)`, UTF-8. Spec: RFC 7617.
 *
 * @returns `undefined` for another scheme or malformed credentials
 */
export function parseBasicAuth(field: string): BasicCredentials | undefined {
  const encoded = /^basic +([A-Za-z0-9+/_-]+={0,2}) *$/i.exec(field)?.[1];
  if (encoded === undefined) return undefined;
  const text = Buffer.from(encoded, "base64").toString("utf8");
  const colon = text.indexOf(":");
  if (colon < 0) return undefined;
  return { user: text.slice(0, colon), password: text.slice(colon + 1) };
}
