import { createHash } from 'node:crypto';
import type { Queryable } from '../db/database.js';
import { quoteLiteral } from '../db/identifiers.js';
import type { Statement } from '../db/transaction.js';
import type { Side } from '../domain/side.js';
import type { MessageSource, Reading } from '../domain/reading.js';
import { formatInstantText } from '../domain/time.js';

/** A message, or one reading of it, that cannot be stored. */
export interface QuarantineRecord {
  readonly side: Side;
  readonly reason: string;
  readonly sqlstate: string | null;
  readonly table: string | null;
  readonly sensorId: string | null;
  readonly time: string | null;
  readonly messageId: string | null;
  /** The message as it came from the queue. */
  readonly body: string;
}

const INSERT_RECORDS = `
  insert into sensorctl.quarantine
    (digest, side, reason, sqlstate, table_name, sensor_id, reading_time, message_id, body)
  select * from unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[])
  order by 1
  on conflict (digest) do nothing`;

/** Keeps the records, each once however often its message is delivered. */
export function insertQuarantineRecords(records: readonly QuarantineRecord[]): Statement {
  const column = (value: (record: QuarantineRecord) => unknown): unknown[] => records.map(value);
  return {
    text: INSERT_RECORDS,
    values: [
      column(digestOf),
      column((record) => record.side),
      column((record) => storable(record.reason)),
      column((record) => record.sqlstate),
      column((record) => record.table),
      column((record) => storableOrNull(record.sensorId)),
      column((record) => storableOrNull(record.time)),
      column((record) => record.messageId),
      column((record) => storable(record.body)),
    ],
  };
}

/** Rows of a table that are about to be replaced or removed. */
interface KeptRows {
  /** A query that answers `content`, the row as jsonb, `sensor_id`, and `time`. */
  readonly rows: string;
  readonly table: string;
  /** SQL for the side that holds them: a literal, or a parameter. */
  readonly side: string;
  readonly reason: string;
}

/** SQL that keeps rows in the quarantine of the side that holds them, each once. */
export function keepRowsSql({ rows, table, side, reason }: KeptRows): string {
  const name = quoteLiteral(table);
  return `insert into sensorctl.quarantine (digest, side, reason, table_name, sensor_id, reading_time, body)
    select sha256(convert_to(${side} || ${name} || content::text, 'UTF8')), ${side}, ${quoteLiteral(reason)}, ${name},
      sensor_id::text, "time"::text, content::text
    from (${rows}) as kept order by 1 on conflict (digest) do nothing`;
}

/** How a record was closed: stored after all, given up, or brought to the quarantine of the new primary. */
export type Resolution = 'retried' | 'discarded' | 'moved';

/** A record as it is kept. */
export interface StoredRecord extends QuarantineRecord {
  readonly id: number;
  /** UTC text. */
  readonly quarantinedAt: string;
  readonly resolution: Resolution | null;
}

const SELECT_RECORDS = `
  select quarantine_id as id, side, reason, sqlstate, table_name as "table", sensor_id as "sensorId",
    reading_time as "time", message_id as "messageId", body, quarantined_at::text as "quarantinedAt", resolution
  from sensorctl.quarantine`;

const LIST_RECORDS = `${SELECT_RECORDS}
  where (resolution is null or $1) and quarantine_id > $2 order by quarantine_id limit $3`;

const FIND_RECORDS = `${SELECT_RECORDS} where quarantine_id = any ($1::bigint[]) order by quarantine_id`;

const RESOLVE_RECORDS = `
  update sensorctl.quarantine set resolution = $2, resolved_at = clock_timestamp()
  where quarantine_id = any ($1::bigint[]) and resolution is null`;

/** Records after the id `after`, the oldest first; those resolved only where `resolvedToo`. */
export async function listRecords(
  database: Queryable,
  { resolvedToo, after, limit }: { resolvedToo: boolean; after: number; limit: number },
): Promise<StoredRecord[]> {
  return await selectRecords(database, LIST_RECORDS, [resolvedToo, after, limit]);
}

/** The records of these ids; those that do not exist are absent. */
export async function findRecords(database: Queryable, ids: readonly number[]): Promise<StoredRecord[]> {
  return await selectRecords(database, FIND_RECORDS, [ids]);
}

/** Closes open records; returns how many. */
export async function resolveRecords(
  database: Queryable,
  ids: readonly number[],
  resolution: Resolution,
): Promise<number> {
  return (await database.query(RESOLVE_RECORDS, [ids, resolution])).rowCount ?? 0;
}

const MOVED_AT_ONCE = 500;

/** Brings open records of messages from one side to the other, and closes them where they were; returns how many. */
export async function moveQuarantine(from: Queryable, to: Queryable): Promise<number> {
  let moved = 0;
  for (let after = 0; ;) {
    const page = await listRecords(from, { resolvedToo: false, after, limit: MOVED_AT_ONCE });
    if (page.length === 0) return moved;
    after = page.at(-1)?.id ?? after;
    // Rows that a repair replaced stay with the side whose rows they were.
    const messages = page.filter(({ messageId }) => messageId !== null);
    const { text, values = [] } = insertQuarantineRecords(messages);
    await to.query(text, [...values]);
    const ids = messages.map(({ id }) => id);
    moved += await resolveRecords(from, ids, 'moved');
  }
}

async function selectRecords(database: Queryable, sql: string, values: unknown[]): Promise<StoredRecord[]> {
  const { rows } = await database.query<StoredRecord & Record<string, unknown>>(sql, values);
  return rows.map((record) => ({ ...record, quarantinedAt: formatInstantText(record.quarantinedAt) }));
}

/** A reading that a side refused, with the server's words. */
export function refusedReading(
  reading: Reading,
  refusal: { side: Side; reason: string; sqlstate: string | null },
): QuarantineRecord {
  const source: MessageSource = reading.source ?? { messageId: null, body: JSON.stringify(reading) };
  return {
    ...refusal,
    table: reading.table,
    sensorId: reading.sensorId,
    time: reading.time,
    messageId: source.messageId,
    body: source.body,
  };
}

/**
 * Equal for a message sent twice, be it before and after a switch of the primary; different for two readings of one
 * gateway message, and for rows of one side and the other that a repair replaced.
 */
function digestOf({ table, sensorId, time, side, messageId, body }: QuarantineRecord): Buffer {
  return createHash('sha256')
    .update(JSON.stringify([messageId === null ? side : null, table, sensorId, time]))
    .update(body)
    .digest();
}

/** PostgreSQL's text holds no U+0000: it is kept as the six characters that JSON writes for it. */
function storable(text: string): string {
  return text.toWellFormed().replaceAll('\0', String.raw`\u0000`);
}

function storableOrNull(text: string | null): string | null {
  return text === null ? null : storable(text);
}
