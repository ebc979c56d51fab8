/** How far a peer's wall clock is from ours. */
export interface ClockDifference {
  /** Positive: the peer's clock is ahead. 0 within the precision of its date. */
  readonly aheadMs: number;
}

/** The form HTTP dates have today: `Sun, 06 Nov 1994 08:49:37 GMT`. Spec: RFC 9110 section 5.6.7. */
export function formatHttpDate(unixMs: number): string {
  return new Date(unixMs).toUTCString();
}

/**
 * Reads a Date header: the form above, or the one of vproxy, `Fri Nov 20 15:40:52 UTC 2026`.
 *
 * @returns Unix milliseconds of a whole second; `undefined` for anything else, and for time zones
 *   whose abbreviations mean several
 */
export function parseHttpDate(text: string): number | undefined {
  const modern = /^[A-Z][a-z]{2}, (\d\d) ([A-Z][a-z]{2}) (\d{4}) (\d\d:\d\d:\d\d) GMT$/.exec(text);
  // QUIRK(vproxy): dates are printed as Java prints them.
  const java = /^[A-Z][a-z]{2} ([A-Z][a-z]{2}) (\d\d) (\d\d:\d\d:\d\d) (?:UTC|GMT|Z) (\d{4})$/.exec(
    text,
  );
  const [day, month, year, time] =
    modern?.slice(1) ?? (java === null ? [] : [java[2], java[1], java[4], java[3]]);
  const monthNumber = MONTHS.indexOf(month ?? "") + 1;
  if (day === undefined || monthNumber === 0) return undefined;
  const iso = `${year}-${String(monthNumber).padStart(2, "0")}-${day}T${time}Z`;
  const unixMs = Date.parse(iso);
  return Number.isNaN(unixMs) ? undefined : unixMs;
}

/**
 * Compares a peer's clock with ours.
 *
 * @param date of its answer, which was made between our request and now
 * @returns `undefined` when the date says nothing
 */
export function clockDifference(
  date: string | undefined,
  { askedAt, answeredAt }: { readonly askedAt: number; readonly answeredAt: number },
): ClockDifference | undefined {
  const seconds = date === undefined ? undefined : parseHttpDate(date.trim());
  if (seconds === undefined) return undefined;
  if (seconds > answeredAt) return { aheadMs: seconds - answeredAt };
  const lastMoment = seconds + 999;
  return { aheadMs: lastMoment < askedAt ? lastMoment - askedAt : 0 };
}

const MONTHS: readonly string[] = [
  "Jan",
  "Feb",
  "Mar",
  "Apr",
  "May",
  "Jun",
  "Jul",
  "Aug",
  "Sep",
  "Oct",
  "Nov",
  "Dec",
];
