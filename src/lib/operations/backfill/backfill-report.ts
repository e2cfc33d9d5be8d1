import { type Database } from '../../db/database.js';
import { otherSide, type Side } from '../../domain/side.js';
import type { Logger } from '../../logger.js';
import type { Leaf } from '../../repository/compare/find-leaves.js';
import type { TableSelection } from '../../domain/table-patterns.js';
import type { LeftOutTable } from '../../repository/compare/plan-tables.js';
import { type LeftOut, type WindowRequest } from '../../repository/compare/window.js';
import { type Gap } from '../../repository/ledger/ledger.js';

/** Repair what the ledger says; compare and copy what differs; copy without comparing; copy ranges that were found before. */
export type BackfillMode = 'ledger' | 'differences' | 'full' | 'given';

export interface BackfillRequest extends WindowRequest {
  readonly mode: BackfillMode;
  /** Tables of the migration, by name or pattern; empty: all. */
  readonly tables: readonly string[];
  /** The tables of the migration; absent: every one. */
  readonly selection?: TableSelection;
  /** In the mode `given`: by table, what to copy. */
  readonly given?: ReadonlyMap<string, readonly Leaf[]>;
  /** Units side by side; null: by the time a round trip to the target takes. */
  readonly jobs: number | null;
  /** Rows a second, at most; null: no limit but the throttle's own. */
  readonly maxRate: number | null;
  /** Delete rows that only the target has. */
  readonly prune: boolean;
  /** The side that is written. */
  readonly target: Side;
  /**
   * The side that decides what a row holds, and whose ledger says what the other one lacks. The other one gets its rows,
   * differing ones too; to itself only rows are added that it lacks.
   */
  readonly primary: Side;
}

/** The request that brings what a comparison found from the primary to the other side. */
export function requestForDiffering(
  differing: ReadonlyMap<string, readonly Leaf[]>,
  primary: Side,
  selection?: TableSelection,
): BackfillRequest {
  const given = new Map([...differing].filter(([, leaves]) => leaves.length > 0));
  return {
    ...{ from: null, to: null, windowMicros: null, mode: 'given', tables: [...given.keys()], given },
    ...{ jobs: null, maxRate: null, prune: false, target: otherSide(primary), primary },
    ...(selection !== undefined && { selection }),
  };
}

/** What was done, of one table or of all together. */
export interface BackfillCounts {
  /** Ledger entries and units that were worked through. */
  readonly ranges: number;
  /** Rows that were brought or found there: the sum of those inserted, skipped and corrected, and of those refused again. */
  readonly rowsCopied: number;
  readonly rowsInserted: number;
  /** Rows that were there, equal. */
  readonly rowsSkipped: number;
  /** Rows that differed, or that the ledger says are gone. */
  readonly rowsCorrected: number;
  /** Rows that the target refuses, or does not hold as they were written. */
  readonly rowsRefused: number;
  /** Rows that only the target has. */
  readonly rowsExtra: number;
  /** Rows that only the target had: deleted, and kept in its quarantine. */
  readonly rowsPruned: number;
}

/** What was done, by table. */
export type CountsByTable = ReadonlyMap<string, BackfillCounts>;

/** The result of `backfill`; its counts are those of all tables together. */
export interface BackfillReport extends BackfillCounts {
  /** Each table of which anything was done. */
  readonly tables: readonly (BackfillCounts & { readonly table: string })[];
  /** Rows that were looked at on the target afterwards, or set there while they were locked, and are equal. */
  readonly verified: number;
  /** Without what other programs have written meanwhile. */
  readonly remainingGaps: number;
  readonly gaps: readonly Gap[];
  readonly leftOut: readonly LeftOut[];
  /** Tables that could not be copied, or not to the end, with the reason. */
  readonly failed: readonly { readonly table: string; readonly reason: string }[];
  /** No part of the migration. */
  readonly tablesLeftOut: readonly LeftOutTable[];
}

/** The plan of a backfill. */
export interface BackfillPlan {
  readonly ranges: number;
  readonly rows: number;
  readonly bytes: number;
  /** By the rows above at the usual pace, or at the rate that was asked for. */
  readonly seconds: number;
}

export const NO_ROWS: BackfillCounts = {
  ranges: 0,
  rowsCopied: 0,
  rowsInserted: 0,
  rowsSkipped: 0,
  rowsCorrected: 0,
  rowsRefused: 0,
  rowsExtra: 0,
  rowsPruned: 0,
};

export function addCounts(one: BackfillCounts, other: BackfillCounts): BackfillCounts {
  const names = Object.keys(NO_ROWS) as (keyof BackfillCounts)[];
  return Object.fromEntries(names.map((name) => [name, one[name] + other[name]])) as unknown as BackfillCounts;
}

export function addByTable(one: CountsByTable, other: CountsByTable): CountsByTable {
  const sums = new Map(one);
  for (const [table, counts] of other) sums.set(table, addCounts(sums.get(table) ?? NO_ROWS, counts));
  return sums;
}

export function sumOfTables(counts: CountsByTable): BackfillCounts {
  return [...counts.values()].reduce(addCounts, NO_ROWS);
}

export interface BackfillSides {
  readonly local: Database;
  readonly ec2: Database;
}

export interface BackfillHooks {
  readonly stop: AbortSignal;
  readonly logger: Logger;
  /** Called with what will be done, once that is known. */
  readonly onPlan: (plan: BackfillPlan) => void;
  readonly onProgress: (progress: BackfillProgress) => void;
}

export interface BackfillProgress {
  readonly step: 'repairing gaps' | 'looking for differences' | 'counting rows' | 'copying';
  readonly table: string | null;
  readonly rows: number;
  /** Null where it is not known. */
  readonly ofRows: number | null;
  /** Why it holds back; null where it does not. */
  readonly throttled: string | null;
}
