import type pg from 'pg';
import { copyBetween } from '../../db/copy.js';
import type { Database, Queryable } from '../../db/database.js';
import { assertNotRewritten } from '../tables/rewritten-tables.js';
import { faultKind } from '../../db/sqlstate.js';
import { inTransaction, keepAwake, queryAll, repeatCollisions } from '../../db/transaction.js';
import type { ReadingTable } from '../../domain/reading.js';
import { formatInstant, parseInstant } from '../../domain/time.js';
import type { DigestMethod } from '../compare/digest-method.js';
import { readCutoff } from '../compare/window.js';
import { readUnsettled, type Refusal } from '../ledger/ledger.js';
import { markTakenOver } from '../ledger/markers.js';
import { holdAsPrimary, holdAsSecondary } from '../phase/fence.js';
import { bringRows, type Delivery } from '../repair/bring-rows.js';
import { lockUnguarded } from '../repair/repair-missed.js';
import {
  copyFromSql,
  copySortedToSql,
  deleteExtraSql,
  findExtraSql,
  findLackingSql,
  isEmptySql,
  keepExtraSql,
  restoreStagedSql,
} from '../repair/staging-sql.js';
import type { Transfer } from '../repair/transfer.js';
import { isCopyStraightSafe } from '../timescaledb/compressed-chunks.js';
import { SKIP_EVERY_TABLE } from '../writers/own-writes.js';
import { digestUnit } from './unit-digest.js';
import { beginWithUnit, finishAndCommit, type Unit, type UnitCounts } from './unit-store.js';
import { PIN_AGAIN, SET_OWN_PATH, underOwnPath, writeUnderOwnPath } from '../../db/search-path.js';

/** What a run of units works with. */
export interface UnitContext {
  readonly runId: number;
  readonly source: Database;
  readonly target: Database;
  /** The source keeps the ledger of what the target lacks. */
  readonly ledger: boolean;
  readonly transferOf: (table: string) => Promise<Transfer>;
  readonly method: DigestMethod;
  /** Differing rows become what the source holds. */
  readonly overwrite: boolean;
  /** Rows that only the target has are kept in its quarantine and deleted. */
  readonly prune: boolean;
  /** Called with the unit that is being worked on. */
  readonly onClaim: (unit: Unit) => void;
  /** Called with what the target refuses, before that is committed. */
  readonly onRefused: (refusals: readonly Refusal[]) => Promise<void>;
  /** Units for which going straight into the table has failed. */
  readonly viaStaging: Set<number>;
}

/** A unit that was claimed, and what was done with it before the transaction ended. */
export interface UnitOutcome {
  readonly unit: Unit;
  readonly counts: UnitCounts;
  /** How long the target took to commit, in ms. */
  readonly commitMs: number;
}

/** Going straight into the table was not possible: the unit has to go through staging. */
export class StraightCopyFailed extends Error {
  constructor(
    readonly unitId: number,
    options: ErrorOptions,
  ) {
    super('rows were there already', options);
  }
}

const EXTRA_AT_ONCE = 10_000;
/** Live writes come later than this, or they stand in the ledger. */
const LIVE_EDGE_MICROS = 3_600_000_000;

const FIND_UNCONFIRMED = `
  select batch_id, consumer_id from sensorctl.ledger
  where table_name = $1 and state <> 'refused' and times && tstzrange($2, $3)`;

/**
 * Claims a unit, copies and verifies it, and marks it done, all in one transaction of the target: killed at any
 * instant, it never happened. Null where no unit is left to claim. After an error cut both connections.
 *
 * Into a slice that is empty and behind the live edge rows go straight into the table. A live write of the same key then
 * shows as 23505, one of another key as a digest that differs, and the unit is repeated through staging.
 */
