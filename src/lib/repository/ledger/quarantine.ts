import type { Queryable } from '../../db/database.js';
import { quoteIdentifier, quoteLiteral } from '../../db/identifiers.js';
import { LONGEST_KEPT, sizeAndDigestOf, sizeAndDigestOfBytes } from '../../db/large-values.js';
import type { Column, Table } from '../tables/table.js';
import type { Statement } from '../../db/transaction.js';
import type { Side } from '../../domain/side.js';
import { readingsOf, type MessageSource, type Unit, type Value } from '../../domain/row.js';
import { formatInstantText } from '../../domain/time.js';

/** Why a message, or one reading of it, cannot be stored. */
export interface QuarantineFault {
  readonly reason: string;
  readonly sqlstate: string | null;
  readonly table: string | null;
  readonly sensorId: string | null;
  readonly time: string | null;
}

/** A message that cannot be stored, or not whole: its body once, and each fault found in it. */
export interface QuarantineRecord {
  /** The side that rejected it. */
  readonly side: Side;
  /** Null: a row of a table, not a message. */
  readonly messageId: string | null;
  /** The message as it came from the queue. */
  readonly body: string;
  readonly faults: readonly QuarantineFault[];
  /** How many more there are than are listed, at least. */
  readonly furtherFaults: number;
}

/** Faults that a record lists. */
const FAULTS_LISTED = 100;
const LONGEST_TEXT = 1_000;

/** Keeps records, each named by a digest: of a message's body alone, however often it comes; of a row with its side. */
const KEEP_RECORDS = `
  insert into sensorctl.quarantine as kept (digest, side, message_id, body, faults, further_faults)
  select sha256(convert_to(case when message_id is null then side else 'message' end || ' ' || body, 'UTF8')), *
  from unnest($1::text[], $2::text[], $3::text[], $4::jsonb[], $5::integer[])
    as record (side, message_id, body, faults, further_faults)
  order by 1
  on conflict (digest) do update
  set resolution = null, resolved_at = null, (faults, further_faults) = (
    select jsonb_agg(fault order by place) filter (where place <= ${FAULTS_LISTED}),
      greatest(kept.further_faults, excluded.further_faults, count(*) - ${FAULTS_LISTED})
    from (
      select fault, row_number() over (order by min(place)) as place
      from jsonb_array_elements(kept.faults || excluded.faults) with ordinality as listed (fault, place) group by fault
    ) as known
  )
  where not kept.faults @> excluded.faults or kept.further_faults < excluded.further_faults
  -- A row that was updated has been locked by this transaction.
  returning xmax = 0 as anew`;

/**
 * Keeps the records, each message once however often it is delivered. Faults that a record does not know yet are added
 * to it, and open it again. Answers a row a record that changed: `anew` where it was not there before.
 */
export function keepQuarantineRecords(records: readonly QuarantineRecord[]): Statement {
  const merged = mergeRecords(records);
  return {
    text: KEEP_RECORDS,
    values: [
      merged.map((record) => record.side),
      merged.map((record) => record.messageId),
      merged.map((record) => record.body),
      merged.map((record) => JSON.stringify(record.faults)),
      merged.map((record) => record.furtherFaults),
    ],
  };
}

/** How many faults the records name or count. */
export function countFaults(records: readonly QuarantineRecord[]): number {
  return records.reduce((sum, { faults, furtherFaults }) => sum + faults.length + furtherFaults, 0);
}

/** One record a message, whose text can be stored and is bounded but for its body. */
function mergeRecords(records: readonly QuarantineRecord[]): QuarantineRecord[] {
  const merged = new Map<string, QuarantineRecord>();
  for (const record of records) {
    const body = storable(record.body);
    const name = `${record.messageId === null ? record.side : 'message'} ${body}`;
    const known = merged.get(name);
    const faults = new Map(
      [...(known?.faults ?? []), ...record.faults.map(storableFault)].map((fault) => [JSON.stringify(fault), fault]),
    );
    merged.set(name, {
      ...(known ?? record),
      body,
      faults: [...faults.values()].slice(0, FAULTS_LISTED),
      furtherFaults: Math.max(
        known?.furtherFaults ?? 0,
        record.furtherFaults + Math.max(0, faults.size - FAULTS_LISTED),
      ),
    });
  }
  return [...merged.values()];
}

function storableFault({ reason, sqlstate, table, sensorId, time }: QuarantineFault): QuarantineFault {
  const text = (value: string | null): string | null => value && storable(value.slice(0, LONGEST_TEXT));
  return { reason: text(reason) ?? '', sqlstate, table, sensorId: text(sensorId), time: text(time) };
}

