import { isTooMuch } from '../../db/sqlstate.js';
import type { Role } from '../../domain/side.js';
import type { Table } from '../tables/table.js';
import { unequalBuckets, viewOf, type Comparison, type Leaf, type SideTotals } from './find-leaves.js';
import { ask, askForDigests, repeatReading } from './sides.js';
import { digestClasses, type BucketDigest, type ClassSlice, type Pages } from './slices.js';

/**
 * Tables without an axis are cut by a hash of the key: both sides put a row into the same class, in whatever order they
 * have its keys. Every class is spread over the whole table, so that a side digests all of them at once, and a large
 * table in parts by the pages of its files; what the parts have of a class is added up. A row that moves meanwhile counts
 * twice or not at all, and is looked at again like any that differs.
 */

/** What is cut into classes. */
export type ClassLine = Omit<ClassSlice, 'classes'>;

/** How far a side has come: the page up to which it is done, and by class the rows and the sum of their digests. */
interface SideProgress {
  readonly page: number;
  readonly isDone: boolean;
  readonly classes: Readonly<Record<string, readonly [rows: number, digest: string]>>;
}

export type ClassProgress = { readonly line: ClassLine } & Readonly<Record<Role, SideProgress>>;

export interface ClassScan {
  readonly primary: SideTotals;
  readonly secondary: SideTotals;
  readonly leaves: readonly Leaf[];
}

export interface ClassScanOptions {
  readonly rows: ClassSlice['rows'];
  readonly stop: AbortSignal;
  /** Called after each part of a large table, with the rows of the primary and the share that is done. */
  readonly onProgress: (progress: ClassProgress, rows: number, share: number) => Promise<void>;
  /** Where an earlier scan ended. */
  readonly resumed?: ClassProgress | undefined;
}

const CLASSES_AT_LEAST = 1_024;
const CLASSES_AT_MOST = 8_192;
const PAGES_A_CLASS = 16;
/** A smaller table is digested by one statement. */
const PAGES_AT_ONCE = 16_384;
const PART_MS = 1_500;
/** To look at any row of a class is to read the table: of a large one as many are looked at together as memory likes. */
const ROWS_A_LEAF = 2_000;
const ROWS_A_LARGE_LEAF = 50_000;

const READ_PAGES = `
  select max(pg_relation_size(part.oid) / current_setting('block_size')::int)::int8 as pages
  from (select $1::regclass::oid as oid union all select relid from pg_partition_tree($1::regclass) where isleaf) as part`;

/** Digests what has no place on an axis on both sides, and answers what differs. Ends early when it is told to stop. */
export async function scanClasses(comparison: Comparison, options: ClassScanOptions): Promise<ClassScan> {
  const line = options.resumed?.line ?? (await planLine(comparison, options.rows));
  const scan = new Scan(comparison, line, options);
  await Promise.all([scan.digest('primary'), scan.digest('secondary')]);
  const [primary, secondary] = [scan.bucketsOf('primary'), scan.bucketsOf('secondary')];
  return {
    primary: totalsOf(primary),
    secondary: totalsOf(secondary),
    leaves: leavesOf(line, unequalBuckets(primary, secondary)),
  };
}

/** The parts in which the rows of a class are read. */
export function partsOf(pages: number | null): readonly (Pages | null)[] {
  if (pages === null) return [null];
  const parts = Math.ceil(pages / PAGES_AT_ONCE);
  return Array.from({ length: parts }, (_, part) => ({
    from: part * PAGES_AT_ONCE,
    to: part + 1 === parts ? null : (part + 1) * PAGES_AT_ONCE,
  }));
}

/** What is off the axis is few rows, which an index may find. */
export async function planLine(
  { sides, table }: Pick<Comparison, 'sides' | 'table'>,
  rows: ClassSlice['rows'],
): Promise<ClassLine> {
  if (rows === 'off axis') return { rows, of: CLASSES_AT_LEAST, pages: { primary: null, secondary: null } };
  const [primary, secondary] = await Promise.all(
    (['primary', 'secondary'] as const).map((role) => readPages(sides, role, table.sides[role])),
  );
  const most = Math.max(primary ?? 0, secondary ?? 0);
  const classes = 2 ** Math.ceil(Math.log2(Math.max(1, most / PAGES_A_CLASS)));
  return {
    rows,
    of: Math.min(CLASSES_AT_MOST, Math.max(CLASSES_AT_LEAST, classes)),
    pages: { primary: largeOrNull(primary), secondary: largeOrNull(secondary) },
  };
}

function largeOrNull(pages: number | null | undefined): number | null {
  return pages == null || pages <= PAGES_AT_ONCE ? null : pages;
}

