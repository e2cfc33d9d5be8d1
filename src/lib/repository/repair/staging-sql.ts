import { quoteIdentifier, quoteLiteral } from '../../db/identifiers.js';
import { microsOf } from '../../db/micros.js';
import { formatInstant } from '../../domain/time.js';
import type { Role } from '../../domain/side.js';
import type { TimeRange } from '../../domain/time-range.js';
import { columnOf } from '../tables/table.js';
import { sideSql, type ComparedColumn, type TablePair } from '../tables/table-pair.js';
import { comparedValue } from '../compare/digest-method.js';
import { axisOf } from '../compare/slices.js';
import { keepRowsSql, rowContentSql } from '../ledger/quarantine.js';
import type { ParentRows, Transfer } from './transfer.js';

/**
 * The statements by which rows come to the target through a staging table: a temporary table of the session that is
 * empty at the end of each transaction, with the column types of the source. Columns that stand beside those of the
 * operator are named `sensorctl_…`: a name of another kind may be that of a column.
 */

/** Rows to copy, as a query without parameters (COPY takes none). Texts sort by their bytes: faster, and like anywhere. */
function selectRangesSql({ columns, compared }: Transfer, ranges: readonly TimeRange[]): string {
  const names = [...columns]
    .map(
      ([name, type]) =>
        `stored.${quoteIdentifier(name)}${isText(type) ? ` collate "C" as ${quoteIdentifier(name)}` : ''}`,
    )
    .join(', ');
  const { sql: axis, type } = axisOf({ table: compared, role: 'primary' });
  const bounds = ranges.map(
    ({ from, to }) => `(${[from, to].map((bound) => `${quoteLiteral(formatInstant(bound))}::${type}`).join(', ')})`,
  );
  // Constants, so that chunks outside of all of them are not even locked.
  const [from, to] = [Math.min(...ranges.map((range) => range.from)), Math.max(...ranges.map((range) => range.to))];
  const within = (bound: number): string => `${quoteLiteral(formatInstant(bound))}::${type}`;
  const span = ranges.length === 0 ? '' : ` and ${axis} >= ${within(from)} and ${axis} < ${within(to)}`;
  return `select ${names} from (values ${bounds.join(', ')}) as slice (start, stop)
    join lateral (
      select * from ${sideSql(compared, 'primary')} where ${axis} >= slice.start and ${axis} < slice.stop${span}
    ) as stored on true`;
}

export function createStagingSql(transfer: Transfer): string {
  const columns = [...transfer.columns].map(([name, type]) => `${quoteIdentifier(name)} ${type}`);
  return `create temporary table if not exists ${staging(transfer)} (${columns.join(', ')}) on commit delete rows`;
}

/** `into` is the staging table, or the table itself. */
export function copyFromSql(transfer: Transfer, into: 'staging' | 'table'): string {
  const target = into === 'staging' ? staging(transfer) : targetSql(transfer);
  return `copy ${target} (${columnList(transfer)}) from stdin ${format(transfer)}`;
}

export function copyToSql(transfer: Transfer, ranges: readonly TimeRange[]): string {
  return `copy (${selectRangesSql(transfer, ranges)}) to stdout ${format(transfer)}`;
}

/** A unit of a second's work, sorted in memory. */
const SORT_MEMORY = '64MB';

/**
 * The same for rows that go straight into the table, one sensor after the other: the target then inserts its unique key
 * leaf by leaf, which costs it a quarter less than in the order of time, and more beside other writers.
 */
export function copySortedToSql(transfer: Transfer, ranges: readonly TimeRange[]): string {
  const sorted = `${selectRangesSql(transfer, ranges)} order by ${keyList(transfer)}`;
  return `set local work_mem = '${SORT_MEMORY}'; copy (${sorted}) to stdout ${format(transfer)}`;
}

/** The keys (JSON lists of texts) that staged rows refer to, and that the target's table lacks. */
export function findAbsentParentsSql(transfer: Transfer, { columns, table }: ParentRows): string {
  const names = columns.map((name) => `staged.${quoteIdentifier(name)}`);
  const same = table.key.map((name, place) => `known.${quoteIdentifier(name)} = ${names[place] ?? 'null'}`);
  return `select distinct json_build_array(${names.map((name) => `${name}::text`).join(', ')})::text as key
    from ${staging(transfer)} as staged
    where num_nulls(${names.join(', ')}) = 0
      and not exists (select from ${sideSql(table, 'secondary')} as known where ${same.join(' and ')})`;
}

/**
 * Inserts staged rows that are not on the target yet, in key order. They lie within `span`, so that no more of the
 * target is looked at; with `part`, only those numbered ($1, $2].
 */
