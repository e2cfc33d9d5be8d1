import { hasUniqueKey } from '../../repository/tables/table.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import type { IndexFacts, TableCatalog } from '../../repository/tables/table-catalog.js';
import { isReadingTable } from '../../domain/reading.js';
import { KNOWN_TABLES } from '../../repository/tables/reading-tables.js';
import { addKeySql } from './key-sql.js';
import { blocks, mendOn, notes, STEP, warns, type Diagnosis, type Mend } from './finding.js';
import type { TablePair } from './snapshot.js';
import { besideSql, tableSql } from './names.js';

/** Primary and unique keys, and the other indexes. */
export function compareKeys(pair: TablePair): Diagnosis[] {
  const key = keyOfPair(pair);
  if (key === null) return [noKeyAtAll(pair), ...compareIndexes(pair, [])];
  return [...requireKey(pair, key), ...compareIndexes(pair, key)];
}

/** The columns by which rows of the two sides are matched; null where local has no unique key to say so. */
export function keyOfPair({ table, local }: Pick<TablePair, 'table' | 'local'>): readonly string[] | null {
  const known = KNOWN_TABLES.get(table);
  if (known !== undefined) return known.key;
  const primaryFirst = local.indexes.toSorted((a, b) => Number(b.primary) - Number(a.primary));
  const index = primaryFirst.find(({ columns }) => columns !== null && hasUniqueKey(local.table, columns));
  return index?.columns ?? null;
}

/** Describes the keys of a table for a finding. */
function describeKeys({ indexes }: TableCatalog): string {
  const keys = indexes.filter(({ unique }) => unique).map(({ definition }) => definition.replace(/^ USING btree /, ''));
  return keys.length === 0 ? 'no unique key' : keys.join('; ');
}

const WITHOUT_KEY =
  'without a unique key retransmissions are stored twice and repair cannot tell rows apart; local always needs it, EC2 from phase 2 on';

function requireKey(pair: TablePair, key: readonly string[]): Diagnosis[] {
  const { table, local, ec2 } = pair;
  const lacking = [local, ec2].map((side) => !hasUniqueKey(side.table, key));
  const about = {
    ...{ table, subject: `key (${key.join(', ')})`, local: describeKeys(local), ec2: describeKeys(ec2) },
    reason: WITHOUT_KEY,
  };
  return [
    ...(lacking[0] === true ? [blocks(about, keyMendOnLocal(table, key))] : []),
    ...(lacking[1] === true ? [blocks(about, keyMendOnEc2(pair, key))] : []),
  ];
}

/** A reading table gets its key in the tool's own way. */
function keyMendOnLocal(table: string, key: readonly string[]): Mend {
  if (isReadingTable(table)) return { elsewhere: 'sensorctl init --side local --add-keys' };
  const columns = key.map(quoteIdentifier).join(', ');
  return mendOn('local', STEP.keys, `alter table ${tableSql(table)} add unique (${columns});`);
}

/** The script does the same as the command. */
function keyMendOnEc2(pair: TablePair, key: readonly string[]): Mend {
  const mend = { step: STEP.keys, sql: addKeySql(pair, key), removesRows: true };
  return isReadingTable(pair.table) ? { ...mend, command: 'sensorctl init --side ec2 --add-keys' } : mend;
}

function noKeyAtAll({ table, local, ec2 }: TablePair): Diagnosis {
  const about = { table, subject: 'key', local: describeKeys(local), ec2: describeKeys(ec2) };
  const reason =
    'nothing tells its rows apart but all of their columns: a repair that meets a row that changed writes it anew';
  return warns({ ...about, reason }, { elsewhere: `add a primary key to ${tableSql(table)} on local` });
}

function compareIndexes(pair: TablePair, key: readonly string[]): Diagnosis[] {
  const { local, ec2 } = pair;
  const lacks = (indexes: readonly IndexFacts[], index: IndexFacts): boolean =>
    !indexes.some(({ definition, unique }) => definition === index.definition && unique === index.unique);
  const differ = (index: IndexFacts): boolean => !index.unique || !sameColumns(index.columns, key);
  return [
    ...local.indexes
      .filter((index) => differ(index) && lacks(ec2.indexes, index))
      .flatMap((index) => otherwise(pair, index)),
    ...ec2.indexes
      .filter((index) => differ(index) && lacks(local.indexes, index))
      .map((index) => extra(pair, index, key)),
  ];
}

/** One that EC2 has under the same name and otherwise; what it lacks is told with the objects. */
function otherwise({ table, ec2 }: TablePair, { name, unique, definition, constraint }: IndexFacts): Diagnosis[] {
  const there = ec2.indexes.find((each) => each.name === name);
  if (there === undefined || constraint !== null || there.constraint !== null) return [];
  const about = { table, subject: `index ${name}`, local: definition.trim(), ec2: there.definition.trim() };
  const create = `create ${unique ? 'unique ' : ''}index ${quoteIdentifier(name)} on ${tableSql(table)}${definition};`;
  const sql = `drop index if exists ${besideSql(table, name)};\n${create}`;
  return [notes({ ...about, reason: 'EC2 answers the queries that it serves otherwise' }, { step: STEP.indexes, sql })];
}

function extra({ table }: TablePair, index: IndexFacts, key: readonly string[]): Diagnosis {
  const subject = index.unique ? `unique key ${index.name}` : `index ${index.name}`;
  const about = { table, subject, local: 'does not exist', ec2: index.definition.trim() };
  if (!index.unique) return notes({ ...about, reason: 'changes no row' });
  if (key.length > 0 && index.columns !== null && key.every((column) => index.columns?.includes(column) === true)) {
    return notes({ ...about, reason: `it holds wherever (${key.join(', ')}) is unique` });
  }
  const sql =
    index.constraint === null
      ? `drop index if exists ${besideSql(table, index.name)};`
      : `alter table ${tableSql(table)} drop constraint if exists ${quoteIdentifier(index.constraint)};`;
  return blocks({ ...about, reason: 'EC2 refuses rows that local accepts' }, { step: STEP.release, sql });
}

function sameColumns(columns: readonly string[] | null, key: readonly string[]): boolean {
  return columns !== null && [...columns].sort().join() === [...key].sort().join();
}
