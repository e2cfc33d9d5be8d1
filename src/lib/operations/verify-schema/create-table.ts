import { quoteIdentifier } from '../../db/identifiers.js';
import type { TableCatalog } from '../../repository/tables/table-catalog.js';
import { rightsOnTable } from '../../repository/write/consume-rights.js';
import { createSequenceSql, describeColumn } from './column-sql.js';
import { hypertableSql } from './hypertable-sql.js';
import { indexSql } from './key-sql.js';
import type { Snapshot } from './snapshot.js';
import { tableSql } from './names.js';

/** A table of local for EC2: columns, keys, constraints, indexes; a hypertable where both sides have TimescaleDB. */
export function createTableSql(table: TableCatalog, local: Snapshot, ec2: Snapshot): string {
  const name = tableSql(table.name);
  const columns = table.columns.map((column) => `${quoteIdentifier(column.name)} ${describeColumn(column)}`);
  const constraints = table.constraints.map(
    (each) => `constraint ${quoteIdentifier(each.name)} ${each.definition.replace(/ NOT VALID$/, '')}`,
  );
  const primary = table.indexes.filter((index) => index.primary);
  const keys = primary.map(
    (index) =>
      `constraint ${quoteIdentifier(index.name)} primary key (${(index.columns ?? []).map(quoteIdentifier).join(', ')})`,
  );
  const hypertable = local.timescaleDb.hypertables.get(table.name);
  const isHypertable = hypertable !== undefined && (ec2.timescaleDb.installed !== null || ec2.timescaleDb.creatable);
  return [
    `${table.columns.map(({ default: value }) => createSequenceSql(value)).join('')}create table if not exists ${name} (\n  ${[...columns, ...keys, ...constraints].join(',\n  ')}\n);`,
    ...(isHypertable ? [hypertableSql(table.name, hypertable)] : []),
    ...table.indexes.filter((index) => !index.primary).map((index) => indexSql(table.name, index)),
    ...(ec2.server.superuser ? [] : [grantSql(name, rightsOnTable(table.name, 'ec2'), ec2.server.role)]),
  ].join('\n');
}

/** Rights on a table for the role that is connected. */
export function grantSql(table: string, rights: readonly string[], role: string): string {
  return `grant ${rights.join(', ')} on ${table} to ${quoteIdentifier(role)};`;
}
