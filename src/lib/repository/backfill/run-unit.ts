import type pg from 'pg';
import { copyBetween } from '../../db/copy.js';
import type { Database, Queryable } from '../../db/database.js';
import { joinTargetSql, lockTargetSql } from '../../db/locks.js';
import { assertNotRewritten } from '../tables/rewritten-tables.js';
import { faultKind } from '../../db/sqlstate.js';
import { inTransaction, keepAwake, queryAll, repeatCollisions } from '../../db/transaction.js';
import { formatInstant } from '../../domain/time.js';
import type { TimeRange } from '../../domain/time-range.js';
import { parsePlace, placesOf } from '../tables/axis.js';
import type { DigestMethod } from '../compare/digest-method.js';
import { readCutoff } from '../compare/window.js';
import { readUnsettled } from '../ledger/ledger.js';
import { markTakenOver } from '../ledger/markers.js';
import { holdAsPrimary, holdAsSecondary } from '../phase/fence.js';
import { bringRows, type Delivery, type RefusedRow } from '../repair/bring-rows.js';
import { portionOfAll, portionOfClasses, portionOfPages, portionOfRanges, type Portion } from '../repair/portion.js';
import { lockUnguarded } from '../repair/repair-missed.js';
import {
  copyFromSql,
  countExtraCopiesSql,
  deleteExtraCopiesSql,
  keepExtraCopiesSql,
  copySortedToSql,
  deleteExtraSql,
  findExtraSql,
  findLackingSql,
  isEmptySql,
  keepExtraSql,
  restoreStagedSql,
} from '../repair/staging-sql.js';
import { mayChange, type Transfer } from '../repair/transfer.js';
import { isCopyStraightSafe } from '../timescaledb/compressed-chunks.js';
import { IN_REPLICA_ROLE, SKIP_EVERY_TABLE } from '../writers/own-writes.js';
import { digestUnit } from './unit-digest.js';
import { beginWithUnit, finishAndCommit, type Unit, type UnitCounts } from './unit-store.js';
import { PIN_AGAIN, SET_OWN_PATH, underOwnPath, writeUnderOwnPath } from '../../db/search-path.js';

/** Everything that a run of units works with. */
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
  /** Tables that failed, with the reason: nobody here claims units of theirs any more. */
  readonly failed: Map<string, Error>;
  /** Called with the unit that is being worked on. */
  readonly onClaim: (unit: Unit) => void;
  /** Called with what the target refuses, before that is committed. */
  readonly onRefused: (refusals: readonly RefusedRow[]) => Promise<void>;
  /** Units for which going straight into the table has failed. */
  readonly viaStaging: Set<number>;
  /** Units that overwrite rows which consumers may overwrite as well: they hold their table alone. */
  readonly alone: Set<number>;
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

