import { quoteIdentifier } from '../../db/identifiers.js';
import type { IndexFacts } from '../../repository/tables/table-catalog.js';
import { removeSurplus } from '../../repository/repair/add-keys.js';
import { uncompressedSql } from './hypertable-sql.js';
import type { TablePair } from './snapshot.js';
import { tableSql } from './names.js';

/** What `sensorctl init --add-keys` does to a table, as SQL for EC2. */
export function addKeySql(pair: TablePair, key: readonly string[]): string {
  const { table, ec2 } = pair;
  const { rank, keep, remove } = removeSurplus({ table, sql: tableSql(table), key, side: 'ec2' });
  const columns = key.map(quoteIdentifier).join(', ');
  const index = freeName(`${table}_key`, ec2.indexes);
  const statements = [
    `lock table ${tableSql(table)} in share row exclusive mode;`,
    '-- Exact duplicates are removed; of rows that share a key but differ the one stored first stays, and the others are',
    '-- kept in sensorctl.quarantine.',
    ...[rank, keep, remove].map((statement) => `${statement.trim()};`),
    'drop table surplus;',
    `create unique index if not exists ${quoteIdentifier(index)} on ${tableSql(table)} (${columns});`,
  ];
  return uncompressedSql(table, pair.hypertables.ec2, statements.join('\n'));
}

/** An index of local, for EC2. */
export function indexSql(table: string, { name, unique, definition }: IndexFacts): string {
  const kind = unique ? 'unique index' : 'index';
  return `create ${kind} if not exists ${quoteIdentifier(name)} on ${tableSql(table)}${definition};`;
}

function freeName(wanted: string, indexes: readonly IndexFacts[]): string {
  const taken = new Set(indexes.map(({ name }) => name));
  let name = wanted;
  for (let count = 1; taken.has(name); count += 1) name = `${wanted}${count}`;
  return name;
}
