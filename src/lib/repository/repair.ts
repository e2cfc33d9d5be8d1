import { randomUUID } from 'node:crypto';
import type { Database, Queryable } from '../db/database.js';
import { repeatCollisions, runTransaction, withTransaction } from '../db/transaction.js';
import { READING_TABLES, type ReadingTable } from '../domain/reading.js';
import { sideTitle } from '../domain/side.js';
import { UnreachableError } from '../errors.js';
import type { AcceptedRows } from './batch.js';
import { batchColumns } from './batch-sql.js';
import { settleBatches, type LedgerState } from './ledger.js';
import {
  FIND_OVERLAPPING,
  CLAIM_ENTRIES,
  CLOSE_ROWS,
  correctRowsSql,
  countEqualSql,
  fetchRowsSql,
  openRowsSql,
  SETTLE_ENTRIES,
} from './repair-sql.js';
import type { Refusal, SecondaryWriter } from './secondary-writer.js';

export interface RepairOptions {
  readonly primary: Database;
  readonly secondary: Database;
  readonly writer: SecondaryWriter;
  /** Rows that travel at once. */
  readonly pageRows: number;
  /** Ledger entries in one repair, at most. */
  readonly entries: number;
  /** `refused` entries are tried again only where somebody asks for it. */
  readonly states: readonly LedgerState[];
  /** Called after each page with its number of rows; whoever awaits here bounds the rate. */
  readonly pace: (rows: number) => Promise<void>;
}

export interface RepairOutcome {
  /** Ledger entries repaired, verified and settled. */
  readonly entries: number;
  /** Rows of the primary looked at, corrected on the secondary, and refused by it. */
  readonly rows: number;
  readonly corrected: number;
  readonly refused: number;
}

/** The claim is a lock: it must outlast one page on the secondary, and be gone before a consumer's lease is. */
const CLAIM_TIMEOUTS = "set local idle_in_transaction_session_timeout = '28s'";

interface UnconfirmedEntry {
  readonly entry_id: number;
  readonly batch_id: string;
  readonly consumer_id: string;
}

interface Claim {
  readonly ids: readonly number[];
  readonly tables: readonly ReadingTable[];
}

/**
 * Repairs the oldest missed entries of the ledger that nobody else is repairing: brings the primary's rows in their
 * times to the secondary, verifies that each is there and equal, and settles exactly the entries that it read.
 *
 * Safe beside live dual writes: rows and entries are read in one snapshot of the primary, and both ways of writing
 * insert the primary's own row under its key, so it does not matter which comes first. Where the secondary has no key
 * the batches in flight are taken over by their markers before anybody looks; rows committed later are in no entry of
 * the snapshot and in no row of it. Dying at any point leaves the entries in the ledger. Throws when a side fails; the ledger is then as it was.
 */
export async function repairMissed(options: RepairOptions): Promise<RepairOutcome> {
  return await repeatCollisions(() =>
    withTransaction(
      options.primary.pool,
      async (client) => {
        await client.query(CLAIM_TIMEOUTS);
        const claim = await claimEntries(client, options);
        if (claim.ids.length === 0) return { entries: 0, rows: 0, corrected: 0, refused: 0 };
        const totals = { rows: 0, corrected: 0 };
        const refusals: Refusal[] = [];
        for (const table of claim.tables) {
          const ids = await takeOver(client, table, claim.ids, options.writer);
          for await (const rows of readPages(client, table, { ids, pageRows: options.pageRows })) {
            const refused = await options.writer.repair(rows);
            totals.corrected += await correctAndVerify(rows, refused, options.secondary);
            totals.rows += rows.readings;
            refusals.push(...refused);
            await options.pace(rows.readings);
          }
        }
        await settle(client, claim, refusals);
        return { ...totals, entries: claim.ids.length, refused: refusals.length };
      },
      'repeatable read',
    ),
  );
}

async function claimEntries(client: Queryable, { entries, states }: RepairOptions): Promise<Claim> {
  const { rows } = await client.query<{ entry_id: number; table_name: string }>(CLAIM_ENTRIES, [entries, states]);
  const touched = new Set(rows.map((row) => row.table_name));
  return { ids: rows.map((row) => row.entry_id), tables: READING_TABLES.filter((table) => touched.has(table)) };
}

/**
 * Returns the entries whose times are to be repaired. Where the secondary has no key: all unconfirmed entries that
 * overlap, and theirs, since these batches are marked as taken over and will not be written by their consumers any more.
 */
async function takeOver(
  client: Queryable,
  table: ReadingTable,
  claimed: readonly number[],
  writer: SecondaryWriter,
): Promise<readonly number[]> {
  if (await writer.isKeyed(table)) return claimed;
  let covered: UnconfirmedEntry[] = [];
  for (let ids = claimed; ; ids = covered.map((entry) => entry.entry_id)) {
    const { rows } = await client.query<UnconfirmedEntry & Record<string, unknown>>(FIND_OVERLAPPING, [ids, table]);
    const grown = rows.length > covered.length;
    covered = rows;
    if (!grown) break;
  }
  await writer.markTakenOver(table, covered);
  return covered.map((entry) => entry.entry_id);
}

async function* readPages(
  client: Queryable,
  table: ReadingTable,
  { ids, pageRows }: { ids: readonly number[]; pageRows: number },
): AsyncGenerator<AcceptedRows> {
  await client.query(openRowsSql(table), [ids]);
  for (;;) {
    const { rows } = await client.query<(string | null)[]>({ text: fetchRowsSql(pageRows), rowMode: 'array' });
    if (rows.length > 0) yield pageOf(table, rows);
    if (rows.length < pageRows) break;
  }
  await client.query(CLOSE_ROWS);
}

function pageOf(table: ReadingTable, rows: readonly (string | null)[][]): AcceptedRows {
  const columns = batchColumns(table).map((_, index) => rows.map((row) => row[index] ?? null));
  return { table, readings: rows.length, columns };
}

/** Returns how many rows were corrected; throws where the secondary does not hold what the primary does. */
async function correctAndVerify(rows: AcceptedRows, refused: readonly Refusal[], secondary: Database): Promise<number> {
  const { table, columns, readings } = rows;
  const [correction, check] = await repeatCollisions(() =>
    runTransaction(secondary.pool, [
      { text: correctRowsSql(table), values: [...columns, secondary.side] },
      { text: countEqualSql(table), values: columns },
    ]),
  );
  const equal = Number(check?.rows[0]?.equal);
  if (equal + refused.length < readings) {
    const lacking = readings - refused.length - equal;
    throw new UnreachableError(
      `${lacking} of ${readings} rows of ${table} on ${sideTitle(secondary.side)} did not become equal`,
    );
  }
  return Number(correction?.rows[0]?.corrected);
}

/** What the secondary refused stays in the ledger, a reading an entry; under which consumer does not matter any more. */
async function settle(client: Queryable, claim: Claim, refusals: readonly Refusal[]): Promise<void> {
  await client.query(SETTLE_ENTRIES, [claim.ids]);
  if (refusals.length === 0) return;
  const consumerId = randomUUID();
  await settleBatches(
    client,
    [],
    refusals.map((refusal) => ({ ...refusal, consumerId })),
  );
}
