import { hasUniqueKey } from '../../repository/tables/table.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import type { IndexFacts, TableCatalog } from '../../repository/tables/table-catalog.js';
import { isReadingTable } from '../../domain/reading.js';
import { READING_KEY, REGISTRY, REGISTRY_KEY } from '../../repository/tables/reading-tables.js';
import { addKeySql, indexSql } from './key-sql.js';
import { blocks, mendOn, notes, STEP, type Diagnosis, type Mend } from './finding.js';
import type { TablePair } from './snapshot.js';
import { tableSql } from './names.js';

/** Primary and unique keys, and the other indexes. */
export function compareKeys(pair: TablePair): Diagnosis[] {
  const key = keyOf(pair);
  if (key === null) return [noKeyAtAll(pair), ...compareIndexes(pair, [])];
  return [...requireKey(pair, key), ...compareIndexes(pair, key)];
}

/** The columns by which rows of the two sides are matched; null where local has no unique key to say so. */
function keyOf({ table, local }: Pick<TablePair, 'table' | 'local'>): readonly string[] | null {
  if (table === REGISTRY) return REGISTRY_KEY;
  if (isReadingTable(table)) return READING_KEY;
  const primaryFirst = local.indexes.toSorted((a, b) => Number(b.primary) - Number(a.primary));
  const index = primaryFirst.find(({ columns }) => columns !== null && hasUniqueKey(local.table, columns));
  return index?.columns ?? null;
}

/** What a finding says of the keys of a table. */
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
  const mend = { step: STEP.keys, sql: addKeySql(pair, key) };
  return isReadingTable(pair.table) ? { ...mend, command: 'sensorctl init --side ec2 --add-keys' } : mend;
}

function noKeyAtAll({ table, local, ec2 }: TablePair): Diagnosis {
  const about = { table, subject: 'key', local: describeKeys(local), ec2: describeKeys(ec2) };
  const reason = 'no unique key on local says which columns tell its rows apart; repair needs one';
  return blocks({ ...about, reason }, { elsewhere: `add a primary key to ${tableSql(table)} on local` });
}

function compareIndexes(pair: TablePair, key: readonly string[]): Diagnosis[] {
  const { table, local, ec2 } = pair;
  const lacks = (indexes: readonly IndexFacts[], index: IndexFacts): boolean =>
    !indexes.some(({ definition, unique }) => definition === index.definition && unique === index.unique);
  const differ = (index: IndexFacts): boolean => !index.unique || !sameColumns(index.columns, key);
  return [
    ...local.indexes
      .filter((index) => differ(index) && lacks(ec2.indexes, index))
      .map((index) => lacking(table, index)),
    ...ec2.indexes
      .filter((index) => differ(index) && lacks(local.indexes, index))
      .map((index) => extra(pair, index, key)),
  ];
}

function lacking(table: string, index: IndexFacts): Diagnosis {
  const subject = index.unique ? `unique key ${index.name}` : `index ${index.name}`;
  const about = { table, subject, local: index.definition.trim(), ec2: 'does not exist' };
  const sql = indexSql(table, index);
  if (!index.unique) {
    const reason = 'EC2 answers the queries that it serves more slowly';
    return notes({ ...about, reason }, { step: STEP.indexes, sql });
  }
  const reason = 'EC2 takes every row of local; once EC2 is the primary it takes rows that local would refuse';
  return notes({ ...about, reason }, { step: STEP.indexes, optional: sql });
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
      ? `drop index if exists ${tableSql(index.name)};`
      : `alter table ${tableSql(table)} drop constraint if exists ${quoteIdentifier(index.constraint)};`;
  return blocks({ ...about, reason: 'EC2 refuses rows that local accepts' }, { step: STEP.release, sql });
}

function sameColumns(columns: readonly string[] | null, key: readonly string[]): boolean {
  return columns !== null && [...columns].sort().join() === [...key].sort().join();
}