/** Rows differ that consumers may write meanwhile: the unit has to hold its table alone. */
export class UnitNotAlone extends Error {
  constructor(readonly unitId: number) {
    super('rows differ that others write, too');
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
  const unit = await beginWithUnit(target, context.runId, [...context.failed.keys()]);
  if (unit === null) {
    await target.query('rollback');
    return null;
  }
  context.onClaim(unit);
  // A switch that comes meanwhile waits: after it the target's own rows are new, not extra.
  if (unit.prune) await holdAsSecondary(target, context.target.side);
  const transfer = await context.transferOf(unit.table);
  if (transfer.replica) await target.query(IN_REPLICA_ROLE);
  // Parts that add rows are copied side by side, and beside sends. What a snapshot overwrites nobody may bring meanwhile, newer.
  if (mayChange(transfer))
    await target.query(`select ${(isAlone(unit, context) ? lockTargetSql : joinTargetSql)('$1')}`, [unit.table]);
  // Writing on a slow target may take longer than the source's transaction may be idle.
  const copy = (): Promise<UnitWrites> =>
    keepAwake(source, () =>
      copyUnit(source, target, { unit, transfer, context, portion: portionOf(unit, transfer, context) }),
    );
  const { delivery, ...extras } = await inTransaction(source, copy, 'repeatable read');
  await context.onRefused(delivery.refused);
  const counts = { ...delivery, refused: delivery.refused.length, ...extras };
  const startedAt = performance.now();
  await finishAndCommit(target, unit.id, counts);
  return { unit, counts, commitMs: performance.now() - startedAt };
}

function isAlone({ id, prune }: Unit, { alone }: UnitContext): boolean {
  return prune || alone.has(id);
}

interface UnitWork {
  readonly unit: Unit;
  readonly transfer: Transfer;
  readonly context: UnitContext;
  readonly portion: Portion;
}

function portionOf(unit: Unit, transfer: Transfer, { method }: UnitContext): Portion {
  const { part } = unit;
  if ('slice' in part) return portionOfClasses(transfer, part.slice, method);
  if ('pages' in part) return portionOfPages(transfer, part.pages);
  return 'all' in part ? portionOfAll(transfer) : portionOfRanges(transfer, [rangeOf(unit, transfer)]);
}

/** Along the table's axis. */
function rangeOf({ part, isTimed }: Pick<Unit, 'part' | 'isTimed'>, { compared: { axis, name } }: Transfer): TimeRange {
  if (!('from' in part) || axis === null) throw new TypeError(`a unit of ${name} is no range`);
  if (!isTimed) return part;
  const { from, to } = placesOf(axis.primary, part);
  return { from: from ?? part.from, to: to ?? part.to };
}

interface UnitWrites {
  readonly delivery: Delivery;
  readonly extra: number;
  readonly pruned: number;
}

async function copyUnit(source: pg.Client, target: pg.Client, work: UnitWork): Promise<UnitWrites> {
  const { unit, transfer, context, portion } = work;
  if (context.overwrite) await holdAsPrimary(source, context.source);
  const times = unit.isTimed && 'from' in unit.part ? unit.part : null;
  // At the latest this statement fixes the snapshot of the source's transaction, before the target is looked at.
  const unsettled =
    context.ledger && times !== null ? await readUnsettled(source, unit.table, [times]) : await fixSnapshot(source);
  if (unsettled.length === 0 && (await mayGoStraight(target, work))) {
    return { delivery: await copyStraight(source, target, work), extra: 0, pruned: 0 };
  }
  if ((transfer.tracked || transfer.guard !== 'key') && context.ledger && times !== null)
    await takeOver(source, work, times);
  await lockUnguarded(target, transfer);
  const mayOverwrite = !mayChange(transfer) || isAlone(unit, context);
  const delivery = await bringRows({
    ...{ source, target, transfer, targetSide: context.target.side, portion },
    overwrite: context.overwrite && mayOverwrite,
  });
  if (context.overwrite && !mayOverwrite && delivery.refused.length > 0) throw new UnitNotAlone(unit.id);
  return { delivery, ...(await settleExtras(target, work)) };
}

async function fixSnapshot(source: Queryable): Promise<readonly []> {
  await source.query('select');
  return [];
}

async function mayGoStraight(target: Queryable, { unit, transfer, context, portion }: UnitWork): Promise<boolean> {
  const { part } = unit;
  if (transfer.guard !== 'key' || !transfer.alike || context.viaStaging.has(unit.id) || portion.target === null)
    return false;
  if (!('from' in part) || unit.rows === 0) return false;
  const { rows } = await target.query<{ empty: boolean; now: number }>(isEmptySql(transfer, portion.target));
  const [found] = rows;
  if (found?.empty !== true || (unit.isTimed && part.to >= found.now - LIVE_EDGE_MICROS)) return false;
  return await isCopyStraightSafe(context.target, transfer.compared.sides.secondary, unit.isTimed ? part : null);
}

async function copyStraight(
  source: pg.Client,
  target: pg.Client,
  { unit, transfer, context, portion }: UnitWork,
): Promise<Delivery> {
  const reading = { table: transfer.compared, method: context.method };
  const range = rangeOf(unit, transfer);
  try {
    const statements = { to: copySortedToSql(transfer, portion), from: copyFromSql(transfer, 'table') };
    await queryAll(target, [SKIP_EVERY_TABLE, SET_OWN_PATH]);
    const copied = await copyBetween(source, target, statements);
    await target.query(PIN_AGAIN);
    const [, there, here] = await Promise.all([
      assertNotRewritten(source, context.source, transfer.rewriteCheck),
      digestUnit(source, { ...reading, role: 'primary' }, range),
      digestUnit(target, { ...reading, role: 'secondary' }, range),
    ]);
    if (there !== here) throw new StraightCopyFailed(unit.id, { cause: 'another writer was there' });
    return { copied, inserted: copied, skipped: 0, corrected: 0, refused: [] };
  } catch (error) {
    if (faultKind(error) === 'rejected') throw new StraightCopyFailed(unit.id, { cause: error });
    throw error;
  }
}

/** Batches in flight that the unit covers will not be written by their consumers any more. */
async function takeOver(source: Queryable, { unit, context }: UnitWork, { from, to }: TimeRange): Promise<void> {
  const { rows } = await source.query<{ batch_id: string; consumer_id: string }>(FIND_UNCONFIRMED, [
    unit.table,
    formatInstant(from),
    formatInstant(to),
  ]);
  await repeatCollisions(() => markTakenOver(context.target, unit.table, rows));
}

/** Counts the rows of the unit that the target alone holds, even after a look at what the source has by now; prunes them. */
async function settleExtras(target: Queryable, work: UnitWork): Promise<{ extra: number; pruned: number }> {
  const { unit, transfer, portion } = work;
  if (portion.target === null) return { extra: 0, pruned: 0 };
  const rows = await (transfer.key.length === 0
    ? settleExtraCopies(target, work, portion.target)
    : settleExtraKeys(target, work, portion.target));
  return unit.prune ? { extra: 0, pruned: rows } : { extra: rows, pruned: 0 };
}

async function settleExtraKeys(target: Queryable, work: UnitWork, within: string): Promise<number> {
  const { unit, transfer, context } = work;
  let rows = 0;
  let after: readonly string[] | null = null;
  for (;;) {
    const page: ExtraKey[] = await readExtras(target, transfer, { within, after });
    const lacking = await withoutDropped(await withoutNewcomers(page, work), work);
    rows += lacking.reduce((sum, key) => sum + key.rows, 0);
    if (unit.prune && lacking.length > 0)
      await pruneKeys(target, lacking, { transfer, within, side: context.target.side });
    const end = page.at(-1);
    if (end === undefined || page.length < EXTRA_AT_ONCE) return rows;
    after = end.key;
  }
}

/** Of a table without a key, by the number of equal rows. */
async function settleExtraCopies(
  target: Queryable,
  { unit, transfer, context }: UnitWork,
  within: string,
): Promise<number> {
  const { rows } = await target.query<{ rows: number }>(countExtraCopiesSql(transfer, within));
  const extra = rows[0]?.rows ?? 0;
  if (!unit.prune || extra === 0) return extra;
  await target.query(keepExtraCopiesSql(transfer, within), [context.target.side]);
  await writeUnderOwnPath(target, underOwnPath(deleteExtraCopiesSql(transfer, within)));
  return extra;
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
  { within, after }: { within: string; after: readonly string[] | null },
): Promise<ExtraKey[]> {
  const { rows } = await target.query<{ key: string; rows: number; staged: number }>(
    findExtraSql(transfer, within, after === null),
    [EXTRA_AT_ONCE, ...(after ?? [])],
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
  { transfer: { compared, key: names }, context }: Pick<UnitWork, 'transfer' | 'context'>,
): Promise<readonly ExtraKey[]> {
  const { axis } = compared;
  if (keys.length === 0 || axis === null) return keys;
  const cutoff = await readCutoff({ primary: context.source, secondary: context.target }, compared);
  const at = names.indexOf(axis.column);
  return cutoff === null
    ? keys
    : keys.filter(({ key }) => (parsePlace(axis.primary, key[at] ?? '') ?? -Infinity) >= cutoff.place);
}

/** Without a unique key nothing tells one copy from another: all rows of a key go, and what was staged comes back. */
async function pruneKeys(
  target: Queryable,
  keys: readonly ExtraKey[],
  { transfer, within, side }: { transfer: Transfer; within: string; side: string },
): Promise<void> {
  const given = keysAsJson(keys);
  await target.query(keepExtraSql(transfer, within), [given, side]);
  await writeUnderOwnPath(target, underOwnPath(deleteExtraSql(transfer, within)), [given]);
  if (transfer.guard === 'key') return;
  await writeUnderOwnPath(target, underOwnPath(restoreStagedSql(transfer)), [given]);
}

function keysAsJson(keys: readonly ExtraKey[]): string[] {
  return keys.map(({ key }) => JSON.stringify(key));
}
