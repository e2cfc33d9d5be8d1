/** Half open, [from, to), in whole microseconds since 1970. */
export interface TimeRange {
  readonly from: number;
  readonly to: number;
}

/** The common part of two ranges; null where they do not meet. */
export function intersect(one: TimeRange, other: TimeRange): TimeRange | null {
  const from = Math.max(one.from, other.from);
  const to = Math.min(one.to, other.to);
  return from < to ? { from, to } : null;
}

/** What is left of a range without these parts of it, in time order. */
export function without(range: TimeRange, parts: Iterable<TimeRange>): TimeRange[] {
  const left: TimeRange[] = [];
  let { from } = range;
  for (const part of [...parts].toSorted((one, other) => one.from - other.from)) {
    if (part.from > from) left.push({ from, to: Math.min(part.from, range.to) });
    from = Math.max(from, part.to);
  }
  return from < range.to ? [...left, { from, to: range.to }] : left;
}
