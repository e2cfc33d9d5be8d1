import type pg from 'pg';
import { withSession, type Database, type Queryable } from '../../db/database.js';
import { boundsOf } from '../../db/micros.js';
import { repeatRewritten } from '../tables/rewritten-tables.js';
import { inTransaction, keepAwake, queryAll, repeatCollisions } from '../../db/transaction.js';
import type { TimeRange } from '../../domain/time-range.js';
import { endingStalledCopies } from './stalled-copies.js';
import { enterRefused, enterUnprovenSql, type LedgerState } from '../ledger/ledger.js';
import { lockTable, markTakenOver } from '../ledger/markers.js';
import { holdAsPrimary } from '../phase/fence.js';
import { bringRows, namedInLedger, type Delivery } from './bring-rows.js';
import { markUnsettled } from './mark-unsettled.js';
import { portionOfRanges } from './portion.js';
import { repairNamed, type NamedKey, type NamedRows } from './repair-named.js';
import { repairPlaces } from './repair-places.js';
import { lockTrackedSql, NONE_UPDATED, type UpdatedRepair } from './repair-updated.js';
import { byKey, planTransfer, type Transfer } from './transfer.js';

/** Which entries of the ledger a repair takes. */
export interface Wanted {
  /** `refused` entries are tried again only where somebody asks for it. */
  readonly states: readonly LedgerState[];
  /** Entries of other tables are left alone; absent: of none. */
  readonly tables?: readonly string[];
  readonly exceptTables?: readonly string[];
  /** Entries to leave alone: these, and those newer than `upTo`. */
  readonly except?: readonly number[];
  readonly upTo?: number;
}

/** The entries of one table that a repair has in its hands. */
export interface Claim {
  readonly ids: readonly number[];
  readonly table: string;
}

/** How much one repair takes; one entry, at the least. */
export interface RepairSize {
  readonly entries: number;
  /** That the entries name; absent: whatever they do. */
  readonly rows?: number;
}

export interface RepairOptions extends Wanted, RepairSize {
  readonly primary: Database;
  readonly secondary: Database;
  /** Called with the entries that are being repaired, before anything can fail. */
  readonly onClaim?: (claim: Claim) => void;
}

export interface RepairOutcome extends Omit<Delivery, 'refused'> {
  /** Rows that were brought by their keys; the others are none of them. */
  readonly updated: UpdatedRepair;
  /** Ledger entries repaired, verified and settled. */
  readonly entries: number;
  readonly refused: number;
}

/** The claim is a lock: it is gone before a consumer's lease is. */
const CLAIM_TIMEOUTS = "set local idle_in_transaction_session_timeout = '28s'";

/**
 * Parameters: the states wanted, entries to leave alone, the newest entry to take. There may be millions of entries: asked
 * for each by itself, what all see of it lets the search follow the index by table and end early. What another program
 * entered is anybody's to repair, also while a healer has seen it.
 */
const IS_WANTED = `
  (batch_id is null and state = any ($1::text[]) or batch_id is not null
      and (select state from sensorctl.ledger_state as seen where seen.entry_id = entry.entry_id) = any ($1::text[]))
    and entry.entry_id <> all ($2::bigint[]) and entry.entry_id <= $3`;

/**
 * Those of the tables (null: of all that the ledger names) that have such entries, the one with the oldest first. The index
 * by table answers which it names in one step a table, however many entries there are.
 */
const FIND_TABLES = `
  with recursive named as (
    (select table_name from sensorctl.ledger order by table_name limit 1)
    union all
    select (select table_name from sensorctl.ledger where table_name > named.table_name order by table_name limit 1)
    from named where table_name is not null
  )
  select wanted.table_name as "table"
  from (
    select table_name from named where $4::text[] is null union all select unnest($4::text[])
  ) as wanted (table_name)
  cross join lateral (
    select entry_id from sensorctl.ledger as entry where table_name = wanted.table_name and ${IS_WANTED}
    order by entry_id limit 1
  ) as oldest
  where wanted.table_name <> all ($5::text[])
  order by oldest.entry_id`;

/**
 * Claims entries of one table which nobody else repairs: $5 of them at most, and not more than the oldest ones that name
 * $6 rows, or the oldest alone.
 */
const CLAIM_ENTRIES = `
  select entry_id as id, keys::text, gone::text, whole_table as whole, times <> '{}' as "isTimed" from sensorctl.ledger as entry where table_name = $4 and ${IS_WANTED}
  order by entry_id limit (
    select greatest(count(*), 1) from (
      select sum(readings) over (order by entry_id) as rows from (
        select entry_id, greatest(readings, jsonb_array_length(keys))::bigint as readings from sensorctl.ledger as entry where table_name = $4 and ${IS_WANTED}
        order by entry_id limit $5
      ) as oldest
    ) as sums where rows <= $6
  )
  for update skip locked`;

