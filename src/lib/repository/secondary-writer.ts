import { randomUUID } from 'node:crypto';
import { hasUniqueKey, readTableShapes } from '../db/catalog.js';
import type { Database } from '../db/database.js';
import { describeFault, faultKind } from '../db/sqlstate.js';
import { repeatCollisions } from '../db/transaction.js';
import { sideTitle } from '../domain/side.js';
import { UnreachableError } from '../errors.js';
import { columnItems, countReadings, halveRows, type AcceptedRows } from './batch.js';
import { secondaryBatchSql, statementName } from './batch-sql.js';
import type { RefusedReading } from './ledger.js';
import { READING_KEY } from './reading-tables.js';

/** A reading that the secondary refused for good, with its words. */
export type Refusal = Omit<RefusedReading, 'consumerId'>;

/** Writes to the secondary what the primary accepted, one attempt a call. */
export class SecondaryWriter {
  readonly #checked = new Set<string>();

  constructor(private readonly secondary: Database) {}

  /**
   * Inserts the rows in one round trip; what is there already stays. Where the secondary refuses a reading the rows are
   * halved until the culprit stands alone; these are returned. Throws when anything else was not confirmed.
   */
  async write(rows: readonly AcceptedRows[]): Promise<Refusal[]> {
    try {
      await repeatCollisions(() => this.#insert(rows));
      return [];
    } catch (error) {
      if (faultKind(error) !== 'refused') throw error;
      if (countReadings(rows) === 1) return rows.map((only) => refusalOf(only, error));
      const [first, second] = halveRows(rows);
      return [...(await this.write(first)), ...(await this.write(second))];
    }
  }

  async #insert(rows: readonly AcceptedRows[]): Promise<void> {
    const tables = rows.map((each) => each.table);
    await this.#assertKeyed(tables);
    await this.secondary.pool.query({
      name: statementName('secondary', tables),
      text: secondaryBatchSql(tables),
      values: rows.flatMap((each) => each.columns),
    });
  }

  /** Without a unique key a retry would store rows twice. */
  async #assertKeyed(tables: readonly string[]): Promise<void> {
    const unknown = tables.filter((table) => !this.#checked.has(table));
    if (unknown.length === 0) return;
    const shapes = await readTableShapes(this.secondary.pool, unknown);
    for (const [name, shape] of shapes) {
      if (!hasUniqueKey(shape, READING_KEY)) throw missingKey(name, this.secondary);
      this.#checked.add(name);
    }
  }
}

function refusalOf(row: AcceptedRows, error: unknown): Refusal {
  const [time] = columnItems(row, 0);
  const [sensorId] = columnItems(row, 1);
  const reason = describeFault(error);
  return { entryId: randomUUID(), table: row.table, sensorId: sensorId ?? '', time: time ?? '', reason };
}

function missingKey(table: string, { side }: Database): Error {
  const message = `${table} on ${sideTitle(side)} has no unique key (${READING_KEY.join(', ')})`;
  return new UnreachableError(message, { next: `run: sensorctl init --side ${side} --add-keys` });
}
