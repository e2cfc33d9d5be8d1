import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { copyBetween } from '../../db/copy.js';
import { assertNotRewritten } from '../tables/rewritten-tables.js';
import { describeFault, faultKind, isUnforeseen } from '../../db/sqlstate.js';
import { CHECK_AT_ONCE, queryAll } from '../../db/transaction.js';
import { otherSide, sideTitle, type Side } from '../../domain/side.js';
import type { Refusal } from '../ledger/ledger.js';
import {
  canCorrect,
  copyFromSql,
  copyToSql,
  correctDifferingSql,
  countDifferingSql,
  dropNumbersSql,
  findAbsentParentsSql,
  findUnequalSql,
  insertStagedSql,
  keepDifferingSql,
  numberStagedSql,
  takeStagedSql,
  writeSettingsOf,
} from './staging-sql.js';
import { insertAbsent } from './insert-absent.js';
import type { Portion } from './portion.js';
import type { Transfer } from './transfer.js';
import { underOwnPath, writeUnderOwnPath } from '../../db/search-path.js';

/** A row that the target did not take; of one without a place in time, or without a key, the ledger has no way to tell. */
export type RefusedRow = Omit<Refusal, 'sensorId' | 'time'> & Readonly<Record<'sensorId' | 'time', string | null>>;

/** Those of them that the ledger can name. */
export function namedInLedger(rows: readonly RefusedRow[]): Refusal[] {
  return rows.flatMap(({ sensorId, time, ...row }) =>
    sensorId === null || time === null ? [] : [{ ...row, sensorId, time }],
  );
}

/** The outcome for the rows of some ranges. `copied` is the sum of the others. */
export interface Delivery {
  /** Rows that the source's snapshot holds. */
  readonly copied: number;
  readonly inserted: number;
  /** Rows that were there, equal. */
  readonly skipped: number;
  readonly corrected: number;
  /** Rows that the target refuses, or does not hold as they were written. */
  readonly refused: readonly RefusedRow[];
}

export interface BringOptions {
  /** In an open transaction whose snapshot the rows are read in. */
  readonly source: pg.ClientBase;
  /** In an open transaction; nothing is committed here. */
  readonly target: pg.ClientBase;
  readonly targetSide: Side;
  readonly transfer: Transfer;
  /** What is brought; null: nothing. */
  readonly portion: Portion | null;
  /** Differing rows become what the source holds; else they are named and left alone. */
  readonly overwrite: boolean;
}

/**
 * Brings the source's rows of some ranges to the target through a staging table: inserts what is missing, makes differing
 * rows what the source holds, and looks whether each row is there, equal.
 *
 * Safe beside live writes, since both insert the source's own row under its key and never change one: it does not
 * matter which comes first, and a row committed later is in neither the snapshot nor the staging table. Where the target
 * has no key the caller has taken over the batches in flight, and has the table for itself.
 *
 * Throws a RewrittenError, before anything is written, where the snapshot may have shown the table without its rows.
 */
export async function bringRows(options: BringOptions): Promise<Delivery> {
  const { source, target, targetSide, transfer, portion } = options;
  await queryAll(target, [...writeSettingsOf(transfer), CHECK_AT_ONCE]);
  if (portion === null) return { copied: 0, inserted: 0, skipped: 0, corrected: 0, refused: [] };
  const statements = { to: copyToSql(transfer, portion), from: copyFromSql(transfer, 'staging') };
  const copied = await copyBetween(source, target, statements);
  await assertNotRewritten(source, { side: otherSide(targetSide) }, transfer.rewriteCheck);
  if (copied === 0) return { copied, inserted: 0, skipped: 0, corrected: 0, refused: [] };
  const staged = new StagedRows(target, transfer, portion);
  await bringParents(options);
  const { inserted, refused } = await staged.insert(copied);
  const differing = inserted === copied || !canCorrect(transfer) ? 0 : await correctDiffering(options, portion);
  const unequal = await findUnequal(options, portion);
  const corrected = Math.max(0, differing - unequal.length);
  return {
    copied,
    inserted,
    corrected,
    skipped: Math.max(0, copied - inserted - corrected - refused.length - unequal.length),
    refused: [
      ...refused,
      ...namedRefusals(unequal, transfer, `${sideTitle(targetSide)} does not hold it as it was written`),
    ],
  };
}

