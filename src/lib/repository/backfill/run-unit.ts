import type pg from 'pg';
import { copyBetween } from '../../db/copy.js';
import type { Database, Queryable } from '../../db/database.js';
import { faultKind } from '../../db/sqlstate.js';
import { inTransaction, repeatCollisions, type Statement } from '../../db/transaction.js';
import type { ReadingTable } from '../../domain/reading.js';
import { formatInstant } from '../../domain/time.js';
import type { DigestMethod } from '../comparison/digest-method.js';
import { digestRanges } from '../comparison/slices.js';
import { readUnsettled } from '../ledger.js';
import { markTakenOver } from '../markers.js';
import { bringRows, type Delivery } from '../repair/bring-rows.js';
import { lockUnguarded } from '../repair/repair-missed.js';
import {
  copyFromSql,
  copyToSql,
  deleteExtraSql,
  findExtraSql,
  findLackingSql,
  isEmptySql,
  keepExtraSql,
} from '../repair/staging-sql.js';
import type { Transfer } from '../repair/transfer.js';
import type { Refusal } from '../secondary-writer.js';
import { isCopyStraightSafe } from '../timescaledb/compressed-chunks.js';
import { claimUnit, finishUnit, type Unit, type UnitCounts } from './unit-store.js';

/** What a run of units works with. */
export interface UnitContext {
  readonly runId: number;
  readonly source: Database;
  readonly target: Database;
  /** The source keeps the ledger of what the target lacks. */
  readonly ledger: boolean;
  readonly transferOf: (table: string) => Promise<Transfer>;
  readonly method: DigestMethod;
  /** What a transaction of the target sets before it writes among rows that are there. */
  readonly writeSettings: readonly Statement[];
  /** Differing rows become what the source holds. */
  readonly overwrite: boolean;
  /** Rows that only the target has are kept in its quarantine and deleted. */
  readonly prune: boolean;
  /** Told which unit is being worked on. */
  readonly onClaim: (unit: Unit) => void;
  /** Told what the target refuses, before that is committed. */
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

const EXTRA_AT_MOST = 10_000;
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
  await target.query('begin isolation level read committed');
  const unit = await claimUnit(target, context.runId);
  if (unit === null) {
    await target.query('rollback');
    return null;
  }
  context.onClaim(unit);
  const transfer = await context.transferOf(unit.table);
  const { delivery, extra } = await inTransaction(
    source,
    () => copyUnit(source, target, { unit, transfer, context }),
    'repeatable read',
  );
  await context.onRefused(delivery.refused);
  const counts = { ...delivery, refused: delivery.refused.length, extra };
  await finishUnit(target, unit.id, counts);
  const startedAt = performance.now();
  await target.query('commit');
  return { unit, counts, commitMs: performance.now() - startedAt };
}

interface UnitWork {
  readonly unit: Unit;
  readonly transfer: Transfer;
  readonly context: UnitContext;
}

async function copyUnit(
  source: pg.Client,
  target: pg.Client,
  work: UnitWork,
): Promise<{ delivery: Delivery; extra: number }> {
  const { unit, transfer, context } = work;
  // The first statement of the source's transaction: it fixes the snapshot before the target is looked at.
  const unsettled = context.ledger ? await readUnsettled(source, unit.table, [unit]) : await fixSnapshot(source);
  if (unsettled.length === 0 && (await mayGoStraight(target, work))) {
    return { delivery: await copyStraight(source, target, work), extra: 0 };
  }
  if (transfer.guard !== 'key' && context.ledger) await takeOver(source, work);
  await lockUnguarded(target, transfer);
  for (const { text } of context.writeSettings) await target.query(text);
  const delivery = await bringRows({
    ...{ source, target, transfer, targetSide: context.target.side, ranges: [unit], registry: 'parents' },
    overwrite: context.overwrite,
  });
  return { delivery, extra: await countExtra(target, work) };
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
  return !transfer.hypertable || (await isCopyStraightSafe(context.target, unit.table, unit));
}

async function copyStraight(
  source: pg.Client,
  target: pg.Client,
  { unit, transfer, context }: UnitWork,
): Promise<Delivery> {
  try {
    const statements = { to: copyToSql(transfer, [unit]), from: copyFromSql(transfer, 'table') };
    const copied = await copyBetween(source, target, statements);
    const [there, here] = await Promise.all([digestUnit(source, 'primary'), digestUnit(target, 'secondary')]);
    if (there !== here) throw new StraightCopyFailed(unit.id, { cause: 'another writer was there' });
    return { copied, inserted: copied, skipped: 0, corrected: 0, refused: [] };
  } catch (error) {
    if (faultKind(error) === 'refused') throw new StraightCopyFailed(unit.id, { cause: error });
    throw error;
  }

  async function digestUnit(client: pg.Client, role: 'primary' | 'secondary'): Promise<string> {
    const { compared: table } = transfer;
    const reading = { table, method: context.method, role };
    const { text, values = [] } = digestRanges(reading, [{ ...unit, width: unit.to - unit.from }]);
    const { rows } = await client.query<{ rows: number; digest: string }>(text, [...values]);
    return rows.map(({ rows: count, digest }) => `${count} ${digest}`).join();
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
async function countExtra(target: Queryable, { unit, transfer, context }: UnitWork): Promise<number> {
  const bounds = [formatInstant(unit.from), formatInstant(unit.to)];
  const { rows } = await target.query<RowName>(findExtraSql(transfer), [...bounds, EXTRA_AT_MOST]);
  if (rows.length === 0) return 0;
  const lacking = await context.source.pool.query<RowName>(findLackingSql(transfer), namesOf(rows));
  if (!context.prune || lacking.rows.length === 0) return lacking.rows.length;
  await target.query(keepExtraSql(transfer), [...namesOf(lacking.rows), ...bounds, context.target.side]);
  await target.query(deleteExtraSql(transfer), [...namesOf(lacking.rows), ...bounds]);
  return 0;
}

interface RowName extends Record<string, unknown> {
  readonly sensor_id: string;
  readonly time: string;
}

function namesOf(rows: readonly RowName[]): [string[], string[]] {
  return [rows.map((row) => row.sensor_id), rows.map((row) => row.time)];
}
