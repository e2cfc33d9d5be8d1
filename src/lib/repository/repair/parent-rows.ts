import type { TablePair } from '../tables/table-pair.js';

/** A table that a foreign key of the target refers to. */
export interface ParentRows {
  /** The columns of the referring table. */
  readonly columns: readonly string[];
  /** The table referred to, its key the columns that the foreign key names. */
  readonly table: TablePair;
}
