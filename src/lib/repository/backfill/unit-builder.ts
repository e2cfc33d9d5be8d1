import type { TimeRange } from '../../domain/time-range.js';
import type { PlannedUnit } from './unit-store.js';

export interface UnitSizes {
  /** Rows of a unit, about: what takes a second or so. */
  readonly rows: number;
  /** Instants that no unit spans, ascending: where chunks of the target begin. */
  readonly cuts: readonly number[];
}

/**
 * Gathers ranges, in time order, into units of about the wanted size. Ranges that touch are joined; one that holds more
 * than a unit should is cut evenly.
 */
export function buildUnits(
  table: string,
  ranges: readonly (TimeRange & { rows: number })[],
  { rows: size, cuts }: UnitSizes,
): PlannedUnit[] {
  const pieces = ranges.flatMap((range) => cutEvenly(range, size)).flatMap((range) => cutAt(range, cuts));
  const units: PlannedUnit[] = [];
  for (const { from, to, rows } of pieces) {
    const last = units.at(-1);
    const joins = last?.to === from && last.rows + rows <= size && !cuts.includes(from);
    if (joins) units[units.length - 1] = { ...last, to, rows: last.rows + rows };
    else units.push({ table, from, to, rows });
  }
  return units;
}

function cutEvenly({ from, to, rows }: TimeRange & { rows: number }, size: number): (TimeRange & { rows: number })[] {
  const pieces = Math.max(1, Math.min(Math.ceil(rows / size), to - from));
  const bound = (piece: number): number => from + Math.floor(((to - from) * piece) / pieces);
  return Array.from({ length: pieces }, (_, piece) => {
    return { from: bound(piece), to: bound(piece + 1), rows: Math.ceil(rows / pieces) };
  });
}

function cutAt(range: TimeRange & { rows: number }, cuts: readonly number[]): (TimeRange & { rows: number })[] {
  const inside = cuts.filter((cut) => cut > range.from && cut < range.to);
  if (inside.length === 0) return [range];
  const bounds = [range.from, ...inside, range.to];
  return bounds.slice(0, -1).map((from, index) => {
    const to = bounds[index + 1] ?? range.to;
    return { from, to, rows: Math.ceil((range.rows * (to - from)) / (range.to - range.from)) };
  });
}
