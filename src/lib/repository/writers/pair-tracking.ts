import { namingSide, type Database } from '../../db/database.js';
import type { Role, Side } from '../../domain/side.js';
import type { TablePair } from '../tables/table-pair.js';
import { isTracked, readTracking, type Tracking } from './tracking.js';

/** How far a table that both sides have is tracked. */
export interface PairTracking {
  readonly table: string;
  /** `broken`: tracked once, and on one side not wholly or not any more. */
  readonly state: 'tracked' | 'broken' | 'untracked';
  /** How long the triggers of both sides have been there, in s by their own clocks; null unless it is tracked. */
  readonly trackedSeconds: number | null;
  /** What is wrong with the triggers of a broken one. */
  readonly problems: readonly { readonly side: Side; readonly problem: string }[];
  /** Nothing is, but that partitions which it got since have none: healers give them theirs. */
  readonly awaitsPartitions: boolean;
}

/** The tracking of a table on one side; undefined where nothing was read. */
export interface SideTracking {
  readonly side: Side;
  readonly tracking: Tracking | undefined;
}

/** Looks at the triggers of both prepared sides, with the axis and key that the pairs have. */
export async function readPairTracking(
  databases: Readonly<Record<Role, Database>>,
  pairs: readonly TablePair[],
): Promise<PairTracking[]> {
  const read = async (role: Role): Promise<Tracking[]> => {
    const database = databases[role];
    const tables = pairs.map(({ sides }) => sides[role]);
    return await namingSide(database, () => readTracking(database, tables));
  };
  const [here, there] = await Promise.all([read('primary'), read('secondary')]);
  return pairs.map(({ name }, place) => {
    const sides = [
      { side: databases.primary.side, tracking: here[place] },
      { side: databases.secondary.side, tracking: there[place] },
    ];
    return describePair(name, sides);
  });
}

/** Puts together what both sides say of a table. Pure. */
export function describePair(table: string, sides: readonly SideTracking[]): PairTracking {
  const trackings = sides.flatMap(({ tracking }) => tracking ?? []);
  const whole = { table, problems: [], awaitsPartitions: false };
  if (trackings.every(({ trackedAt }) => trackedAt === null)) {
    return { ...whole, state: 'untracked', trackedSeconds: null };
  }
  if (trackings.every(isTracked)) {
    const trackedSeconds = Math.min(...trackings.map((each) => each.trackedSeconds ?? 0));
    return { ...whole, state: 'tracked', trackedSeconds };
  }
  const problems = sides.flatMap(({ side, tracking }) => {
    if (tracking?.trackedAt === null) return [{ side, problem: 'it has no triggers' }];
    return (tracking?.problems ?? []).map((problem) => ({ side, problem }));
  });
  const awaitsPartitions = trackings.every((each) => isTracked(each) || each.ofNewPartitions.length > 0);
  return { table, state: 'broken', trackedSeconds: null, problems, awaitsPartitions };
}
