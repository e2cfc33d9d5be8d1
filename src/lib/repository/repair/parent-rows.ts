import type { TablePair } from '../tables/table-pair.js';

/** What a foreign key of the target asks of another table. */
export interface ParentRows {
  /** Of the table that refers. */
  readonly columns: readonly string[];
  /** The table referred to, its key the columns that the foreign key names. */
  readonly table: TablePair;
}
