import { namingSide, type Database } from '../db/database.js';
import { describeFault, faultKind } from '../db/sqlstate.js';
import { decodeMessages, type UsedDecoder } from '../decoders/run-decoder.js';
import type { Unit } from '../domain/row.js';
import type { Side } from '../domain/side.js';
import { UsageError } from '../errors.js';
import { findRecords, listRecords, resolveRecords, type StoredRecord } from '../repository/ledger/quarantine.js';
import type { MigratingRepository } from '../repository/migrating-repository.js';
import type { CommittedBatch } from '../repository/write/batch.js';
import { readKeptRow } from '../repository/write/kept-rows.js';

/** Names a record: the side that keeps it and its number there. */
export interface RecordName {
  readonly keptOn: Side;
  readonly id: number;
}

export type NamedRecord = StoredRecord & RecordName;

export interface RetryOutcome {
  /** Records whose readings are stored now. */
  readonly stored: number;
  /** Records that failed again, with the reason; they stay open. */
  readonly failed: readonly { readonly id: number; readonly reason: string }[];
}

/** A body may have a MiB. */
const PAGE = 50;

/** The quarantine of each side, and the sides that could not be asked. */
export interface QuarantineListing {
  readonly records: readonly NamedRecord[];
  /** Whether a side holds more than was asked for. */
  readonly more: boolean;
  readonly failures: readonly Error[];
}

/** Lists records of both sides, the oldest first, at most `limit` a side; a side that is away does not hide the other. */
export async function listQuarantine(
  databases: readonly Database[],
  options: { resolvedToo: boolean; limit: number },
): Promise<QuarantineListing> {
  const { resolvedToo, limit } = options;
  const lists = await Promise.allSettled(
    databases.map((database) =>
      namingSide(database, async () => {
        const records = await listRecords(database.pool, { resolvedToo, limit: limit + 1, after: 0 });
        return records.map((record) => ({ ...record, keptOn: database.side }));
      }),
    ),
  );
  const failures = lists.flatMap((list) => (list.status === 'rejected' ? [list.reason as Error] : []));
  const [first] = failures;
  if (first !== undefined && failures.length === databases.length) throw first;
  const found = lists.flatMap((list) => (list.status === 'fulfilled' ? [list.value] : []));
  return {
    records: found.flatMap((records) => records.slice(0, limit)),
    more: found.some((records) => records.length > limit),
    failures,
  };
}

/** Throws a UsageError where the record does not exist. */
export async function getQuarantined(database: Database, id: number): Promise<NamedRecord> {
  const [record] = await namingSide(database, () => findRecords(database.pool, [id]));
  if (record === undefined) throw unknownRecord(database.side, id);
  return { ...record, keptOn: database.side };
}

/** Closes records without storing them; their bodies are kept. Returns how many were open. */
export async function discardQuarantined(database: Database, ids: readonly number[] | 'all'): Promise<number> {
  return await namingSide(database, async () => {
    let discarded = 0;
    for await (const records of pages(database, ids)) {
      discarded += await resolveRecords(
        database.pool,
        records.map((record) => record.id),
        'discarded',
      );
    }
    return discarded;
  });
}

export interface RetryRequest {
  readonly ids: readonly number[] | 'all';
  /** The decoder of today. */
  readonly decoder: UsedDecoder;
  /** The table that takes rows of tables; null: the one that they are of. */
  readonly table: string | null;
}

/**
 * Decodes the messages of open records again, and stores them as a consumer would; rows of tables go into their table where
 * their key is not there. What is stored is closed.
 */
export async function retryQuarantined(
  repository: MigratingRepository,
  database: Database,
  request: RetryRequest,
): Promise<RetryOutcome> {
  return await namingSide(database, async () => {
    let stored = 0;
    const failed: { id: number; reason: string }[] = [];
    for await (const records of pages(database, request.ids)) {
      const failures = await retryPage(repository, records, request);
      const ids = records.map(({ id }) => id).filter((id) => !failures.has(id));
      stored += await resolveRecords(database.pool, ids, 'retried');
      failed.push(...[...failures].map(([id, reason]) => ({ id, reason })));
    }
    await repository.current.idle();
    return { stored, failed };
  });
}