/** The unconfirmed entries of a table whose times overlap those of the given ones, these included. */
const FIND_OVERLAPPING = `
  select entry_id, batch_id, consumer_id from sensorctl.ledger
  where table_name = $2 and state <> 'refused' and times && (
    select range_agg(times) from (
      select unnest(times) as times from sensorctl.ledger where entry_id = any ($1::bigint[]) and table_name = $2
    ) as ranges
  )`;

const READ_RANGES = `
  select ${boundsOf('range')}
  from (
    select unnest(range_agg(times)) as range
    from (select unnest(times) as times from sensorctl.ledger where entry_id = any ($1::bigint[])) as touched
  ) as ranges
  order by 1`;

/** Removes what was repaired, by the ids that were claimed; an entry added to the same range meanwhile stays. */
const SETTLE_ENTRIES = `
  with repaired as (
    delete from sensorctl.ledger where entry_id = any ($1::bigint[]) returning table_name, times, keys, gone, whole_table
  )
  ${enterUnprovenSql('repaired')}`;

/** An entry that is claimed, and what it names. */
interface ClaimedEntry extends Record<string, unknown> {
  readonly id: number;
  /** JSON lists of keys. */
  readonly keys: string | null;
  readonly gone: string | null;
  readonly whole: boolean;
  readonly isTimed: boolean;
}

/** What claimed entries name. */
interface ClaimedRows extends Claim {
  readonly named: NamedRows;
  /** They name times, too. */
  readonly isTimed: boolean;
}

interface UnconfirmedEntry {
  readonly entry_id: number;
  readonly batch_id: string;
  readonly consumer_id: string;
}

const NO_ROWS: Delivery = { copied: 0, inserted: 0, skipped: 0, corrected: 0, refused: [] };
const NOTHING: RepairOutcome = { ...NO_ROWS, entries: 0, refused: 0, updated: NONE_UPDATED };

/**
 * Repairs the oldest missed entries of the ledger that nobody else is repairing: brings the primary's rows in their
 * times to the secondary, verifies that each is there and equal, and settles exactly the entries that it read.
 *
 * Rows and entries are read in one snapshot of the primary. Where the secondary has no key the batches in flight are
 * taken over by their markers before anybody looks; rows committed later are in no entry of the snapshot and in no row
 * of it. Dying at any point leaves the entries in the ledger. Throws when a side fails or the primary is none any more;
 * the ledger is then as it was, and a frozen COPY that held the repair up is ended.
 */
export async function repairMissed(options: RepairOptions): Promise<RepairOutcome> {
  // Asked again and again by every consumer: it costs no connection of its own while nothing is missed.
  const tables = await findMissed(options.primary, options);
  if (tables.length === 0) return NOTHING;
  const repair = (source: pg.Client): Promise<RepairOutcome> =>
    repeatRewritten(source, () =>
      inTransaction(source, () => repairClaimed(source, tables, options), 'repeatable read', [CLAIM_TIMEOUTS]),
    );
  return await endingStalledCopies([options.primary, options.secondary], () =>
    repeatCollisions(() => withSession(options.primary, repair)),
  );
}

async function repairClaimed(
  source: pg.Client,
  tables: readonly string[],
  options: RepairOptions,
): Promise<RepairOutcome> {
  const claim = await claimEntries(source, tables, options);
  if (claim === null) return NOTHING;
  options.onClaim?.(claim);
  await holdAsPrimary(source, options.primary);
  // Writing on a slow secondary may take longer than the claim may be idle.
  return await keepAwake(source, async () => {
    const { delivery, updated } = await deliver(source, claim, options);
    await source.query(SETTLE_ENTRIES, [claim.ids]);
    // Refused rows stay in the ledger, one entry for each.
    await enterRefused(source, namedInLedger(delivery.refused));
    return { ...delivery, updated, entries: claim.ids.length, refused: delivery.refused.length };
  });
}

/** The tables with entries that such a repair would take, be it that somebody else has claimed them; the oldest entry's first. */
export async function findMissed({ pool }: Database, wanted: Wanted): Promise<string[]> {
  const { tables = null, exceptTables = [] } = wanted;
  const values = [...parametersOf(wanted), tables, exceptTables];
  const { rows } = await pool.query<{ table: string }>(FIND_TABLES, values);
  return rows.map(({ table }) => table);
}

function parametersOf({ states, except = [], upTo = Number.MAX_SAFE_INTEGER }: Wanted): unknown[] {
  return [states, except, upTo];
}