/** Null of a hypertable: the rows of compressed chunks have no place in a page. */
async function readPages(sides: Comparison['sides'], role: Role, { oid, kind }: Table): Promise<number | null> {
  if (kind === 'hypertable') return null;
  const [row] = await ask<{ pages: number | null }>(sides[role], { text: READ_PAGES, values: [oid] });
  return row?.pages ?? null;
}

class Scan {
  readonly #progress: Record<Role, { page: number; isDone: boolean; classes: Map<number, BucketDigest> }>;

  constructor(
    private readonly comparison: Comparison,
    private readonly line: ClassLine,
    private readonly options: ClassScanOptions,
  ) {
    const begin = (role: Role) => {
      const { page = 0, isDone = false, classes = {} } = options.resumed?.[role] ?? {};
      const digests = Object.entries(classes).map(([bucket, [rows, digest]]) => digestOf(Number(bucket), rows, digest));
      return { page, isDone, classes: new Map(digests.map((each) => [each.bucket, each])) };
    };
    this.#progress = { primary: begin('primary'), secondary: begin('secondary') };
  }

  bucketsOf(role: Role): BucketDigest[] {
    return [...this.#progress[role].classes.values()];
  }

  async digest(role: Role): Promise<void> {
    const progress = this.#progress[role];
    const pages = this.line.pages[role];
    for (let width = PAGES_AT_ONCE; !progress.isDone && !this.options.stop.aborted;) {
      const end = progress.page + width;
      const part = pages === null ? null : { from: progress.page, to: end >= pages ? null : end };
      const startedAt = performance.now();
      this.#add(role, await this.#digestPart(role, part));
      const factor = PART_MS / Math.max(1, performance.now() - startedAt);
      width = Math.max(1, Math.round(width * Math.min(4, Math.max(0.25, factor))));
      progress.page = end;
      progress.isDone = part?.to == null;
      if (part !== null) await this.#tell();
    }
  }

  /** Halves what a server could not do in time. */
  async #digestPart(role: Role, part: Pages | null): Promise<BucketDigest[]> {
    const statement = digestClasses(viewOf(this.comparison, role), this.line, part);
    try {
      return await repeatReading(() => askForDigests<BucketDigest>(this.comparison.sides[role], statement));
    } catch (error) {
      const middle = part === null ? 0 : (part.from + (part.to ?? this.line.pages[role] ?? 0)) >> 1;
      if (part === null || middle <= part.from || !isTooMuch(error) || this.options.stop.aborted) throw error;
      const first = await this.#digestPart(role, { from: part.from, to: middle });
      return [...first, ...(await this.#digestPart(role, { from: middle, to: part.to }))];
    }
  }

  #add(role: Role, digests: readonly BucketDigest[]): void {
    const { classes } = this.#progress[role];
    for (const { bucket, rows, digest } of digests) {
      const known = classes.get(bucket);
      const sum = known === undefined ? digest : String(BigInt(known.digest) + BigInt(digest));
      classes.set(bucket, digestOf(bucket, rows + (known?.rows ?? 0), sum));
    }
  }

  async #tell(): Promise<void> {
    const { primary, secondary } = this.#progress;
    const textOf = ({ page, isDone, classes }: typeof primary): SideProgress => {
      const sums = [...classes.values()].map(({ bucket, rows, digest }) => [bucket, [rows, digest] as const]);
      return { page, isDone, classes: Object.fromEntries(sums) as SideProgress['classes'] };
    };
    const shares = (['primary', 'secondary'] as const).map((role) => {
      const { page, isDone } = this.#progress[role];
      return isDone ? 1 : page / (this.line.pages[role] ?? 1);
    });
    await this.options.onProgress(
      { line: this.line, primary: textOf(primary), secondary: textOf(secondary) },
      totalsOf(this.bucketsOf('primary')).rows,
      Math.min(...shares),
    );
  }
}

function digestOf(bucket: number, rows: number, digest: string): BucketDigest {
  return { place: 0, bucket, rows, digest, newest: null };
}

function totalsOf(buckets: readonly BucketDigest[]): SideTotals {
  return { rows: buckets.reduce((sum, { rows }) => sum + rows, 0), newest: null };
}

function leavesOf(line: ClassLine, differing: readonly { readonly bucket: number; readonly rows: number }[]): Leaf[] {
  const isLarge = line.pages.primary !== null || line.pages.secondary !== null;
  const size = isLarge ? ROWS_A_LARGE_LEAF : ROWS_A_LEAF;
  const leaves: { classes: number[]; rows: number }[] = [];
  for (const { bucket, rows } of differing) {
    const last = leaves.at(-1);
    if (last === undefined || last.rows + rows > size) leaves.push({ classes: [bucket], rows });
    else {
      last.classes.push(bucket);
      last.rows += rows;
    }
  }
  return leaves.map(({ classes, rows }) => ({ slice: { ...line, classes }, rows }));
}
