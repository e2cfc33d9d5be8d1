import type { Database } from '../../db/database.js';
import { readIdentity } from '../../db/identity.js';
import { sideTitle, type Role } from '../../domain/side.js';
import type { TableSelection } from '../../domain/table-patterns.js';
import { planTables, type LeftOutTable } from '../../repository/compare/plan-tables.js';
import { readTableEvidence, type TableEvidence } from '../../repository/cutover/table-evidence.js';
import type { TableSnapshot } from './monitor-snapshot.js';

/** What is known of a table of the migration: its proof, and whether other writers are covered. */
export interface ReportedTable {
  readonly table: string;
  /** When the newest comparison of all of it that found nothing began (UTC text), and how long ago it ended; null: none counts. */
  readonly proven: string | null;
  readonly ageSeconds: number | null;
  /** When a later one that found something ended, of whatever part of it (UTC text). */
  readonly different: string | null;
  /** Null of a table that cannot be moved. */
  readonly tracking: TableSnapshot['tracking'];
  /** Why it cannot be moved, why its triggers are not whole, or what no comparison covers. */
  readonly note: string | null;
}

export interface ReportedTables {
  readonly tables: readonly ReportedTable[];
  readonly leftOut: readonly LeftOutTable[];
}

/** Reads how old each table's proof is, as the gates of a cutover see it. Both sides have to answer. */
export async function readReportedTables(
  databases: Readonly<Record<Role, Database>>,
  selection: TableSelection,
): Promise<ReportedTables> {
  const { primary, secondary } = databases;
  const { pairs, notHandled, leftOut } = await planTables(databases, { selection, names: [] });
  const identities = Promise.all([primary, secondary].map(({ pool }) => readIdentity(pool)));
  const evidence = await readTableEvidence(databases, pairs, identities);
  const unproven = { proven: null, ageSeconds: null, different: null };
  return {
    tables: [
      ...notHandled.map(({ table, reason }) => ({ table, ...unproven, tracking: null, note: reason })),
      ...pairs.map(({ name, excepted }) => reportTable(name, excepted, evidence)),
    ],
    leftOut,
  };
}

function reportTable(table: string, excepted: readonly string[], { trackings, proofs }: TableEvidence): ReportedTable {
  const proof = proofs.get(table);
  const tracking = trackings.find((each) => each.table === table);
  const problems = (tracking?.problems ?? []).map(({ side, problem }) => `on ${sideTitle(side)} ${problem}`);
  const uncovered = excepted.length === 0 ? [] : [`not compared: ${excepted.join(', ')}`];
  const notes = [...problems, ...uncovered];
  return {
    table,
    proven: proof?.proven ?? null,
    ageSeconds: proof === undefined ? null : Math.round(proof.ageSeconds),
    different: proof?.different ?? null,
    tracking: tracking?.state === 'broken' ? 'partly tracked' : (tracking?.state ?? null),
    note: notes.length === 0 ? null : notes.join('; '),
  };
}
