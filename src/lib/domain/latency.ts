/** Upper bounds of the buckets in which latencies are counted, in ms; what is above the last one has a bucket of its own. */
export const LATENCY_BOUNDS_MS = [
  ...[1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1_000],
  ...[1_500, 2_000, 3_000, 5_000, 7_000, 10_000, 20_000, 30_000],
] as const;

/** How many calls fell into each bucket; one more than there are bounds. */
export type LatencyCounts = readonly number[];

export const NO_LATENCIES: LatencyCounts = Array.from({ length: LATENCY_BOUNDS_MS.length + 1 }, () => 0);

/** The bucket of a latency, as a place in `LatencyCounts`. */
export function latencyBucket(ms: number): number {
  const place = LATENCY_BOUNDS_MS.findIndex((bound) => ms <= bound);
  return place === -1 ? LATENCY_BOUNDS_MS.length : place;
}

export function addLatencies(one: LatencyCounts, other: LatencyCounts): LatencyCounts {
  return one.map((count, place) => count + (other[place] ?? 0));
}

/** The latency in ms that a share of all calls stayed below, straight lines drawn within a bucket; null without calls. */
export function latencyQuantile(counts: LatencyCounts, share: number): number | null {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return null;
  let left = share * total;
  for (const [place, count] of counts.entries()) {
    if (left <= count && count > 0) {
      const from = LATENCY_BOUNDS_MS[place - 1] ?? 0;
      const to = LATENCY_BOUNDS_MS[place] ?? from;
      return from + (to - from) * (left / count);
    }
    left -= count;
  }
  return LATENCY_BOUNDS_MS.at(-1) ?? null;
}
