import { quoteIdentifier } from '../../db/identifiers.js';
import { microsOf } from '../../db/micros.js';
import type { Role } from '../../domain/side.js';
import { columnOf, equalitySql, isLooselyEqual, tableSql } from '../tables/table.js';
import { isTimeAxis } from '../tables/axis.js';
import { sideSql, type ComparedColumn } from '../tables/table-pair.js';
import { comparedValue } from '../compare/digest-method.js';
import { keepRowsSql, rowContentSql } from '../ledger/quarantine.js';
import { IN_REPLICA_ROLE, SKIP_EVERY_TABLE } from '../writers/own-writes.js';
import type { Portion } from './portion.js';
import type { ParentRows } from './parent-rows.js';
import type { Transfer } from './transfer.js';

/**
 * The statements by which rows come to the target through a staging table: a temporary table of the session that is
 * empty at the end of each transaction, with the column types of the source. Columns that stand beside those of the
 * operator are named `sensorctl_…`: a name of another kind may be that of a column.
 */

/** Rows to copy, as a query without parameters (COPY takes none). Texts sort by their bytes: faster, and like anywhere. */
function selectRowsSql({ columns }: Transfer, { source }: Portion, names: readonly string[]): string {
  const values = names.map((name) => {
    const column = quoteIdentifier(name);
    return isText(columns.get(name) ?? '') ? `stored.${column} collate "C" as ${column}` : `stored.${column}`;
  });
  return `select ${values.join(', ')} from ${source}`;
}

/** What a transaction of the target begins with that writes rows through the staging table. */
export function writeSettingsOf(transfer: Transfer): string[] {
  const settings = transfer.writeSettings.map(({ text }) => text);
  const role = transfer.replica ? [IN_REPLICA_ROLE] : [];
  return [...settings, ...role, SKIP_EVERY_TABLE, createStagingSql(transfer)];
}

function createStagingSql(transfer: Transfer): string {
  const columns = [...transfer.columns].map(([name, type]) => `${quoteIdentifier(name)} ${type}`);
  return `create temporary table if not exists ${staging(transfer)} (${columns.join(', ')}) on commit delete rows`;
}

/** Of what an earlier attempt of the same transaction has left there. */
export function clearStagingSql(transfer: Transfer): string {
  return `delete from ${staging(transfer)}`;
}

/** `into` is the staging table, or the table itself. */
export function copyFromSql(transfer: Transfer, into: 'staging' | 'table'): string {
  const [target, columns] =
    into === 'staging'
      ? [staging(transfer), listOf([...transfer.columns.keys()])]
      : [insertedSql(transfer), listOf(transfer.written)];
  return `copy ${target} (${columns}) from stdin ${format(transfer)}`;
}

export function copyToSql(transfer: Transfer, portion: Portion): string {
  return `copy (${selectRowsSql(transfer, portion, [...transfer.columns.keys()])}) to stdout ${format(transfer)}`;
}

/** A unit of a second's work, sorted in memory. */
const SORT_MEMORY = '64MB';

/**
 * The same for rows that go straight into the table, one sensor after the other: the target then inserts its unique key
 * leaf by leaf, which costs it a quarter less than in the order of time, and more beside other writers.
 */