export function insertStagedSql(transfer: Transfer, { span, part }: { span: TimeRange; part: boolean }): string {
  const columns = columnList(transfer);
  const numbered = part ? 'sensorctl_number > $1 and sensorctl_number <= $2' : 'true';
  const source = transfer.guard === 'count' ? countCopies(transfer, 'staged') : `${staging(transfer)} as staged`;
  const insert = `insert into ${targetSql(transfer)} (${columns}) select ${columns} from ${source} where ${numbered}`;
  const order = `order by ${keyList(transfer)}`;
  if (transfer.guard === 'key') return `${insert} ${order} on conflict (${keyList(transfer)}) do nothing`;
  const bounds = [span.from, span.to].map((bound) => quoteLiteral(formatInstant(bound))) as [string, string];
  const inSpan = between(transfer, bounds);
  const held =
    transfer.guard === 'absence'
      ? `${targetSql(transfer)} as stored where ${inSpan} and ${sameKey(transfer)}`
      : `${countCopies(transfer, 'stored', inSpan)} where ${sameCopy(transfer)}`;
  return `${insert} and not exists (select from ${held}) ${order}`;
}

/** Gives each staged row a number from 1 on, so that they can be inserted in parts. */
export function numberStagedSql(transfer: Transfer): string {
  return `alter table ${staging(transfer)} add column sensorctl_number bigint generated always as identity`;
}

/** Takes the numbers away again; the table serves the next transaction of the session. */
export function dropNumbersSql(transfer: Transfer): string {
  return `alter table ${staging(transfer)} drop column sensorctl_number`;
}

/** Takes one refused row out of the staging table, and names it. */
export function takeStagedSql(transfer: Transfer): string {
  return `delete from ${staging(transfer)} where sensorctl_number = $1 returning ${nameSql(transfer)}`;
}

/** How many staged rows differ from the target's row under their key. Parameters: the times between which they lie. */
export function countDifferingSql(transfer: Transfer): string {
  return `select count(*)::int as rows from ${joinDiffering(transfer)}`;
}

/** Keeps in the target's quarantine what is about to be replaced. Parameters: the times, then the target's side. */
export function keepDifferingSql(transfer: Transfer): string {
  const rows = `select ${rowContentSql(transfer.compared.sides.secondary)} as content, ${storedName(transfer)} from ${joinDiffering(transfer)}`;
  const reason = 'differed from the primary, which replaced it';
  return keepRowsSql({ rows, table: transfer.table, side: '$3', reason });
}

/**
 * Makes each differing row what the source holds. Of a compressed chunk the upsert decompresses only the batches that hold
 * the keys, where an update with a join would decompress the whole chunk (measured with TimescaleDB 2.26.4).
 */
export function correctDifferingSql(transfer: Transfer): string {
  const table = targetSql(transfer);
  const names = valueColumns(transfer).map(({ name }) => quoteIdentifier(name));
  if (transfer.guard !== 'key') {
    return `update ${table} as stored set ${names.map((name) => `${name} = staged.${name}`).join(', ')}
      from ${staging(transfer)} as staged
      where ${sameKey(transfer)} and ${between(transfer)} and (${valueList(transfer, 'stored.')}) is distinct from (${valueList(transfer, 'staged.')})`;
  }
  return `insert into ${table} as stored (${columnList(transfer)})
    select distinct on (${keyList(transfer)}) ${columnList(transfer)} from ${staging(transfer)}
    where ${within(transfer)} order by ${keyList(transfer)}
    on conflict (${keyList(transfer)}) do update set ${names.map((name) => `${name} = excluded.${name}`).join(', ')}
    where (${valueList(transfer, 'stored.')}) is distinct from (${valueList(transfer, 'excluded.')})`;
}

/** The staged rows that the target does not hold, equal. Parameters: the times between which they lie. */
export function findUnequalSql(transfer: Transfer): string {
  const name = nameSql(transfer);
  if (transfer.guard !== 'count') {
    const held = `from ${targetSql(transfer)} as stored where ${sameRow(transfer)} and ${between(transfer)}`;
    return `select ${name} from ${staging(transfer)} as staged where not exists (select ${held})`;
  }
  const stored = countCopies(transfer, 'stored', between(transfer));
  return `select ${name} from ${countCopies(transfer, 'staged')} where not exists (select from ${stored} where ${sameCopy(transfer)})`;
}

/**
 * Keys of the target's rows in the range that are not staged, in key order: how many such rows a key has, and how many
 * staged ones. Without a unique key equal rows are counted. Parameters: from, to, limit, and from the second page on the
 * texts of the key after which to begin.
 */
