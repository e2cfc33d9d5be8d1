const HEIGHTS = '▁▂▃▄▅▆▇█';

/** The last values as one character each, the highest of them (or of `atLeast`) as a full block; unknown ones are blank. */
export function sparkline(values: readonly (number | null)[], width: number, atLeast = 1): string {
  const shown = values.slice(-width);
  const most = Math.max(atLeast, ...shown.map((value) => value ?? 0));
  const height = (value: number | null): string => {
    return value === null ? ' ' : (HEIGHTS[Math.round((value / most) * (HEIGHTS.length - 1))] ?? ' ');
  };
  return shown.map(height).join('').padStart(width);
}