export function copySortedToSql(transfer: Transfer, portion: Portion): string {
  const sorted = `${selectRowsSql(transfer, portion, transfer.written)} ${inKeyOrder(transfer)}`;
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

/** Inserts staged rows that are not on the target yet, in key order; with `part`, only those numbered ($1, $2]. */
export function insertStagedSql(transfer: Transfer, { portion, part }: { portion: Portion; part: boolean }): string {
  const columns = listOf(transfer.written);
  const numbered = part ? 'sensorctl_number > $1 and sensorctl_number <= $2' : 'true';
  const source = transfer.guard === 'count' ? countCopies(transfer, 'staged') : `${staging(transfer)} as staged`;
  const insert = `insert into ${insertedSql(transfer)} (${columns}) ${overriding(transfer)}
    select ${columns} from ${source} where ${numbered}`;
  if (transfer.guard === 'key')
    return `${insert} ${inKeyOrder(transfer)} on conflict (${listOf(transfer.key)}) do nothing`;
  const held =
    transfer.guard === 'absence'
      ? `${targetSql(transfer)} as stored where ${portion.found} and ${sameKey(transfer)}`
      : `${countCopies(transfer, 'stored', portion.target ?? 'true')} where ${sameCopy(transfer)}`;
  return `${insert} and not exists (select from ${held}) ${inKeyOrder(transfer)}`;
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

/** How many staged rows differ from the target's row under their key. */
export function countDifferingSql(transfer: Transfer, portion: Portion): string {
  return `select count(*)::int as rows from ${joinDiffering(transfer, portion)}`;
}

/** Keeps in the target's quarantine what is about to be replaced. Parameter: the target's side. */
export function keepDifferingSql(transfer: Transfer, portion: Portion): string {
  const rows = `select ${rowContentSql(transfer.compared.sides.secondary)} as content, ${nameSql(transfer, 'stored.')} from ${joinDiffering(transfer, portion)}`;
  const reason = 'differed from the primary, which replaced it';
  return keepRowsSql({ rows, table: transfer.table, side: '$1', reason });
}

/**
 * Makes each differing row what the source holds. Of a compressed chunk the upsert decompresses only the batches that hold
 * the keys, where an update with a join would decompress the whole chunk (measured with TimescaleDB 2.26.4).
 */
export function correctDifferingSql(transfer: Transfer, portion: Portion): string {
  const names = correctedColumns(transfer).map(quoteIdentifier);
  if (transfer.guard !== 'key') {
    return `update ${targetSql(transfer)} as stored set ${names.map((name) => `${name} = staged.${name}`).join(', ')}
      from ${staging(transfer)} as staged
      where ${sameKey(transfer)} and ${portion.found} and ${differ(transfer, 'stored.', 'staged.')}`;
  }
  const [columns, key] = [listOf(transfer.written), listOf(transfer.key)];
  return `insert into ${insertedSql(transfer)} as stored (${columns}) ${overriding(transfer)}
    select distinct on (${key}) ${columns} from ${staging(transfer)} as staged
    where exists (select from ${differingSql(transfer, portion)}) order by ${key}
    on conflict (${key}) do update set ${names.map((name) => `${name} = excluded.${name}`).join(', ')}
    where ${differ(transfer, 'stored.', 'excluded.')}`;
}

/** Whether a row that differs can be made what the source holds. */
export function canCorrect(transfer: Transfer): boolean {
  return transfer.guard !== 'count' && correctedColumns(transfer).length > 0;
}

/** The staged rows that the target does not hold, equal. */
export function findUnequalSql(transfer: Transfer, portion: Portion): string {
  const name = nameSql(transfer);
  if (transfer.guard !== 'count') {
    const held = `from ${targetSql(transfer)} as stored where ${sameRow(transfer)} and ${portion.found}`;
    return `select ${name} from ${staging(transfer)} as staged where not exists (select ${held})`;
  }
  const stored = countCopies(transfer, 'stored', portion.target ?? 'true');
  return `select ${name} from ${countCopies(transfer, 'staged')} where not exists (select from ${stored} where ${sameCopy(transfer)})`;
}

/**
 * Keys of the target's rows in the portion that are not staged, in key order: how many such rows a key has, and how many
 * staged ones. Without a unique key equal rows are counted. Parameters: limit, and from the second page on the texts of
 * the key after which to begin.
 */
export function findExtraSql(transfer: Transfer, target: string, isFirst: boolean): string {
  const [stored, staged, same] =
    transfer.guard === 'key'
      ? [`${targetSql(transfer)} as stored`, `${staging(transfer)} as staged`, sameKey(transfer)]
      : [countCopies(transfer, 'stored', target), countCopies(transfer, 'staged'), sameCopy(transfer)];
  const names = transfer.key.map(quoteIdentifier);
  const list = names.join(', ');
  const after = keyTypes(transfer, 'secondary').map((type, index) => `$${index + 2}::text::${type}`);
  return `with extra as (
      select ${list}, count(*)::int as sensorctl_rows from ${stored}
      where ${target} and not exists (select from ${staged} where ${same})
        ${isFirst ? '' : `and (${list}) > (${after.join(', ')})`}
      group by ${list} order by ${list} limit $1
    ), held as (select ${list}, count(*)::int as sensorctl_rows from ${staging(transfer)} group by ${list})
    select array_to_json(array[${transfer.key.map((name) => valueText(transfer, name, 'extra.')).join(', ')}])::text as key,
      extra.sensorctl_rows as rows, coalesce(held.sensorctl_rows, 0) as staged
    from extra left join held on ${names.map((column) => `held.${column} = extra.${column}`).join(' and ')}
    order by ${names.map((column) => `extra.${column}`).join(', ')}`;
}

/** Which of these keys have no more rows on the source than are staged. Parameters: the keys as JSON, rows staged. */
export function findLackingSql(transfer: Transfer): string {
  const same = givenKey(transfer, 'primary', 'given.key').map(
    (value, index) => `stored.${quoteIdentifier(transfer.key[index] ?? '')} = ${value}`,
  );
  return `select place::int - 1 as place
    from unnest($1::text[], $2::int[]) with ordinality as listed (key, staged, place)
    cross join lateral (select listed.key::json as key) as given
    where (
      select count(*) from ${sideSql(transfer.compared, 'primary')} as stored where ${same.join(' and ')}
    ) <= listed.staged`;
}

const PRUNED = 'the primary does not hold it; pruned';

/** Keeps rows of the target in its quarantine before they are deleted. Parameters: the keys as JSON, side. */
export function keepExtraSql(transfer: Transfer, target: string): string {
  const rows = `select ${rowContentSql(transfer.compared.sides.secondary)} as content, ${nameSql(transfer, 'stored.')}
    from ${targetSql(transfer)} as stored where ${isGiven(transfer, target)}`;
  return keepRowsSql({ rows, table: transfer.table, side: '$2', reason: PRUNED });
}

/** Parameter: the keys as JSON. */
export function deleteExtraSql(transfer: Transfer, target: string): string {
  return `delete from ${targetSql(transfer)} as stored where ${isGiven(transfer, target)}`;
}

/** The target's rows of the keys in $1. */
function isGiven(transfer: Transfer, target: string): string {
  const key = transfer.key.map((name) => `stored.${quoteIdentifier(name)}`);
  return `${target} and (${key.join(', ')}) in (${givenKeys(transfer, 'secondary')})`;
}

/** Brings staged rows back whose copies were deleted with those that were too many. Parameter: the keys as JSON. */
export function restoreStagedSql(transfer: Transfer): string {
  const columns = listOf(transfer.written);
  return `insert into ${insertedSql(transfer)} (${columns}) ${overriding(transfer)} select ${columns} from ${staging(transfer)}
    where (${listOf(transfer.key)}) in (${givenKeys(transfer, 'primary')}) ${inKeyOrder(transfer)}`;
}

/** Rows of a table without a key that the target holds more often than they are staged, as the relation `extra`. */
function extraCopies(transfer: Transfer, target: string): string {
  return `select stored.* from ${countCopies(transfer, 'stored', target)}
    where not exists (select from ${countCopies(transfer, 'staged')} where ${sameCopy(transfer)})`;
}

export function countExtraCopiesSql(transfer: Transfer, target: string): string {
  return `select count(*)::int as rows from (${extraCopies(transfer, target)}) as extra`;
}

/** Parameter: the target's side. */
export function keepExtraCopiesSql(transfer: Transfer, target: string): string {
  const rows = `select ${rowContentSql(transfer.compared.sides.secondary)} as content, ${nameSql(transfer, 'stored.')}
    from ${targetSql(transfer)} as stored where ${isExtraCopy(transfer, target)}`;
  return keepRowsSql({ rows, table: transfer.table, side: '$1', reason: PRUNED });
}

export function deleteExtraCopiesSql(transfer: Transfer, target: string): string {
  return `delete from ${targetSql(transfer)} as stored where ${isExtraCopy(transfer, target)}`;
}

function isExtraCopy(transfer: Transfer, target: string): string {
  return `(stored.tableoid, stored.ctid) in (
    select sensorctl_table, sensorctl_row from (${extraCopies(transfer, target)}) as extra)`;
}

function givenKeys(transfer: Transfer, role: Role): string {
  return `select ${givenKey(transfer, role, 'given.key').join(', ')}
    from unnest($1::text[]) as listed (key) cross join lateral (select listed.key::json as key) as given`;
}

/** The values of a key that is given as a JSON array of texts, in the types of a side. */
function givenKey(transfer: Transfer, role: Role, json: string): string[] {
  return keyTypes(transfer, role).map((type, index) => `(${json} ->> ${index})::${type}`);
}

/** Whether the target holds nothing of the portion, and what its clock says, in µs since 1970. */
export function isEmptySql(transfer: Transfer, target: string): string {
  return `select not exists (select from ${targetSql(transfer)} as stored where ${target}) as empty,
    ${microsOf('clock_timestamp()')} as now`;
}

/** By the number that the target's table has there: two schemas may hold the same name, and a name may have 63 bytes. */
function staging({ compared }: Transfer): string {
  return `pg_temp.sensorctl_staged_${compared.sides.secondary.oid}`;
}

function isText(type: string): boolean {
  return /^(?:text|character)(?!.*\[)/.test(type);
}

function listOf(names: readonly string[]): string {
  return names.map(quoteIdentifier).join(', ');
}

/** The source's numbers, not new ones. */
function overriding({ hasIdentity }: Transfer): string {
  return hasIdentity ? 'overriding system value' : '';
}

function inKeyOrder({ key }: Transfer): string {
  return key.length === 0 ? '' : `order by ${listOf(key)}`;
}

function format({ binary }: Transfer): string {
  return binary ? '(format binary)' : '(format text)';
}

/** With those of the key under which different texts are equal: a comparison tells them apart, so that a repair does. */
function valueColumns({ compared, key }: Transfer): readonly ComparedColumn[] {
  const isLooseKey = (name: string): boolean => isLooselyEqual(columnOf(compared.sides.secondary, name));
  return compared.columns.filter(({ name }) => !key.includes(name) || isLooseKey(name));
}

/** Those of them that can be written over. */
function correctedColumns(transfer: Transfer): string[] {
  const { secondary } = transfer.compared.sides;
  return valueColumns(transfer)
    .map(({ name }) => name)
    .filter((name) => transfer.written.includes(name) && columnOf(secondary, name)?.identity !== 'always');
}

/** Rows without values are told apart by their keys alone. */
function differ(transfer: Transfer, one: string, other: string): string {
  const values = valueColumns(transfer);
  if (values.length === 0) return 'false';
  const list = (qualifier: string): string => values.map((column) => comparedValue(column, qualifier)).join(', ');
  return `(${list(one)}) is distinct from (${list(other)})`;
}

function sameKey({ key, compared }: Transfer): string {
  if (key.length === 0) return 'true';
  const same = key.map((name) => {
    const [column, equals] = [quoteIdentifier(name), equalitySql(columnOf(compared.sides.secondary, name))];
    return `stored.${column} ${equals} staged.${column}`;
  });
  return same.join(' and ');
}

function sameRow(transfer: Transfer): string {
  return `${sameKey(transfer)} and not (${differ(transfer, 'stored.', 'staged.')})`;
}

function sameCopy(transfer: Transfer): string {
  return `${sameRow(transfer)} and stored.sensorctl_copy = staged.sensorctl_copy`;
}

/** Pairs of a target's row and a staged one under one key that are not equal. */
function joinDiffering(transfer: Transfer, portion: Portion): string {
  return `${staging(transfer)} as staged, ${differingSql(transfer, portion)}`;
}

/** The target's row under the key of a staged one, where it is not equal. */
function differingSql(transfer: Transfer, { found }: Portion): string {
  return `${targetSql(transfer)} as stored
    where ${sameKey(transfer)} and ${found} and ${differ(transfer, 'stored.', 'staged.')}`;
}

/** Rows with the number of each among those that are equal to it; of the target's also where they are. */
function countCopies(transfer: Transfer, rows: 'staged' | 'stored', condition = 'true'): string {
  const columns = transfer.compared.columns.map((column) => comparedValue(column, `${rows}.`)).join(', ');
  const [table, place] =
    rows === 'staged'
      ? [staging(transfer), '']
      : [targetSql(transfer), 'stored.tableoid as sensorctl_table, stored.ctid as sensorctl_row,'];
  const copies = `row_number() over (partition by ${columns || 'true'}) as sensorctl_copy`;
  return `(select ${place} ${rows}.*, ${copies} from ${table} as ${rows} where ${condition}) as ${rows}`;
}

/** The target's table where its rows are read, updated or deleted. */
function targetSql({ compared }: Transfer): string {
  return sideSql(compared, 'secondary');
}

/** The same where rows come into it. */
function insertedSql({ compared }: Transfer): string {
  return tableSql(compared.sides.secondary);
}

/** The types of the key's columns on a side. */
function keyTypes({ compared, key }: Transfer, role: Role): string[] {
  return key.map((name) => columnOf(compared.sides[role], name)?.baseType ?? 'text');
}

/** A value of the key as text; times with their zone. */
function valueText({ compared: { axis } }: Transfer, name: string, qualifier = ''): string {
  const column = `${qualifier}${quoteIdentifier(name)}`;
  return axis?.column === name && isInstant(axis.primary) ? `${column}::timestamptz::text` : `${column}::text`;
}

function isInstant(type: Parameters<typeof isTimeAxis>[0]): boolean {
  return isTimeAxis(type) && type !== 'date';
}

/** By what the ledger and the quarantine name a row: its time, and its key without it; the sensor of a reading. */
function nameSql(transfer: Transfer, qualifier = ''): string {
  const { axis } = transfer.compared;
  const time = axis === null || !isInstant(axis.primary) ? 'null::text' : valueText(transfer, axis.column, qualifier);
  const rest = transfer.key.filter((name) => time === 'null::text' || name !== axis?.column);
  const texts = rest.map((name) => valueText(transfer, name, qualifier));
  const sensor = texts.length > 1 ? `json_build_array(${texts.join(', ')})::text` : (texts[0] ?? 'null::text');
  return `${sensor} as sensor_id, ${time} as "time"`;
}
