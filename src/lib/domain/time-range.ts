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