/** Claims entries of the first table in which others have not claimed all of them. */
async function claimEntries(
  source: Queryable,
  tables: readonly string[],
  options: RepairOptions,
): Promise<ClaimedRows | null> {
  for (const table of tables) {
    const parameters = [...parametersOf(options), table, options.entries, options.rows ?? Number.MAX_SAFE_INTEGER];
    const { rows } = await source.query<ClaimedEntry>(CLAIM_ENTRIES, parameters);
    if (rows.length === 0) continue;
    const named = { keys: keysOf(rows), whole: rows.some(({ whole }) => whole) };
    return { ids: rows.map(({ id }) => id), table, named, isTimed: rows.some(({ isTimed }) => isTimed) };
  }
  return null;
}

/** Each key once; it may be gone where one entry says so. */
function keysOf(entries: readonly ClaimedEntry[]): NamedKey[] {
  const found = new Map<string, boolean>();
  const listOf = (json: string | null): string[] =>
    json === null ? [] : (JSON.parse(json) as unknown[]).map((key) => JSON.stringify(key));
  for (const { keys, gone } of entries) {
    for (const key of listOf(keys)) if (!found.has(key)) found.set(key, false);
    for (const key of listOf(gone)) found.set(key, true);
  }
  return [...found].map(([key, isGone]) => ({ key, gone: isGone }));
}

async function deliver(
  source: pg.Client,
  claim: ClaimedRows,
  { primary, secondary }: RepairOptions,
): Promise<{ delivery: Delivery; updated: UpdatedRepair }> {
  const transfer = await planTransfer(primary, secondary, claim.table);
  const sides = { primary, secondary, transfer };
  const { named, isTimed } = claim;
  if (transfer.tracked)
    await markUnsettled(source, secondary, { table: claim.table, ids: claim.ids, whole: named.whole });
  const updated = await deliverByKey(named, sides);
  const byTime = isTimed && transfer.compared.axis !== null;
  return { delivery: byTime ? await deliverByTime(source, claim, sides) : NO_ROWS, updated };
}

interface PlannedDelivery extends Pick<RepairOptions, 'primary' | 'secondary'> {
  readonly transfer: Transfer;
}

/** One transaction on the secondary: written and verified, or nothing of it. */
async function deliverByTime(
  source: pg.Client,
  claim: Claim,
  { primary, secondary, transfer }: PlannedDelivery,
): Promise<Delivery> {
  const ids = await takeOver(source, claim, { secondary, transfer });
  const { rows: ranges } = await source.query<TimeRange & Record<string, unknown>>(READ_RANGES, [ids]);
  if (ranges.length === 0) return NO_ROWS;
  const bring = (from: pg.Client, target: pg.Client): Promise<Delivery> =>
    bringRows({
      ...{ source: from, target, targetSide: secondary.side, transfer },
      ...{ portion: portionOfRanges(transfer, ranges), overwrite: true },
    });
  return await withSession(secondary, (target) =>
    inTransaction(target, async () => {
      await lockUnguarded(target, transfer);
      if (!transfer.tracked) return await bring(source, target);
      // What the claim's snapshot shows another repair may have deleted by now: it is read anew, once the target is held.
      await queryAll(target, lockTrackedSql(transfer));
      return await withSession(primary, (fresh) => inTransaction(fresh, () => bring(fresh, target), 'repeatable read'));
    }),
  );
}

/** Brings the rows that entries name by key, in transactions of their own: they may be brought any number of times. */
async function deliverByKey(
  named: NamedRows,
  { primary, secondary, transfer }: PlannedDelivery,
): Promise<UpdatedRepair> {
  if (named.keys.length === 0 && !named.whole) return NONE_UPDATED;
  const { compared } = transfer;
  const { key } = compared.sides.primary;
  if (key === null && transfer.tracked) return await repairPlaces(primary, secondary, { transfer, named });
  return await repairNamed(primary, secondary, { transfer: byKey(transfer, key ?? compared.uniqueKey), named });
}

/** A table without a unique key is repaired by one at a time. */
export async function lockUnguarded(target: Queryable, { guard, table }: Transfer): Promise<void> {
  if (guard === 'key') return;
  const { text, values = [] } = lockTable(table);
  await target.query(text, [...values]);
}

/**
 * Returns the entries whose times are to be repaired. Where the secondary has no key: all unconfirmed entries that
 * overlap, and theirs, since these batches are marked as taken over and will not be written by their consumers any more.
 */
async function takeOver(
  source: Queryable,
  { ids: claimed, table }: Claim,
  { secondary, transfer }: { secondary: Database; transfer: Transfer },
): Promise<readonly number[]> {
  if (transfer.guard === 'key') return claimed;
  let covered: UnconfirmedEntry[] = [];
  for (let ids = claimed; ; ids = covered.map((entry) => entry.entry_id)) {
    const { rows } = await source.query<UnconfirmedEntry & Record<string, unknown>>(FIND_OVERLAPPING, [ids, table]);
    const grown = rows.length > covered.length;
    covered = rows;
    if (!grown) break;
  }
  await repeatCollisions(() => markTakenOver(secondary, table, covered));
  return covered.map((entry) => entry.entry_id);
}
