import type { Database } from '../../db/database.js';
import type { Role } from '../../domain/side.js';
import type { TablePair } from '../tables/table-pair.js';
import { readPairTracking, type PairTracking } from '../writers/pair-tracking.js';
import { readProofs, type TableProof } from './evidence.js';

/** How far each table is tracked, and the proofs that count. */
export interface TableEvidence {
  readonly trackings: readonly PairTracking[];
  readonly proofs: ReadonlyMap<string, TableProof>;
}

/**
 * The proofs that count: those of a tracked table began after the triggers of both sides were made. The triggers are looked
 * at first, so that their age is the smaller one. `identities` are those of the databases compared, which are read meanwhile.
 */
export async function readTableEvidence(
  databases: Readonly<Record<Role, Database>>,
  pairs: readonly TablePair[],
  identities: Promise<readonly string[]>,
): Promise<TableEvidence> {
  const [between, trackings] = await Promise.all([identities, readPairTracking(databases, pairs)]);
  const all = await readProofs(databases.primary.pool, between);
  const since = new Map(trackings.map(({ table, trackedSeconds }) => [table, trackedSeconds ?? Infinity]));
  const counting = [...all].filter(([name, { begunSeconds }]) => begunSeconds <= (since.get(name) ?? Infinity));
  return { trackings, proofs: new Map(counting) };
}
