import type { TimeRange } from '../../domain/time-range.js';

export interface UnitSizes {
  /** Rows of a unit, about: what takes a second or so. */
  readonly rows: number;
  /** Ranges with no more than about so many rows between them become one: those rows cost less than another unit. */
  readonly betweenRows: number;
  /** Places that no unit spans, ascending: where chunks of the target begin. */
  readonly cuts: readonly number[];
}

export type CountedRange = TimeRange & { readonly rows: number };

/**
 * Gathers ranges, in whatever order, into units of about the wanted size, in time order. Ranges that touch, or almost do,
 * are joined; one that holds more than a unit should is cut evenly.
 */
export function buildUnits(
  ranges: readonly CountedRange[],
  { rows: size, betweenRows, cuts }: UnitSizes,
): CountedRange[] {
  const pieces = inOrder(ranges)
    .flatMap((range) => cutEvenly(range, size))
    .flatMap((range) => cutAt(range, cuts));
  const units: CountedRange[] = [];
  for (const piece of pieces) {
    const last = units.at(-1);
    const joined = last === undefined ? null : join(last, piece, betweenRows);
    const isUnit =
      joined !== null && joined.rows <= size && !cuts.some((cut) => cut > joined.from && cut <= piece.from);
    if (isUnit) units[units.length - 1] = joined;
    else units.push(piece);
  }
  return units;
}

/** In time order, those that overlap as one: to join an earlier range to a later one would leave both out. */
function inOrder(ranges: readonly CountedRange[]): CountedRange[] {
  const ordered: CountedRange[] = [];
  for (const range of ranges.toSorted((one, other) => one.from - other.from)) {
    const last = ordered.at(-1);
    if (last === undefined || range.from >= last.to) ordered.push(range);
    else
      ordered[ordered.length - 1] = {
        from: last.from,
        to: Math.max(last.to, range.to),
        rows: last.rows + range.rows,
      };
  }
  return ordered;
}

/** One range of two, with the rows that lie between them, were they as dense there; null where these are too many. */
function join(one: CountedRange, other: CountedRange, betweenRows: number): CountedRange | null {
  const rows = one.rows + other.rows;
  const micros = one.to - one.from + other.to - other.from;
  const between = Math.ceil(((other.from - one.to) * rows) / micros);
  return between > betweenRows ? null : { from: one.from, to: other.to, rows: rows + between };
}

function cutEvenly({ from, to, rows }: CountedRange, size: number): CountedRange[] {
  const pieces = Math.max(1, Math.min(Math.ceil(rows / size), to - from));
  const bound = (piece: number): number => from + Math.floor(((to - from) * piece) / pieces);
  return Array.from({ length: pieces }, (_, piece) => {
    return { from: bound(piece), to: bound(piece + 1), rows: Math.ceil(rows / pieces) };
  });
}

function cutAt(range: CountedRange, cuts: readonly number[]): CountedRange[] {
  const inside = cuts.filter((cut) => cut > range.from && cut < range.to);
  if (inside.length === 0) return [range];
  const bounds = [range.from, ...inside, range.to];
  return bounds.slice(0, -1).map((from, index) => {
    const to = bounds[index + 1] ?? range.to;
    return { from, to, rows: Math.ceil((range.rows * (to - from)) / (range.to - range.from)) };
  });
}
