import { randomUUID } from 'node:crypto';
import type { Database, Queryable } from '../db/database.js';
import { repeatCollisions, withTransaction } from '../db/transaction.js';
import type { ReadingTable } from '../domain/reading.js';
import { sideTitle } from '../domain/side.js';
import { columnItems, pickRows, type AcceptedRows } from './batch.js';
import { batchColumns } from './batch-sql.js';
import { settleBatches, type LedgerState } from './ledger.js';
import {
  CLAIM_ENTRIES,
  CLOSE_ROWS,
  correctRowSql,
  fetchRowsSql,
  FIND_OVERLAPPING,
  findUnequalSql,
  openRowsSql,
  SETTLE_ENTRIES,
} from './repair-sql.js';
import { refusalsOf, type Refusal, type SecondaryWriter } from './secondary-writer.js';

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
  /** Entries to leave alone. */
  readonly except?: readonly number[];
  /** Told which entries are being repaired, before anything can fail. */
  readonly onClaim?: (ids: readonly number[]) => void;
  /** Called after each page with its number of rows; whoever awaits here bounds the rate, and ends it by throwing. */
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

/** The claim is a lock: it is gone before a consumer's lease is. */
const CLAIM_TIMEOUTS = "set local idle_in_transaction_session_timeout = '28s'";
/** A page on a slow secondary may take longer than that: the claim is kept awake, in ms. */
const KEEP_AWAKE_MS = 5_000;

interface UnconfirmedEntry {
  readonly entry_id: number;
  readonly batch_id: string;
  readonly consumer_id: string;
}

interface Claim {
  readonly ids: readonly number[];
  readonly table: ReadingTable;
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
        if (claim === null) return { entries: 0, rows: 0, corrected: 0, refused: 0 };
        options.onClaim?.(claim.ids);
        const keeper = setInterval(() => void client.query('select').catch(() => undefined), KEEP_AWAKE_MS);
        try {
          return await repairClaimed(client, claim, options);
        } finally {
          clearInterval(keeper);
        }
      },
      'repeatable read',
    ),
  );
}

async function repairClaimed(client: Queryable, claim: Claim, options: RepairOptions): Promise<RepairOutcome> {
  const totals = { rows: 0, corrected: 0 };
  const refusals: Refusal[] = [];
  const ids = await takeOver(client, claim, options.writer);
  for await (const rows of readPages(client, claim.table, { ids, pageRows: options.pageRows })) {
    const refused = await options.writer.repair(rows);
    const { corrected, unequal } = await correctAndVerify(withoutRefused(rows, refused), options.secondary);
    refusals.push(...refused, ...unequal);
    totals.corrected += corrected;
    totals.rows += rows.readings;
    await options.pace(rows.readings);
  }
  await settle(client, claim, refusals);
  return { ...totals, entries: claim.ids.length, refused: refusals.length };
}

async function claimEntries(client: Queryable, { entries, states, except = [] }: RepairOptions): Promise<Claim | null> {
  const { rows } = await client.query<{ entry_id: number; table_name: ReadingTable }>(CLAIM_ENTRIES, [
    entries,
    states,
    except,
  ]);
  const [first] = rows;
  return first === undefined ? null : { ids: rows.map((row) => row.entry_id), table: first.table_name };
}

/**
 * Returns the entries whose times are to be repaired. Where the secondary has no key: all unconfirmed entries that
 * overlap, and theirs, since these batches are marked as taken over and will not be written by their consumers any more.
 */
async function takeOver(client: Queryable, claim: Claim, writer: SecondaryWriter): Promise<readonly number[]> {
  const { table } = claim;
  if (await writer.isKeyed(table)) return claim.ids;
  let covered: UnconfirmedEntry[] = [];
  for (let ids = claim.ids; ; ids = covered.map((entry) => entry.entry_id)) {
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

interface Verdict {
  readonly corrected: number;
  /** Rows that did not become what the primary holds: a narrower column, a trigger. */
  readonly unequal: readonly Refusal[];
}

/** Looks whether each row is on the secondary, equal; corrects those that are not, and looks again. */
async function correctAndVerify(rows: AcceptedRows, secondary: Database): Promise<Verdict> {
  const differing = await findUnequal(rows, secondary);
  if (differing === null) return { corrected: 0, unequal: [] };
  const text = correctRowSql(rows.table);
  for (let place = 0; place < differing.readings; place += 1) {
    const values = differing.columns.map((_, index) => columnItems(differing, index)[place] ?? null);
    await repeatCollisions(() => secondary.pool.query(text, [...values, secondary.side]));
  }
  const left = await findUnequal(differing, secondary);
  const unequal =
    left === null ? [] : refusalsOf(left, `${sideTitle(secondary.side)} does not hold it as it was written`);
  return { corrected: differing.readings - unequal.length, unequal };
}

/** The rows that the secondary does not hold exactly; null where it holds them all. */
async function findUnequal(rows: AcceptedRows, { pool }: Database): Promise<AcceptedRows | null> {
  if (rows.readings === 0) return null;
  const { rows: found } = await pool.query<{ place: number }>(findUnequalSql(rows.table), [...rows.columns]);
  return found.length === 0
    ? null
    : pickRows(
        rows,
        found.map(({ place }) => place - 1),
      );
}

function withoutRefused(rows: AcceptedRows, refused: readonly Refusal[]): AcceptedRows {
  if (refused.length === 0) return rows;
  const keyOf = (time: string | null | undefined, sensorId: string | null | undefined): string => `${time} ${sensorId}`;
  const keys = new Set(refused.map(({ time, sensorId }) => keyOf(time, sensorId)));
  const [times, sensorIds] = [columnItems(rows, 0), columnItems(rows, 1)];
  const places = times.map((_, place) => place).filter((place) => !keys.has(keyOf(times[place], sensorIds[place])));
  return pickRows(rows, places);
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
