import type { Database } from '../../db/database.js';
import { pause } from '../../domain/pause.js';
import type { LedgerState } from '../ledger.js';
import { repairMissed } from '../repair/repair-missed.js';

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

export async function countLedger({ pool }: Database): Promise<LedgerCounts> {
  const { rows } = await pool.query<LedgerCounts & Record<string, unknown>>(COUNT_ENTRIES);
  return rows[0] ?? { pending: 0, missed: 0, refused: 0 };
}

/**
 * Brings whatever the ledger of the primary holds to the secondary, while nothing new is committed: what consumers have
 * on the way is theirs at first, then it is repaired with the rest, also that of a consumer which hangs. Ends when
 * nothing but refused readings is left, or `stop` aborts.
 */
export async function drainLedger(
  { primary, secondary }: { readonly primary: Database; readonly secondary: Database },
  stop: AbortSignal,
): Promise<LedgerCounts> {
  const graceUntil = performance.now() + GRACE_MS;
  for (;;) {
    const rest = await countLedger(primary);
    if (rest.pending + rest.missed === 0 || stop.aborted) return rest;
    const states = performance.now() < graceUntil ? (['missed'] as const) : (['missed', 'pending'] as const);
    const { entries } = await repairMissed({ primary, secondary, entries: ENTRIES_AT_ONCE, states });
    if (entries === 0) await pause(POLL_MS, stop);
  }
}

/** Brings what was missed so far, while consumers go on writing. */
export async function shortenLedger(
  { primary, secondary }: { readonly primary: Database; readonly secondary: Database },
  stop: AbortSignal,
  onProgress: (rows: number) => void,
): Promise<void> {
  let rows = 0;
  while (!stop.aborted) {
    const { entries, copied } = await repairMissed({
      primary,
      secondary,
      entries: ENTRIES_AT_ONCE,
      states: ['missed'],
    });
    rows += copied;
    onProgress(rows);
    if (entries < ENTRIES_AT_ONCE) return;
  }
}