/** Types whose values may be longer than what is kept of one; those of any other name are taken as they are. */
const LONG_TYPE = /^(?:text|character varying|bytea|jsonb?|xml|(?:\S+\.)?citext)/;

/**
 * SQL for a row of a table under the name `stored` as jsonb, whatever its columns are named. Of a value that is too long to
 * be kept its size and its digest are.
 */
export function rowContentSql({ columns }: Pick<Table, 'columns'>): string {
  if (!columns.some(({ baseType }) => LONG_TYPE.test(baseType))) return 'to_jsonb(stored.*)';
  const values = columns.map((column) => `${keptValue(column)} as ${quoteIdentifier(column.name)}`);
  return `(select to_jsonb(sensorctl_row.*) from (select ${values.join(', ')}) as sensorctl_row)`;
}

function keptValue({ name, baseType }: Column): string {
  const value = `stored.${quoteIdentifier(name)}`;
  if (!LONG_TYPE.test(baseType)) return value;
  const text = `${value}::text`;
  const [bytes, stands] = baseType === 'bytea' ? [value, sizeAndDigestOfBytes(value)] : [text, sizeAndDigestOf(text)];
  const note = `${stands} || ', too long to be kept'`;
  const isLong = `octet_length(${bytes}) > ${LONGEST_KEPT}`;
  if (baseType === 'json' || baseType === 'jsonb')
    return `case when ${isLong} then to_${baseType}(${note}) else ${value} end`;
  return `case when ${isLong} then ${note} else ${text} end`;
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
  return `insert into sensorctl.quarantine (digest, side, body, faults)
    select sha256(convert_to(${side} || ${name} || content::text, 'UTF8')), ${side}, content::text,
      jsonb_build_array(jsonb_build_object('reason', ${quoteLiteral(reason)}::text, 'sqlstate', null,
        'table', ${name}::text, 'sensorId', sensor_id::text, 'time', "time"::text))
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
  select quarantine_id as id, side, message_id as "messageId", body, faults, further_faults as "furtherFaults",
    quarantined_at::text as "quarantinedAt", resolution
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

/** A body may have a MiB. */
const MOVED_AT_ONCE = 50;

/** Brings open records of messages from one side to the other, and closes them where they were; returns how many. */
export async function moveQuarantine(from: Queryable, to: Queryable): Promise<number> {
  let moved = 0;
  for (let after = 0; ;) {
    const page = await listRecords(from, { resolvedToo: false, after, limit: MOVED_AT_ONCE });
    if (page.length === 0) return moved;
    after = page.at(-1)?.id ?? after;
    // Rows that a repair replaced stay with the side whose rows they were.
    const messages = page.filter(({ messageId }) => messageId !== null);
    const { text, values = [] } = keepQuarantineRecords(messages);
    await to.query(text, [...values]);
    const ids = messages.map(({ id }) => id);
    moved += await resolveRecords(from, ids, 'moved');
  }
}

async function selectRecords(database: Queryable, sql: string, values: unknown[]): Promise<StoredRecord[]> {
  const { rows } = await database.query<Omit<StoredRecord, 'faults'> & { faults: string }>(sql, values);
  return rows.map((record) => ({
    ...record,
    faults: JSON.parse(record.faults) as QuarantineFault[],
    quarantinedAt: formatInstantText(record.quarantinedAt),
  }));
}

/** The record of a unit that a side rejected, with the server's words: a fault each of its readings. */
export function rejectedUnit(
  unit: Unit,
  rejection: { side: Side; reason: string; sqlstate: string | null },
): QuarantineRecord {
  const { side, ...words } = rejection;
  const faults = readingsOf(unit).map(({ table, values }) => ({
    ...words,
    ...{ table, sensorId: nameText(values.sensor_id), time: nameText(values.time) },
  }));
  const source: MessageSource = unit.source ?? { messageId: null, body: bodyOf(unit) };
  return { side, ...source, faults, furtherFaults: 0 };
}

function nameText(value: Value | undefined): string | null {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint' ? String(value) : null;
}

/** Rows that came in no message, as JSON. */
function bodyOf({ rows }: Unit): string {
  return JSON.stringify(rows, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
}

/** PostgreSQL's text holds no U+0000: it is kept as the six characters that JSON writes for it. */
function storable(text: string): string {
  return text.toWellFormed().replaceAll('\0', String.raw`\u0000`);
}
