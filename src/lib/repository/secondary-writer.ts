import { hasUniqueKey, readTableShapes } from '../db/catalog.js';
import type { Database } from '../db/database.js';
import { sideTitle } from '../domain/side.js';
import { UnreachableError } from '../errors.js';
import type { CommittedBatch } from './batch.js';
import { secondaryBatchSql, statementName } from './batch-sql.js';
import { READING_KEY } from './reading-tables.js';

/** Writes committed batches to the secondary, one attempt a call. */
export class SecondaryWriter {
  #checked = new Set<string>();

  constructor(private readonly secondary: Database) {}

  /** Inserts what the primary accepted, in one round trip; what is there already stays. Throws when it was not confirmed. */
  async write({ rows }: CommittedBatch): Promise<void> {
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

function missingKey(table: string, { side }: Database): Error {
  const message = `${table} on ${sideTitle(side)} has no unique key (${READING_KEY.join(', ')})`;
  return new UnreachableError(message, { next: `run: sensorctl init --side ${side} --add-keys` });
}