export async function runUnit(source: pg.Client, target: pg.Client, context: UnitContext): Promise<UnitOutcome | null> {
  const unit = await beginWithUnit(target, context.runId);
  if (unit === null) {
    await target.query('rollback');
    return null;
  }
  context.onClaim(unit);
  // A switch that comes meanwhile waits: after it the target's own rows are new, not extra.
  if (context.prune) await holdAsSecondary(target, context.target.side);
  const transfer = await context.transferOf(unit.table);
  // Writing on a slow target may take longer than the source's transaction may be idle.
  const copy = (): Promise<UnitWrites> =>
    keepAwake(source, () => copyUnit(source, target, { unit, transfer, context }));
  const { delivery, ...extras } = await inTransaction(source, copy, 'repeatable read');
  await context.onRefused(delivery.refused);
  const counts = { ...delivery, refused: delivery.refused.length, ...extras };
  const startedAt = performance.now();
  await finishAndCommit(target, unit.id, counts);
  return { unit, counts, commitMs: performance.now() - startedAt };
}

interface UnitWork {
  readonly unit: Unit;
  readonly transfer: Transfer;
  readonly context: UnitContext;
}

interface UnitWrites {
  readonly delivery: Delivery;
  readonly extra: number;
  readonly pruned: number;
}

async function copyUnit(source: pg.Client, target: pg.Client, work: UnitWork): Promise<UnitWrites> {
  const { unit, transfer, context } = work;
  if (context.overwrite) await holdAsPrimary(source, context.source);
  // At the latest this statement fixes the snapshot of the source's transaction, before the target is looked at.
  const unsettled = context.ledger ? await readUnsettled(source, unit.table, [unit]) : await fixSnapshot(source);
  if (unsettled.length === 0 && (await mayGoStraight(target, work))) {
    return { delivery: await copyStraight(source, target, work), extra: 0, pruned: 0 };
  }
  if (transfer.guard !== 'key' && context.ledger) await takeOver(source, work);
  await lockUnguarded(target, transfer);
  const delivery = await bringRows({
    ...{ source, target, transfer, targetSide: context.target.side, ranges: [unit] },
    overwrite: context.overwrite,
  });
  return { delivery, ...(await settleExtras(target, work)) };
}

async function fixSnapshot(source: Queryable): Promise<readonly []> {
  await source.query('select');
  return [];
}

async function mayGoStraight(target: Queryable, { unit, transfer, context }: UnitWork): Promise<boolean> {
  if (transfer.guard !== 'key' || !transfer.alike || context.viaStaging.has(unit.id)) return false;
  const { rows } = await target.query<{ empty: boolean; now: number }>(isEmptySql(transfer), [
    formatInstant(unit.from),
    formatInstant(unit.to),
  ]);
  const [found] = rows;
  if (found?.empty !== true || unit.to >= found.now - LIVE_EDGE_MICROS) return false;
  return await isCopyStraightSafe(context.target, transfer.compared.sides.secondary, unit);
}

async function copyStraight(
  source: pg.Client,
  target: pg.Client,
  { unit, transfer, context }: UnitWork,
): Promise<Delivery> {
  const reading = { table: transfer.compared, method: context.method };
  try {
    const statements = { to: copySortedToSql(transfer, [unit]), from: copyFromSql(transfer, 'table') };
    await queryAll(target, [SKIP_EVERY_TABLE, SET_OWN_PATH]);
    const copied = await copyBetween(source, target, statements);
    await target.query(PIN_AGAIN);
    const [, there, here] = await Promise.all([
      assertNotRewritten(source, context.source, transfer.rewriteCheck),
      digestUnit(source, { ...reading, role: 'primary' }, unit),
      digestUnit(target, { ...reading, role: 'secondary' }, unit),
    ]);
    if (there !== here) throw new StraightCopyFailed(unit.id, { cause: 'another writer was there' });
    return { copied, inserted: copied, skipped: 0, corrected: 0, refused: [] };
  } catch (error) {
    if (faultKind(error) === 'rejected') throw new StraightCopyFailed(unit.id, { cause: error });
    throw error;
  }
}

/** Batches in flight that the unit covers will not be written by their consumers any more. */
async function takeOver(source: Queryable, { unit, context }: UnitWork): Promise<void> {
  const { rows } = await source.query<{ batch_id: string; consumer_id: string }>(FIND_UNCONFIRMED, [
    unit.table,
    formatInstant(unit.from),
    formatInstant(unit.to),
  ]);
  await repeatCollisions(() => markTakenOver(context.target, unit.table as ReadingTable, rows));
}

