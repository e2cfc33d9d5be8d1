import type { Side } from '../../domain/side.js';
import type { DifferenceClass } from '../../repository/compare/ledger-cover.js';
import type { ColumnDifference } from '../../repository/compare/look.js';
import type { LeftOut } from '../../repository/compare/window.js';

export interface SideReport {
  readonly rows: number;
  /** UTC text; null without rows or without a time column. */
  readonly maxTime: string | null;
}

/** What was found in one table. Rows that differ are `missingOnEc2`, `missingOnLocal` and `different`; each has a class. */
export interface TableReport {
  readonly table: string;
  readonly local: SideReport;
  readonly ec2: SideReport;
  readonly missingOnEc2: number;
  readonly missingOnLocal: number;
  readonly different: number;
  readonly pending: number;
  /** Those of them that the secondary has yet to lose. */
  readonly pendingExtra: number;
  readonly knownGap: number;
  readonly unexplained: number;
  /** No range of it was asked for alone. */
  readonly whole: boolean;
}

/** One row that differs, as `--output` writes it. */
export interface DifferenceRecord {
  readonly table: string;
  readonly kind: 'missing on ec2' | 'missing on local' | 'different';
  readonly class: DifferenceClass;
  readonly key: Readonly<Record<string, string | null>>;
  /** The columns of a differing row that differ, with both values as text. */
  readonly columns: Readonly<Record<string, Readonly<Record<Side, ColumnDifference['primary']>>>>;
}

/** A table that could not be compared, with the reason: the comparison is not identical. */
export interface FailedTable {
  readonly table: string;
  readonly reason: string;
}

/** Data of the primary that is not part of the comparison. */
export interface LeftOutTable {
  readonly table: string;
  readonly reason: string;
}

/** Columns that are not compared. */
export interface NotCompared {
  readonly table: string;
  readonly columns: readonly string[];
  readonly reason: string;
}

/** The values of `--digest`. */
export const DIGEST_NAMES = ['hash_record_extended', 'md5'] as const;
export type DigestName = (typeof DIGEST_NAMES)[number];

/** The result of `compare`; `pending` rows alone leave it identical. */
export interface CompareReport {
  readonly verdict: 'identical' | 'different';
  /** The side that decides. */
  readonly primary: Side;
  /** UTC text, [from, to); null where nothing with a time was compared. */
  readonly window: { readonly from: string | null; readonly to: string | null };
  readonly tables: readonly TableReport[];
  readonly failed: readonly FailedTable[];
  /** No part of the migration, or of what was asked for. */
  readonly tablesLeftOut: readonly LeftOutTable[];
  readonly digest: DigestName;
  readonly leftOut: readonly LeftOut[];
  readonly notCompared: readonly NotCompared[];
  /** When a resumed comparison began: what it had compared by then was not looked at again. Null for any other. */
  readonly resumedFrom: string | null;
  /** The first differences, up to the limit. */
  readonly differences: readonly DifferenceRecord[];
}

/** Where in the window the differences of a table lie: how many in each of so many equal parts. */
export type Strip = readonly number[];

export function verdictOf(tables: readonly TableReport[], failed: readonly FailedTable[]): CompareReport['verdict'] {
  const differ =
    failed.length > 0 ||
    tables.some((table) => table.missingOnEc2 + table.missingOnLocal + table.different > table.pending);
  return differ ? 'different' : 'identical';
}
