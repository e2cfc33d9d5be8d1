import type { Database } from '../../db/database.js';
import { pause, workTogether } from '../../domain/async.js';
import { readNewestEntry, type LedgerState } from '../ledger/ledger.js';
import { RepairInParts } from '../repair/repair-in-parts.js';
import { ALL_TABLES } from '../tables/reading-tables.js';
import type { RepairOptions, Wanted } from '../repair/repair-missed.js';

/** Entries of the ledger by state, as every reader sees it. */
export type LedgerCounts = Readonly<Record<LedgerState, number>>;

const COUNT_ENTRIES = `
  select count(*) filter (where state = 'pending') as pending, count(*) filter (where state = 'missed') as missed,
    count(*) filter (where state = 'refused') as refused
  from sensorctl.ledger_state`;

/** Batches that consumers are sending are left to them for so long, in ms. */
const GRACE_MS = 400;
const POLL_MS = 20;

type Sides = Pick<RepairOptions, 'primary' | 'secondary'>;

export async function countLedger({ pool }: Database): Promise<LedgerCounts> {
  const { rows } = await pool.query<LedgerCounts & Record<string, unknown>>(COUNT_ENTRIES);
  return rows[0] ?? { pending: 0, missed: 0, refused: 0 };
}

/**
 * Brings whatever the ledger of the primary holds to the secondary, while nothing new is committed: what consumers have
 * on the way is theirs at first, then it is repaired with the rest, also that of a consumer which hangs. Ends when
 * nothing but refused readings is left, or `stop` aborts.
 */
export async function drainLedger({ primary, secondary }: Sides, stop: AbortSignal): Promise<LedgerCounts> {
  const repair = repairTables({ primary, secondary }, stop);
  const graceUntil = performance.now() + GRACE_MS;
  for (;;) {
    const rest = await countLedger(primary);
    if (rest.pending + rest.missed === 0 || stop.aborted) return rest;
    const states = performance.now() < graceUntil ? (['missed'] as const) : (['missed', 'pending'] as const);
    const { entries } = await repair({ states });
    if (entries === 0) await pause(POLL_MS, stop);
  }
}

/** Brings what was missed so far, of all tables, while consumers go on writing; tells how many rows each repair brought. */
export async function shortenLedger(
  { primary, secondary }: Sides,
  stop: AbortSignal,
  onBrought: (rows: number) => void,
): Promise<void> {
  const repair = repairTables({ primary, secondary }, stop);
  const upTo = await readNewestEntry(primary.pool);
  while (!stop.aborted) {
    const { entries, copied } = await repair({ states: ['missed'], upTo });
    if (entries === 0) return;
    onBrought(copied);
  }
}

/** Makes a repair of all tables side by side: most of its time goes by on the way to the secondary and back. */
function repairTables(
  sides: Sides,
  stop: AbortSignal,
): (wanted: Pick<Wanted, 'states' | 'upTo'>) => Promise<{ entries: number; copied: number }> {
  const repairs = [
    ...ALL_TABLES.map((table) => ({ only: { tables: [table] }, parts: new RepairInParts(sides) })),
    // One after the other: their rows may refer to each other.
    { only: { exceptTables: ALL_TABLES }, parts: new RepairInParts(sides) },
  ];
  return async (wanted) => {
    const total = { entries: 0, copied: 0 };
    await workTogether(repairs, stop, async ({ only, parts }, either) => {
      const { entries, copied } = await parts.repair({ ...wanted, ...only }, either);
      total.entries += entries;
      total.copied += copied;
    });
    return total;
  };
}