/** By the ids of the records that failed again, why. */
async function retryPage(
  repository: MigratingRepository,
  records: readonly StoredRecord[],
  request: RetryRequest,
): Promise<Map<number, string>> {
  const messages = records.filter(({ messageId }) => messageId !== null);
  const failures = await retryMessages(repository, messages, request);
  for (const record of records.filter(({ messageId }) => messageId === null)) {
    const reason = await retryRow(repository, record, request);
    if (reason !== null) failures.set(record.id, reason);
  }
  return failures;
}

async function retryMessages(
  repository: MigratingRepository,
  records: readonly StoredRecord[],
  { decoder }: RetryRequest,
): Promise<Map<number, string>> {
  const failures = new Map<number, string>();
  const units: Unit[] = [];
  for (const { id, body, messageId, quarantinedAt } of records) {
    // It came no later than this: what was judged by the time of receipt is judged alike.
    const [decoded] = decodeMessages(decoder, [{ body, messageId, sentAt: quarantinedAt }]);
    const [fault] = decoded?.faults ?? [];
    if (fault !== undefined) failures.set(id, fault.reason);
    units.push(...(decoded?.units ?? []).map((rows) => ({ rows, source: { messageId, body } })));
  }
  for (const refused of (await write(repository, units)).flatMap(({ quarantined }) => quarantined)) {
    const reason = refused.faults[0]?.reason ?? '';
    for (const { id } of records.filter((record) => record.body === refused.body)) failures.set(id, reason);
  }
  return failures;
}

/** Stores a row that a table refused, or that was replaced or removed there; answers why it could not. */
async function retryRow(
  repository: MigratingRepository,
  { body, faults }: StoredRecord,
  { table }: RetryRequest,
): Promise<string | null> {
  const name = table ?? faults[0]?.table ?? null;
  if (name === null) return 'a row of which nobody knows the table';
  const row = await readKeptRow(repository.current.primary.database.pool, name, body).catch((error: unknown) => {
    if (faultKind(error) !== 'rejected') throw error;
    return describeFault(error);
  });
  if (typeof row === 'string') return row;
  const batches = await write(repository, [{ rows: [row], source: { messageId: null, body } }]);
  const [refused] = batches.flatMap(({ quarantined }) => quarantined);
  if (refused !== undefined) return refused.faults[0]?.reason ?? '';
  const accepted = batches.reduce((sum, batch) => sum + batch.accepted, 0);
  return accepted > 0 ? null : `${name} holds a row with its key`;
}

async function write(repository: MigratingRepository, units: readonly Unit[]): Promise<CommittedBatch[]> {
  const batches = await repository.current.primary.write({ units, rejects: [] });
  for (const batch of batches) repository.current.secondary?.enqueue(batch);
  return batches;
}

/** Open records in pages; all of them, or those of the ids. Throws a UsageError for an id that does not exist. */
async function* pages(database: Database, ids: readonly number[] | 'all'): AsyncGenerator<StoredRecord[]> {
  if (ids !== 'all') {
    const records = await findRecords(database.pool, ids);
    const missing = ids.find((id) => !records.some((record) => record.id === id));
    if (missing !== undefined) throw unknownRecord(database.side, missing);
    yield records.filter((record) => record.resolution === null);
    return;
  }
  for (let after = 0; ;) {
    const records = await listRecords(database.pool, { resolvedToo: false, after, limit: PAGE });
    if (records.length === 0) return;
    after = records.at(-1)?.id ?? after;
    yield records;
  }
}

function unknownRecord(side: Side, id: number): UsageError {
  return new UsageError(`the quarantine has no record ${side}:${id}`, { code: 'record-unknown' });
}
