import { parseInstant } from '../../domain/time.js';
import type { TableRows } from '../../repository/monitor/ledger-figures.js';
import type { Sample } from '../../repository/monitor/samples.js';

/** A stretch in which one thing was wrong, or nobody looked. */
export interface Incident {
  /** A kind of trouble, or `not-watched`. */
  readonly kind: string;
  /** UTC text; `to` is the first sample without it, null where it lasts. */
  readonly from: string;
  readonly to: string | null;
  readonly seconds: number;
  /** The ledger accounts for it. */
  readonly explained: boolean;
  /** Where it was about rows: the most of each table that any sample saw, the worst first. */
  readonly tables: readonly TableRows[];
}

/** What is known of an incident that goes on. */
interface Begun {
  readonly from: string;
  readonly explained: boolean;
  readonly rows: Map<string, number>;
}

/** A gap from when it was seen first until the ledger was empty again. */
export interface GapEpisode {
  readonly opened: string;
  /** Null where it is still open. */
  readonly closed: string | null;
  /** The most readings that the secondary lacked in it. */
  readonly mostReadings: number;
}

/** Longer than this without a sample, nobody looked. */
export const HOLE_SECONDS = 60;

/** Finds the incidents in samples, in the order in which they began; `until` is when the report was made. */
export function findIncidents(samples: readonly Sample[], until: string): Incident[] {
  const open = new Map<string, Begun>();
  const incidents: Incident[] = [];
  const close = (kind: string, to: string | null): void => {
    const begun = open.get(kind);
    if (begun === undefined) return;
    open.delete(kind);
    incidents.push({
      kind,
      from: begun.from,
      to,
      seconds: secondsBetween(begun.from, to ?? until),
      explained: begun.explained,
      tables: [...begun.rows].map(([table, rows]) => ({ table, rows })).toSorted((one, other) => other.rows - one.rows),
    });
  };
  for (const [place, { takenAt, troubles, unexplained, tables }] of samples.entries()) {
    const before = samples[place - 1]?.takenAt ?? takenAt;
    const hole = secondsBetween(before, takenAt);
    if (hole > HOLE_SECONDS) {
      incidents.push({ kind: 'not-watched', from: before, to: takenAt, seconds: hole, explained: false, tables: [] });
    }
    for (const kind of open.keys()) if (!troubles.includes(kind)) close(kind, takenAt);
    for (const kind of troubles) {
      if (!open.has(kind)) open.set(kind, { from: takenAt, explained: !unexplained.includes(kind), rows: new Map() });
    }
    for (const { kind, table, rows } of tables) {
      const most = open.get(kind)?.rows;
      most?.set(table, Math.max(rows, most.get(table) ?? 0));
    }
  }
  for (const kind of open.keys()) close(kind, null);
  return incidents.toSorted((one, other) => (one.from < other.from ? -1 : 1));
}

/** Each time that the ledger held gaps. */
export function findGapEpisodes(samples: readonly Sample[]): GapEpisode[] {
  const episodes: GapEpisode[] = [];
  for (const { takenAt, figures } of samples) {
    const { gapRanges, gapReadings } = figures;
    if (gapRanges === null) continue;
    const open = episodes.at(-1)?.closed === null ? episodes.pop() : undefined;
    if (gapRanges > 0) {
      const mostReadings = Math.max(open?.mostReadings ?? 0, gapReadings ?? 0);
      episodes.push({ opened: open?.opened ?? takenAt, closed: null, mostReadings });
    } else if (open !== undefined) episodes.push({ ...open, closed: takenAt });
  }
  return episodes;
}

function secondsBetween(from: string, to: string): number {
  return Math.round(((parseInstant(to) ?? 0) - (parseInstant(from) ?? 0)) / 1e6);
}
