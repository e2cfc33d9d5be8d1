import type { Database } from '../../db/database.js';
import { describeFault, faultKind } from '../../db/sqlstate.js';
import type { DeclaredTables, Unit } from '../../domain/row.js';
import { findObstacles, type Obstacle } from '../tables/declared-tables.js';
import { planRows, type PlannedRows } from './batch.js';
import { CheckedTables, type CheckedView } from './checked-tables.js';
import { looksFitting } from './looks-fitting.js';
import { castRowsSql } from './shape-sql.js';

/** Says of rows why tables of a side would not take them, and writes nothing. */
export class RowTrial {
  readonly #tables: CheckedTables;

  /** `declared`: the tables of the decoder. */
  constructor(
    private readonly database: Database,
    private readonly declared: DeclaredTables,
  ) {
    this.#tables = new CheckedTables(database, declared);
  }

  /** How the tables of the decoder do not fit; empty where they do. */
  async findObstacles(): Promise<Obstacle[]> {
    return await findObstacles(this.database, this.declared);
  }

  /** The reasons why a unit would not be stored; those of keys and constraints show only when it is. */
  async findReasons(unit: Unit): Promise<string[]> {
    const { units, unfit, view } = await this.#tables.check([unit]);
    if (units.length === 0) return unfit.map(({ reason }) => reason);
    const reasons: string[] = [];
    for (const planned of planRows(units, view)) reasons.push(...(await this.#tryCasts(planned, view)));
    if (reasons.length > 0 || looksFitting(unit, view.tables)) return reasons;
    return ['a value looks too large for its column, or is null where the column takes none'];
  }

  async #tryCasts({ shape, columns }: PlannedRows, { on }: CheckedView): Promise<string[]> {
    try {
      await this.database.pool.query({ text: castRowsSql(shape, on.get(shape.table)), values: [...columns] });
      return [];
    } catch (error) {
      if (faultKind(error) !== 'rejected') throw error;
      return [`${shape.table}: ${describeFault(error)}`];
    }
  }
}
