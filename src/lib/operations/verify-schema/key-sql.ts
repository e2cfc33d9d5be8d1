import { quoteIdentifier } from '../../db/identifiers.js';
import type { IndexFacts } from '../../repository/tables/table-catalog.js';
import { removeSurplus } from '../../repository/repair/add-keys.js';
import { uncompressedSql } from './hypertable-sql.js';
import type { TablePair } from './snapshot.js';
import { tableSql } from './names.js';

/** Returns `sensorctl init --add-keys` for a table, as SQL for EC2. */
export function addKeySql(pair: TablePair, key: readonly string[]): string {
  const { table } = pair;
  const { rank, keep, remove } = removeSurplus({ table, sql: tableSql(table), key, side: 'ec2' });
  const statements = [
    `lock table ${tableSql(table)} in share row exclusive mode;`,
    '-- Exact duplicates are removed; of rows that share a key but differ the one stored first stays, and the others are',
    '-- kept in sensorctl.quarantine.',
    ...[rank, keep, remove].map((statement) => `${statement.trim()};`),
    'drop table surplus;',
    createKeySql(pair, key),
  ];
  return uncompressedSql(table, pair.hypertables.ec2, statements.join('\n'));
}

/** Local's own key, else one like it under a name that is free. */
function createKeySql({ table, local, ec2 }: TablePair, key: readonly string[]): string {
  const columns = key.map(quoteIdentifier).join(', ');
  const own = local.indexes.find((index) => index.unique && index.columns?.toSorted().join() === key.toSorted().join());
  const taken = new Set(ec2.indexes.map(({ name }) => name));
  if (own?.constraint != null && own.columns !== null && !taken.has(own.constraint)) {
    const kind = own.primary ? 'primary key' : 'unique';
    const named = `${quoteIdentifier(own.constraint)} ${kind} (${own.columns.map(quoteIdentifier).join(', ')})`;
    const drop = `drop constraint if exists ${quoteIdentifier(own.constraint)}`;
    return `alter table ${tableSql(table)} ${drop}, add constraint ${named};`;
  }
  const name =
    own !== undefined && !taken.has(own.name) ? own.name : freeName(`${ec2.table.name.name}_key`, ec2.indexes);
  return `create unique index if not exists ${quoteIdentifier(name)} on ${tableSql(table)} (${columns});`;
}

function freeName(wanted: string, indexes: readonly IndexFacts[]): string {
  const taken = new Set(indexes.map(({ name }) => name));
  let name = wanted;
  for (let count = 1; taken.has(name); count += 1) name = `${wanted}${count}`;
  return name;
}
