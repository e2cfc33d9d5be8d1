import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { findLosingTables, hasUniqueKey, readTableShapes } from '../tables/catalog.js';
import type { Database } from '../../db/database.js';
import { describeFault, faultKind } from '../../db/sqlstate.js';
import { repeatCollisions, runTransaction, type Statement } from '../../db/transaction.js';
import type { ReadingTable } from '../../domain/reading.js';
import { sideTitle } from '../../domain/side.js';
import { UnreachableError } from '../../errors.js';
import { columnItems, countReadings, halveRows, type AcceptedRows } from './batch.js';
import { secondaryBatchSql, statementName, type InsertGuard } from './batch-sql.js';
import type { RefusedReading } from '../ledger/ledger.js';
import { countWritten, holdMarkers } from '../ledger/markers.js';
import { READING_KEY } from '../tables/reading-tables.js';

/** A reading that the secondary refused for good, with its words. */
export type Refusal = Omit<RefusedReading, 'consumerId'>;

/** Written, but for the refused readings; or left to a repair, with the reason. */
export type WriteResult = { readonly refused: readonly Refusal[] } | { readonly left: string };

export interface SecondaryBatch {
  readonly batchId: string;
  readonly consumerId: string;
  readonly rows: readonly AcceptedRows[];
}

/** Writes to the secondary what the primary accepted, one attempt a call. */
export class SecondaryWriter {
  readonly #keyed = new Map<ReadingTable, boolean>();

  constructor(private readonly secondary: Database) {}

  /**
   * Inserts a batch in one round trip; what is there already stays. Where the secondary refuses a reading the batch is
   * halved until the culprit stands alone. Throws when anything else was not confirmed.
   */
  async write(batch: SecondaryBatch): Promise<WriteResult> {
    const tables = batch.rows.map((each) => each.table);
    const keyed = await Promise.all(tables.map((table) => this.#isKeyed(table)));
    if (keyed.every(Boolean)) return { refused: await this.#insertOrHalve(batch.rows, insertGuardedByKey) };
    return await this.#writeMarked(batch, (table) => (keyed[tables.indexOf(table)] === true ? 'key' : 'marker'));
  }

  /** Forgets tables that lose rows by now: the next batch finds that out, and is not written. */
  async lookAgain(): Promise<void> {
    if (this.#keyed.size === 0) return;
    for (const table of await findLosingTables(this.secondary.pool)) this.#keyed.delete(table as ReadingTable);
  }

  /** Whether the table has the unique key; without it, markers keep readings from being stored twice. */
  async #isKeyed(table: ReadingTable): Promise<boolean> {
    const known = this.#keyed.get(table);
    if (known !== undefined) return known;
    const shape = (await readTableShapes(this.secondary.pool, [table])).get(table);
    if (shape?.losesRows === true) throw losingRows(table, this.secondary);
    // A table that is not there gives its own error when it is written to.
    const keyed = shape === undefined || hasUniqueKey(shape, READING_KEY);
    if (shape !== undefined) this.#keyed.set(table, keyed);
    return keyed;
  }

  /** The batch is written as a whole or not at all: its marker stands for all of its rows. */
  async #writeMarked(batch: SecondaryBatch, guardOf: (table: ReadingTable) => InsertGuard): Promise<WriteResult> {
    const { batchId, consumerId, rows } = batch;
    const tables = rows.map((each) => each.table);
    const insert: Statement = {
      name: statementName('secondary', tables, guardOf),
      text: secondaryBatchSql(tables, guardOf),
      values: [batchId, consumerId, ...rows.flatMap((each) => each.columns)],
    };
    const statements = [holdMarkers(), insert, countWritten(batchId)];
    try {
      const results = await this.#run(statements);
      const marked = tables.filter((table) => guardOf(table) === 'marker').length;
      if (Number(results[2]?.rows[0]?.written) === marked) return { refused: [] };
      return { left: `a repair on ${sideTitle(this.secondary.side)} has taken the batch over` };
    } catch (error) {
      if (faultKind(error) === 'refused') return { left: describeFault(error) };
      throw error;
    }
  }

  async #insertOrHalve(
    rows: readonly AcceptedRows[],
    insert: (rows: readonly AcceptedRows[]) => Statement[],
  ): Promise<Refusal[]> {
    try {
      await this.#run(insert(rows));
      return [];
    } catch (error) {
      if (faultKind(error) !== 'refused') throw error;
      if (countReadings(rows) === 1) return rows.flatMap((only) => refusalsOf(only, describeFault(error)));
      const [first, second] = halveRows(rows);
      return [...(await this.#insertOrHalve(first, insert)), ...(await this.#insertOrHalve(second, insert))];
    }
  }

  /** What the catalog said is looked up again after an error that a changed table can explain. */
  async #run(statements: readonly Statement[]): Promise<pg.QueryResult<Record<string, unknown>>[]> {
    const [only] = statements;
    try {
      return await repeatCollisions(async () => {
        if (only === undefined || statements.length > 1) return await runTransaction(this.secondary.pool, statements);
        return [await this.secondary.pool.query({ ...only, values: [...(only.values ?? [])] })];
      });
    } catch (error) {
      if (faultKind(error) === 'misconfigured') this.#keyed.clear();
      throw error;
    }
  }
}

function insertGuardedByKey(rows: readonly AcceptedRows[]): Statement[] {
  const tables = rows.map((each) => each.table);
  const values = rows.flatMap((each) => each.columns);
  return [{ name: statementName('secondary', tables), text: secondaryBatchSql(tables), values }];
}

function losingRows(table: ReadingTable, { side }: Database): Error {
  const message = `${table} on ${sideTitle(side)} is compressed by a TimescaleDB before 2.18.1, which would lose rows`;
  return new UnreachableError(message, { code: 'timescaledb-too-old' });
}

/** Names each of the rows as refused, for one reason. */
function refusalsOf(rows: AcceptedRows, reason: string): Refusal[] {
  const [times, sensorIds] = [columnItems(rows, 0), columnItems(rows, 1)];
  return times.map((time, place) => ({
    entryId: randomUUID(),
    table: rows.table,
    sensorId: sensorIds[place] ?? '',
    time: time ?? '',
    reason,
  }));
}