/** Parents of staged rows that the target lacks. */
export async function bringParents({
  source,
  target,
  transfer,
}: Pick<BringOptions, 'source' | 'target' | 'transfer'>): Promise<void> {
  for (const parent of transfer.parents) {
    const { rows } = await target.query<{ key: string }>(findAbsentParentsSql(transfer, parent));
    if (rows.length === 0) continue;
    await insertAbsent(source, target, { table: parent.table, keys: rows.map(({ key }) => key) });
  }
}

interface NamedRow {
  readonly sensor_id: string | null;
  readonly time: string | null;
}

async function correctDiffering(
  { target, targetSide, transfer, overwrite }: BringOptions,
  portion: Portion,
): Promise<number> {
  if (!overwrite) return 0;
  const { rows } = await target.query<{ rows: number }>(countDifferingSql(transfer, portion));
  const differing = rows[0]?.rows ?? 0;
  if (differing === 0) return 0;
  await target.query(keepDifferingSql(transfer, portion), [targetSide]);
  await writeUnderOwnPath(target, underOwnPath(correctDifferingSql(transfer, portion)));
  return differing;
}

async function findUnequal({ target, transfer }: BringOptions, portion: Portion): Promise<NamedRow[]> {
  return (await target.query<NamedRow & Record<string, unknown>>(findUnequalSql(transfer, portion))).rows;
}

function namedRefusals(rows: readonly NamedRow[], { table }: Transfer, reason: string): RefusedRow[] {
  return rows.map(({ sensor_id: sensorId, time }) => ({ entryId: randomUUID(), table, sensorId, time, reason }));
}

/** The rows in the staging table of a transaction. */
class StagedRows {
  readonly #refused: RefusedRow[] = [];

  constructor(
    private readonly target: pg.ClientBase,
    private readonly transfer: Transfer,
    private readonly portion: Portion,
  ) {}

  /** Inserts all of them; where the target refuses them, halves until each culprit stands alone, and takes it out. */
  async insert(rows: number): Promise<{ inserted: number; refused: readonly RefusedRow[] }> {
    const all = await this.#attempt(insertStagedSql(this.transfer, { portion: this.portion, part: false }), []);
    if (typeof all === 'number') return { inserted: all, refused: [] };
    await this.target.query(numberStagedSql(this.transfer));
    const inserted = await this.#insertPart(0, rows);
    await this.target.query(dropNumbersSql(this.transfer));
    return { inserted, refused: this.#refused };
  }

  async #insertPart(after: number, upTo: number): Promise<number> {
    const outcome = await this.#attempt(insertStagedSql(this.transfer, { portion: this.portion, part: true }), [
      after,
      upTo,
    ]);
    if (typeof outcome === 'number') return outcome;
    if (upTo - after === 1) return await this.#take(upTo, outcome);
    const middle = (after + upTo) >> 1;
    return (await this.#insertPart(after, middle)) + (await this.#insertPart(middle, upTo));
  }

  async #take(number: number, reason: Error): Promise<0> {
    const { rows } = await this.target.query<NamedRow & Record<string, unknown>>(takeStagedSql(this.transfer), [
      number,
    ]);
    this.#refused.push(...namedRefusals(rows, this.transfer, describeFault(reason)));
    return 0;
  }

  /** The number of rows inserted, or why the target refused them. */
  async #attempt(text: string, values: readonly unknown[]): Promise<number | Error> {
    await this.target.query('savepoint attempt');
    try {
      const written = await writeUnderOwnPath(this.target, underOwnPath(text), values);
      await this.target.query('release savepoint attempt');
      return written;
    } catch (error) {
      if (faultKind(error) !== 'rejected' && !isUnforeseen(error)) throw error;
      await this.target.query('rollback to savepoint attempt');
      return error as Error;
    }
  }
}