/** Counts the rows of the unit that the target alone holds, even after a look at what the source has by now; prunes them. */
async function settleExtras(target: Queryable, work: UnitWork): Promise<{ extra: number; pruned: number }> {
  const { unit, transfer, context } = work;
  const bounds = [formatInstant(unit.from), formatInstant(unit.to)];
  let rows = 0;
  let after: readonly string[] | null = null;
  for (;;) {
    const page: ExtraKey[] = await readExtras(target, transfer, { bounds, after });
    const lacking = await withoutDropped(await withoutNewcomers(page, work), work);
    rows += lacking.reduce((sum, key) => sum + key.rows, 0);
    if (context.prune && lacking.length > 0)
      await pruneKeys(target, lacking, { transfer, bounds, side: context.target.side });
    const end = page.at(-1);
    if (end === undefined || page.length < EXTRA_AT_ONCE) break;
    after = end.key;
  }
  return context.prune ? { extra: 0, pruned: rows } : { extra: rows, pruned: 0 };
}

/** A key of rows that are not staged, its values as texts. */
interface ExtraKey {
  readonly key: readonly string[];
  readonly rows: number;
  readonly staged: number;
}

async function readExtras(
  target: Queryable,
  transfer: Transfer,
  { bounds, after }: { bounds: readonly string[]; after: readonly string[] | null },
): Promise<ExtraKey[]> {
  const values = [...bounds, EXTRA_AT_ONCE, ...(after ?? [])];
  const { rows } = await target.query<{ key: string; rows: number; staged: number }>(
    findExtraSql(transfer, after === null),
    values,
  );
  return rows.map(({ key, ...counts }) => ({ ...counts, key: JSON.parse(key) as string[] }));
}

/** Without the keys whose rows have come to the source after its snapshot. */
async function withoutNewcomers(
  keys: readonly ExtraKey[],
  { transfer, context }: Pick<UnitWork, 'transfer' | 'context'>,
): Promise<ExtraKey[]> {
  if (keys.length === 0) return [];
  const { rows } = await context.source.pool.query<{ place: number }>(findLackingSql(transfer), [
    keysAsJson(keys),
    keys.map(({ staged }) => staged),
  ]);
  const lacking = new Set(rows.map(({ place }) => place));
  return keys.filter((_, place) => lacking.has(place));
}

/**
 * Without the keys that retention drops on either side: a run may outlast the cutoff by which it was planned. Asked after
 * the look at the source, it covers whatever was gone by then.
 */
async function withoutDropped(
  keys: readonly ExtraKey[],
  { transfer: { compared }, context }: Pick<UnitWork, 'transfer' | 'context'>,
): Promise<readonly ExtraKey[]> {
  if (keys.length === 0) return keys;
  const cutoff = await readCutoff({ primary: context.source, secondary: context.target }, compared);
  const place = compared.key.indexOf(compared.axis?.column ?? '');
  return cutoff === null
    ? keys
    : keys.filter(({ key }) => (parseInstant(key[place] ?? '') ?? -Infinity) >= cutoff.micros);
}

/** Without a unique key nothing tells one copy from another: all rows of a key go, and what was staged comes back. */
async function pruneKeys(
  target: Queryable,
  keys: readonly ExtraKey[],
  { transfer, bounds, side }: { transfer: Transfer; bounds: readonly string[]; side: string },
): Promise<void> {
  const given = keysAsJson(keys);
  await target.query(keepExtraSql(transfer), [given, ...bounds, side]);
  await writeUnderOwnPath(target, underOwnPath(deleteExtraSql(transfer)), [given, ...bounds]);
  if (transfer.guard === 'key') return;
  await writeUnderOwnPath(target, underOwnPath(restoreStagedSql(transfer)), [given]);
}

function keysAsJson(keys: readonly ExtraKey[]): string[] {
  return keys.map(({ key }) => JSON.stringify(key));
}
