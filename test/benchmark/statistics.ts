/** The middle of some figures; NaN for none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2;
}

/** Ratios of figures taken in the same repetition, so that what slows the machine meanwhile slows both. */
export function pairedRatios(figures: readonly number[], peers: readonly number[]): number[] {
  return figures.map((figure, repetition) => figure / (peers[repetition] ?? NaN));
}
