/** A word as a POSIX shell reads it back. */
export function quoteForShell(text: string): string {
  if (/^[\w./@%+=:,~-]+$/.test(text)) return text;
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
