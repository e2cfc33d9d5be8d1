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

/** The ranges in time order, empty ones left out; those that overlap, meet, or lie within so many µs are one. */
export function mergeRanges(ranges: readonly TimeRange[], withinMicros = 0): TimeRange[] {
  const merged: { from: number; to: number }[] = [];
  for (const { from, to } of inOrder(ranges.filter((range) => range.from < range.to))) {
    const last = merged.at(-1);
    if (last !== undefined && from <= last.to + withinMicros) last.to = Math.max(last.to, to);
    else merged.push({ from, to });
  }
  return merged;
}

/** Returns the rest of a range without these parts, in time order. */
export function without(range: TimeRange, parts: Iterable<TimeRange>): TimeRange[] {
  const left: TimeRange[] = [];
  let { from } = range;
  for (const part of inOrder([...parts])) {
    const to = Math.min(part.from, range.to);
    if (to > from) left.push({ from, to });
    from = Math.max(from, part.to);
  }
  return from < range.to ? [...left, { from, to: range.to }] : left;
}

function inOrder(ranges: readonly TimeRange[]): TimeRange[] {
  return ranges.toSorted((one, other) => one.from - other.from);
}
