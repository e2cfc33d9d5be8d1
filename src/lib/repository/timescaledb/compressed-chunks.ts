import { isBefore, losesRowsOnConflict, readTimescaleDb } from '../tables/server-facts.js';
import type { Database } from '../../db/database.js';
import type { Statement } from '../../db/transaction.js';
import { sideTitle } from '../../domain/side.js';
import { listOf } from '../../domain/words.js';
import type { TimeRange } from '../../domain/time-range.js';
import { UnreachableError } from '../../errors.js';
import { readChunks, type Chunk } from './chunks.js';
import type { Table } from '../tables/table.js';

const NO_DECOMPRESSION_LIMIT = 'set local timescaledb.max_tuples_decompressed_per_dml_transaction = 0';

/** No information view says which chunks are frozen; this function came with 2.12. */
const CAN_READ_STATUS = "select to_regprocedure('_timescaledb_functions.chunk_status(regclass)') is not null as exists";
const FIND_FROZEN = `
  select name from unnest($1::text[]) as chunk (name) where _timescaledb_functions.chunk_status(to_regclass(name)) & 4 <> 0`;

const NAMED_AT_MOST = 3;

/**
 * What a transaction that writes readings sets first, in order. One statement may need more than the 100,000 tuples that
 * TimescaleDB decompresses by default (SQLSTATE 53400): an update or delete takes whole batches of each segment.
 */
export async function readWriteSettings({ pool }: Database): Promise<readonly Statement[]> {
  const { installed } = await readTimescaleDb(pool);
  return installed === null || isBefore(installed, 2, 11) ? [] : [{ text: NO_DECOMPRESSION_LIMIT }];
}

/**
 * Throws an UnreachableError where chunks of the table in these ranges of times, or any, take no writes, or lose them:
 * frozen or tiered ones, and compressed ones by the rules of TimescaleDB's version.
 */
export async function assertWritable(
  target: Database,
  table: Table,
  ranges: readonly TimeRange[] | undefined,
): Promise<void> {
  if (table.hypertable === null) return;
  const [{ installed }, chunks] = await Promise.all([
    readTimescaleDb(target.pool),
    readChunks(target.pool, table.name, ranges),
  ]);
  const where = `${table.label} on the ${sideTitle(target.side)} database`;
  const frozen = await readFrozen(target, chunks);
  if (frozen.length > 0) {
    throw new UnreachableError(
      `${where} has frozen chunks in this range, which take no writes: ${listOf(frozen, NAMED_AT_MOST)}`,
      {
        code: 'chunks-frozen',
      },
    );
  }
  const compressed = chunks.filter((chunk) => chunk.compressed).map(({ name }) => name);
  const problem = compressed.length === 0 || installed === null ? null : problemOf(installed);
  if (problem === null) return;
  const statements = compressed.slice(0, NAMED_AT_MOST).map((name) => `select decompress_chunk('${name}');`);
  throw new UnreachableError(
    `${where} has compressed chunks in this range, and ${problem}: ${listOf(compressed, NAMED_AT_MOST)}`,
    {
      code: 'chunks-compressed',
      facts: { statements },
    },
  );
}

/** Whether a COPY straight into the table meets no compressed chunk in the range of times, or at all: into one it would go row by row. */
export async function isCopyStraightSafe(target: Database, table: Table, times: TimeRange | null): Promise<boolean> {
  if (table.hypertable === null) return true;
  const chunks = await readChunks(target.pool, table.name, times === null ? undefined : [times]);
  return chunks.every((chunk) => !chunk.compressed);
}

/** Returns what is wrong with writes into compressed chunks in this version, by its changelog; null for nothing. */
export function problemOf(version: string): string | null {
  if (isBefore(version, 2, 11)) return `TimescaleDB ${version} takes no rows with a unique key there (2.11 does)`;
  if (isBefore(version, 2, 15, 1)) return `COPY into them can crash TimescaleDB ${version} (2.15.1 mends it)`;
  return losesRowsOnConflict(version) ? `TimescaleDB ${version} loses rows that are written there` : null;
}

async function readFrozen({ pool }: Database, chunks: readonly Chunk[]): Promise<readonly string[]> {
  const { rows: facts } = await pool.query<{ exists: boolean }>(CAN_READ_STATUS);
  if (facts[0]?.exists !== true) return [];
  const { rows } = await pool.query<{ name: string }>(FIND_FROZEN, [chunks.map(({ name }) => name)]);
  return rows.map(({ name }) => name);
}