export function findExtraSql(transfer: Transfer, isFirst: boolean): string {
  const [stored, staged, same] =
    transfer.guard === 'key'
      ? [`${targetSql(transfer)} as stored`, `${staging(transfer)} as staged`, sameKey(transfer)]
      : [countCopies(transfer, 'stored', between(transfer)), countCopies(transfer, 'staged'), sameCopy(transfer)];
  const list = keyList(transfer);
  const after = keyTypes(transfer, 'secondary').map((type, index) => `$${index + 4}::text::${type}`);
  return `with extra as (
      select ${list}, count(*)::int as sensorctl_rows from ${stored}
      where ${between(transfer)} and not exists (select from ${staged} where ${same})
        ${isFirst ? '' : `and (${list}) > (${after.join(', ')})`}
      group by ${list} order by ${list} limit $3
    ), held as (select ${list}, count(*)::int as sensorctl_rows from ${staging(transfer)} group by ${list})
    select array_to_json(array[${keyTexts(transfer, 'extra').join(', ')}])::text as key,
      extra.sensorctl_rows as rows, coalesce(held.sensorctl_rows, 0) as staged
    from extra left join held on ${keyColumns(transfer)
      .map((column) => `held.${column} = extra.${column}`)
      .join(' and ')}
    order by ${keyColumns(transfer)
      .map((column) => `extra.${column}`)
      .join(', ')}`;
}

/** Which of these keys have no more rows on the source than are staged. Parameters: the keys as JSON, rows staged. */
export function findLackingSql(transfer: Transfer): string {
  const same = givenKey(transfer, 'primary', 'given.key').map(
    (value, index) => `stored.${keyColumns(transfer)[index] ?? ''} = ${value}`,
  );
  return `select place::int - 1 as place
    from unnest($1::text[], $2::int[]) with ordinality as listed (key, staged, place)
    cross join lateral (select listed.key::json as key) as given
    where (
      select count(*) from ${sideSql(transfer.compared, 'primary')} as stored where ${same.join(' and ')}
    ) <= listed.staged`;
}

/** Keeps rows of the target in its quarantine before they are deleted. Parameters: the keys as JSON, from, to, side. */
export function keepExtraSql(transfer: Transfer): string {
  const rows = `select ${rowContentSql(transfer.compared.sides.secondary)} as content, ${storedName(transfer)}
    from ${targetSql(transfer)} as stored where ${isGiven(transfer)}`;
  return keepRowsSql({ rows, table: transfer.table, side: '$4', reason: 'the primary does not hold it; pruned' });
}

/** Parameters: the keys as JSON, from, to. */
export function deleteExtraSql(transfer: Transfer): string {
  return `delete from ${targetSql(transfer)} as stored where ${isGiven(transfer)}`;
}

/** The target's rows of the keys in $1, between $2 and $3. */
function isGiven(transfer: Transfer): string {
  return `${between(transfer, ['$2', '$3'])} and (${keyColumns(transfer)
    .map((column) => `stored.${column}`)
    .join(', ')}) in (${givenKeys(transfer, 'secondary')})`;
}

/** Brings staged rows back whose copies were deleted with those that were too many. Parameter: the keys as JSON. */
export function restoreStagedSql(transfer: Transfer): string {
  const columns = columnList(transfer);
  return `insert into ${targetSql(transfer)} (${columns}) select ${columns} from ${staging(transfer)}
    where (${keyList(transfer)}) in (${givenKeys(transfer, 'primary')}) order by ${keyList(transfer)}`;
}

function givenKeys(transfer: Transfer, role: Role): string {
  return `select ${givenKey(transfer, role, 'given.key').join(', ')}
    from unnest($1::text[]) as listed (key) cross join lateral (select listed.key::json as key) as given`;
}

/** The values of a key that is given as a JSON array of texts, in the types of a side. */
function givenKey(transfer: Transfer, role: Role, json: string): string[] {
  return keyTypes(transfer, role).map((type, index) => `(${json} ->> ${index})::${type}`);
}

/** Whether the target holds nothing in a range, and what its clock says, in µs since 1970. Parameters: from, to. */
export function isEmptySql(transfer: Transfer): string {
  return `select not exists (select from ${targetSql(transfer)} as stored where ${between(transfer)}) as empty,
    ${microsOf('clock_timestamp()')} as now`;
}

/** By the number that the target's table has there: two schemas may hold the same name, and a name may have 63 bytes. */
function staging({ compared }: Transfer): string {
  return `pg_temp.sensorctl_staged_${compared.sides.secondary.oid}`;
}

