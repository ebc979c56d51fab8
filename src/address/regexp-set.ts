/** Character codes from `first` to `last`, both included. */
export type CodeRange = readonly [first: number, last: number];

/** A set of UTF-16 code units, as ranges. */
export type CodeSet = readonly CodeRange[];

/** Whether a code unit is in the set. */
export function hasCode(set: CodeSet, code: number): boolean {
  return set.some(([first, last]) => code >= first && code <= last);
}

/** Everything that is not in the set. */
export function complement(set: CodeSet): CodeSet {
  const gaps: CodeRange[] = [];
  let next = 0;
  for (const [first, last] of set.toSorted((one, other) => one[0] - other[0])) {
    if (first > next) gaps.push([next, first - 1]);
    next = Math.max(next, last + 1);
  }
  if (next <= MAX_CODE) gaps.push([next, MAX_CODE]);
  return gaps;
}

/** The set with both cases of every ASCII letter in it. */
export function foldCase(set: CodeSet): CodeSet {
  const folded = [...set];
  for (const [first, last] of set) {
    const upper: CodeRange = [Math.max(first, UPPER_A), Math.min(last, UPPER_Z)];
    const lower: CodeRange = [Math.max(first, LOWER_A), Math.min(last, LOWER_Z)];
    if (upper[0] <= upper[1]) folded.push([upper[0] + CASE_GAP, upper[1] + CASE_GAP]);
    if (lower[0] <= lower[1]) folded.push([lower[0] - CASE_GAP, lower[1] - CASE_GAP]);
  }
  return folded;
}

/** The sets behind `\d`, `\w`, `\s` and, in capitals, everything else. */
export function namedSet(letter: string): CodeSet | undefined {
  const set = NAMED.get(letter.toLowerCase());
  if (set === undefined) return undefined;
  return letter === letter.toLowerCase() ? set : complement(set);
}

const MAX_CODE = 0xffff;
const [UPPER_A, UPPER_Z, LOWER_A, LOWER_Z] = [0x41, 0x5a, 0x61, 0x7a] as const;
const CASE_GAP: number = LOWER_A - UPPER_A;

const DIGITS: CodeSet = [[0x30, 0x39]];

const NAMED: ReadonlyMap<string, CodeSet> = new Map([
  ["d", DIGITS],
  ["w", [...DIGITS, [UPPER_A, UPPER_Z], [0x5f, 0x5f], [LOWER_A, LOWER_Z]]],
  [
    "s",
    [
      [0x09, 0x0d],
      [0x20, 0x20],
    ],
  ],
] satisfies [string, CodeSet][]);

/** Every code unit that ends no line: what a dot stands for. */
export const NO_LINE_END: CodeSet = complement([
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x85, 0x85],
  [0x2028, 0x2029],
]);
