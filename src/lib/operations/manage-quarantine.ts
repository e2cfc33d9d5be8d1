import { asUnreachable, type Database } from '../db/database.js';
import { decodeMessage, type DecodeOptions } from '../decoders/guide-messages.js';
import type { Reading } from '../domain/reading.js';
import type { Side } from '../domain/side.js';
import { parseInstant } from '../domain/time.js';
import { UsageError } from '../errors.js';
import { findRecords, listRecords, resolveRecords, type StoredRecord } from '../repository/ledger/quarantine.js';
import type { MigratingRepository } from '../repository/migrating-repository.js';

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

/** What the quarantine of each side holds, and what could not be asked. */
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
      reach(database, async () => {
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
  const [record] = await reach(database, () => findRecords(database.pool, [id]));
  if (record === undefined) throw unknownRecord(database.side, id);
  return { ...record, keptOn: database.side };
}

/** Closes records without storing them; their bodies are kept. Returns how many were open. */
export async function discardQuarantined(database: Database, ids: readonly number[] | 'all'): Promise<number> {
  return await reach(database, async () => {
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

/** Decodes the messages of open records again and stores them as a consumer would; what is stored is closed. */
export async function retryQuarantined(
  repository: MigratingRepository,
  database: Database,
  options: { ids: readonly number[] | 'all'; telemetry: DecodeOptions },
): Promise<RetryOutcome> {
  return await reach(database, async () => {
    let stored = 0;
    const failed: { id: number; reason: string }[] = [];
    for await (const records of pages(database, options.ids)) {
      const outcome = await retryPage(repository, records, options.telemetry);
      stored += await resolveRecords(database.pool, outcome.stored, 'retried');
      failed.push(...outcome.failed);
    }
    await repository.current.idle();
    return { stored, failed };
  });
}

async function retryPage(repository: MigratingRepository, records: readonly StoredRecord[], telemetry: DecodeOptions) {
  const failures = new Map<number, string>();
  const readings: Reading[] = [];
  for (const { id, body, messageId, quarantinedAt } of records) {
    if (messageId === null) {
      failures.set(id, 'a row, not a message: there is nothing to decode');
      continue;
    }
    // It came no later than this: what was judged by the time of receipt is judged alike.
    const decoded = decodeMessage(body, telemetry, { sentAt: parseInstant(quarantinedAt) });
    const [fault] = decoded.faults;
    if (fault !== undefined) failures.set(id, fault.reason);
    readings.push(...decoded.readings.map((reading) => ({ ...reading, source: { messageId, body } })));
  }
  for (const batch of await repository.current.primary.write({ readings, rejects: [] })) {
    repository.current.secondary?.enqueue(batch);
    for (const refused of batch.quarantined) {
      const reason = refused.faults[0]?.reason ?? '';
      for (const { id } of records.filter((record) => record.body === refused.body)) failures.set(id, reason);
    }
  }
  const failed = [...failures].map(([id, reason]) => ({ id, reason }));
  return { stored: records.map((record) => record.id).filter((id) => !failures.has(id)), failed };
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

async function reach<Result>(database: Database, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    throw asUnreachable(error, database);
  }
}

function unknownRecord(side: Side, id: number): UsageError {
  return new UsageError(`the quarantine has no record ${side}:${id}`, { code: 'record-unknown' });
}
