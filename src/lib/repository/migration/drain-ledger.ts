import type { Database } from '../../db/database.js';
import { pause } from '../../domain/pause.js';
import { isTooMuch } from '../../db/sqlstate.js';
import { readNewestEntry, type LedgerState } from '../ledger.js';
import { repairMissed, type RepairOptions, type RepairOutcome } from '../repair/repair-missed.js';

/** Entries of the ledger by state, as every reader sees it. */
export type LedgerCounts = Readonly<Record<LedgerState, number>>;

const COUNT_ENTRIES = `
  select count(*) filter (where state = 'pending') as pending, count(*) filter (where state = 'missed') as missed,
    count(*) filter (where state = 'refused') as refused
  from sensorctl.ledger_state`;

/** Batches that consumers are sending are left to them for so long, in ms. */
const GRACE_MS = 400;
const POLL_MS = 20;
const ENTRIES_AT_ONCE = 500;
/** What takes too long is tried again in parts of this share. */
const SMALLER = 8;

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
  const repair = repairInParts({ primary, secondary });
  const graceUntil = performance.now() + GRACE_MS;
  for (;;) {
    const rest = await countLedger(primary);
    if (rest.pending + rest.missed === 0 || stop.aborted) return rest;
    const states = performance.now() < graceUntil ? (['missed'] as const) : (['missed', 'pending'] as const);
    const { entries } = await repair({ states });
    if (entries === 0) await pause(POLL_MS, stop);
  }
}

/** Brings what was missed so far, of all tables, while consumers go on writing. */
export async function shortenLedger(
  { primary, secondary }: Sides,
  stop: AbortSignal,
  onProgress: (rows: number) => void,
): Promise<void> {
  const repair = repairInParts({ primary, secondary });
  const upTo = await readNewestEntry(primary.pool);
  for (let rows = 0; !stop.aborted;) {
    const { entries, copied } = await repair({ states: ['missed'], upTo });
    if (entries === 0) return;
    rows += copied;
    onProgress(rows);
  }
}

/** Repairs as many entries at once as a call has the time for. */
function repairInParts(sides: Sides): (wanted: Pick<RepairOptions, 'states' | 'upTo'>) => Promise<RepairOutcome> {
  let entries = ENTRIES_AT_ONCE;
  return async (wanted) => {
    for (;;) {
      try {
        return await repairMissed({ ...sides, ...wanted, entries });
      } catch (error) {
        if (!isTooMuch(error) || entries === 1) throw error;
        entries = Math.ceil(entries / SMALLER);
      }
    }
  };
}