function isText(type: string): boolean {
  return /^(?:text|character)/.test(type);
}

function columnList({ columns }: Transfer): string {
  return [...columns.keys()].map(quoteIdentifier).join(', ');
}

function format({ alike }: Transfer): string {
  return alike ? '(format binary)' : '(format text)';
}

/** With those of the key under which different texts are equal: a comparison tells them apart, so that a repair does. */
function valueColumns({ compared }: Transfer): readonly ComparedColumn[] {
  const isLooseKey = (name: string): boolean => columnOf(compared.sides.secondary, name)?.looseCollation != null;
  return compared.columns.filter(({ name }) => !compared.key.includes(name) || isLooseKey(name));
}

function valueList(transfer: Transfer, qualifier: string): string {
  return valueColumns(transfer)
    .map((column) => comparedValue(column, qualifier))
    .join(', ');
}

function sameKey({ compared }: Transfer): string {
  return compared.key
    .map((column) => `stored.${quoteIdentifier(column)} = staged.${quoteIdentifier(column)}`)
    .join(' and ');
}

function sameRow(transfer: Transfer): string {
  return `${sameKey(transfer)} and (${valueList(transfer, 'stored.')}) is not distinct from (${valueList(transfer, 'staged.')})`;
}

function sameCopy(transfer: Transfer): string {
  return `${sameRow(transfer)} and stored.sensorctl_copy = staged.sensorctl_copy`;
}

/** Constants, so that only the chunks of these times are looked into. */
function between({ compared }: Transfer, [from, to]: readonly [string, string] = ['$1', '$2']): string {
  const { sql: axis, type } = axisOf({ table: compared, role: 'secondary' });
  return `stored.${axis} >= ${from}::${type} and stored.${axis} < ${to}::${type}`;
}

/** Pairs of a target's row and a staged one under one key that are not equal. */
function joinDiffering(transfer: Transfer): string {
  return `${targetSql(transfer)} as stored join ${staging(transfer)} as staged on ${sameKey(transfer)}
    where ${between(transfer)} and (${valueList(transfer, 'stored.')}) is distinct from (${valueList(transfer, 'staged.')})`;
}

/** Rows with the number of each among those that are equal to it. */
function countCopies(transfer: Transfer, rows: 'staged' | 'stored', condition = 'true'): string {
  const columns = transfer.compared.columns.map((column) => comparedValue(column, `${rows}.`)).join(', ');
  const table = rows === 'staged' ? staging(transfer) : targetSql(transfer);
  return `(select ${rows}.*, row_number() over (partition by ${columns}) as sensorctl_copy from ${table} as ${rows} where ${condition}) as ${rows}`;
}

/** The same bounds for the staged rows themselves, so that each of the statements takes the same parameters. */
function within({ compared }: Transfer): string {
  const { sql: axis, type } = axisOf({ table: compared, role: 'primary' });
  return `${axis} >= $1::${type} and ${axis} < $2::${type}`;
}

function targetSql({ compared }: Transfer): string {
  return sideSql(compared, 'secondary');
}

function keyColumns({ compared }: Transfer): string[] {
  return compared.key.map(quoteIdentifier);
}

function keyList(transfer: Transfer): string {
  return keyColumns(transfer).join(', ');
}

/** The types of the key's columns on a side. */
function keyTypes({ compared }: Transfer, role: Role): string[] {
  return compared.key.map((name) => columnOf(compared.sides[role], name)?.baseType ?? 'text');
}

/** The values of the key as texts; times with their zone. */
function keyTexts({ compared }: Transfer, qualifier: string): string[] {
  return compared.key.map((name) => {
    const column = `${qualifier}.${quoteIdentifier(name)}`;
    return name === compared.axis?.column ? instantText(column) : `${column}::text`;
  });
}

/** By what the ledger and the quarantine name a row: its sensor, which is the key without the axis, and its time. */
function nameColumns({ key, axis }: TablePair): { sensor: string; time: string } {
  const sensor = key.find((name) => name !== axis?.column);
  return { sensor: sensor === undefined ? 'null' : quoteIdentifier(sensor), time: quoteIdentifier(axis?.column ?? '') };
}

function nameSql({ compared }: Transfer): string {
  const { sensor, time } = nameColumns(compared);
  return `${sensor}::text as sensor_id, ${instantText(time)} as time`;
}

function storedName({ compared }: Transfer): string {
  const { sensor, time } = nameColumns(compared);
  return `${sensor === 'null' ? sensor : `stored.${sensor}`} as sensor_id, stored.${time} as "time"`;
}

function instantText(column: string): string {
  return `${column}::timestamptz::text`;
}
