/** The rules of the ledger for any writer, as far as one row shows them; each may be taken out. Numbers as in the design. */
export interface RepairRules {
  /** 1: the entry of another writer is made in its own transaction. */
  readonly enterWithWrite: boolean;
  /** 1: a delete is entered as such, and not as a row that was touched. */
  readonly nameGone: boolean;
  /** 2: in a consumer's transaction only the tables that its statement enters itself are left out by the triggers. */
  readonly skipOwnTablesAlone: boolean;
  /** 2: on the secondary the triggers let sensorctl write every table. */
  readonly openSecondary: boolean;
  /** 4: a repair holds the target alone, for which sends wait. */
  readonly lockTarget: boolean;
  /** 4: it reads the source once it holds the target. */
  readonly readAfterLock: boolean;
  /** 5: a send inserts its batch's marker, beside which no other send of it writes. */
  readonly markSends: boolean;
  /** 5: a repair first marks the batches that have not settled. */
  readonly markUnsettled: boolean;
  /** 5: also those whose entries are missed. */
  readonly markMissed: boolean;
  /** 5: markers go once their consumer is recorded as dead, and a send looks whether it is. */
  readonly refuseDead: boolean;
  /** 6: whoever has read asks whether its snapshot showed the table without its rows, and begins again. */
  readonly lookForRewriting: boolean;
  /** 7: nothing is deleted on the secondary but what the source lacks when it is asked once more. */
  readonly confirmGone: boolean;
  /** 8: a repair settles the entries that it read, by their ids. */
  readonly settleById: boolean;
  /** 8: it does so after the secondary has committed. */
  readonly settleLast: boolean;
}

export const RULES: RepairRules = {
  enterWithWrite: true,
  nameGone: true,
  skipOwnTablesAlone: true,
  openSecondary: true,
  lockTarget: true,
  readAfterLock: true,
  markSends: true,
  markUnsettled: true,
  markMissed: true,
  refuseDead: true,
  lookForRewriting: true,
  confirmGone: true,
  settleById: true,
  settleLast: true,
};

/** Who takes part, and how often. */
export interface Cast {
  /** Batches that consumers commit: `first` inserts where there is no row, `newest` overwrites older ones. */
  readonly batches: 'first' | 'newest';
  readonly batchCount: 1 | 2;
  /** Statements of other writers. */
  readonly writes: number;
  readonly repairs: 1 | 2;
  /** Whether a unit of a backfill runs beside them. */
  readonly unit: boolean;
  /** Changes that a snapshot taken before them shows as an empty table. */
  readonly rewritings: number;
}

export const CAST: Cast = { batches: 'first', batchCount: 2, writes: 2, repairs: 2, unit: false, rewritings: 0 };
