import { quoteIdentifier } from '../../db/identifiers.js';
import type { ColumnFacts } from '../../repository/tables/table-catalog.js';
import { oneLine } from '../../domain/printable.js';
import { STEP, type Step } from './finding.js';
import { uncompressedSql } from './hypertable-sql.js';
import type { TablePair } from './snapshot.js';
import { tableSql } from './names.js';

const SEQUENCE = /^nextval\('(.+)'::regclass\)$/;

/** A column as `create table` would have it. */
export function describeColumn(column: ColumnFacts): string {
  return `${describeLooseColumn(column)}${column.notNull ? ' not null' : ''}`;
}

/** Without `not null` where nothing fills the rows that are there already: until they are repaired it is null in them. */
export function addColumnSql(table: string, column: ColumnFacts): string {
  const isFilled = column.default !== null || column.generated !== null || column.identity !== null;
  const definition = isFilled ? describeColumn(column) : describeLooseColumn(column);
  const add = `alter table ${tableSql(table)} add column if not exists ${quoteIdentifier(column.name)}`;
  return `${createSequenceSql(column.default)}${add} ${definition};`;
}

/** Any change of a column that PostgreSQL has a word for, such as `drop not null`. */
export function alterColumnSql(table: string, column: string, change: string): string {
  return `alter table ${tableSql(table)} alter column ${quoteIdentifier(column)} ${change};`;
}

/** The sequence that a default takes its values from, which EC2 may lack; nothing for any other default. */
export function createSequenceSql(value: string | null): string {
  const sequence = SEQUENCE.exec(value ?? '')?.[1];
  return sequence === undefined ? '' : `create sequence if not exists ${sequence.replaceAll("''", "'")};\n`;
}

/** Describes how a column is filled that no value is given for. */
export function describeFill({ default: value, generated, virtual, identity }: ColumnFacts): string | null {
  if (generated !== null) return `generated always as (${generated}) ${virtual ? 'virtual' : 'stored'}`;
  if (identity !== null) return `generated ${identity} as identity`;
  return value === null ? null : `default ${value}`;
}

/**
 * Gives a column of EC2 local's type and default; by hand where a view holds on to the type, since PostgreSQL refuses
 * the change and what a continuous aggregate holds would be gone with it.
 */
export function retypeSql(
  pair: TablePair,
  { local, ec2, using }: { local: ColumnFacts; ec2: ColumnFacts; using: string },
): { step: Step; sql: string } | { step: Step; optional: string } {
  const column = quoteIdentifier(local.name);
  const changes = [
    ...(ec2.default === null ? [] : [`alter column ${column} drop default`]),
    `alter column ${column} type ${local.type} using ${column}${using.startsWith('::') ? using : ` ${using}`}`,
    ...(ec2.default === null || local.default === null ? [] : [`alter column ${column} set default ${local.default}`]),
  ];
  const change = `alter table ${tableSql(pair.table)}\n  ${changes.join(',\n  ')};`;
  const sql = uncompressedSql(pair.table, pair.hypertables.ec2, change);
  const views = pair.ec2.views.filter((view) => view.column === local.name).map(({ view }) => view);
  if (views.length === 0) return { step: STEP.columns, sql };
  const first = `-- by hand, for PostgreSQL refuses it while ${oneLine(views.join(', '))} reads the column: drop, change, create again`;
  return { step: STEP.columns, optional: `${first}\n${sql}` };
}

function describeLooseColumn(column: ColumnFacts): string {
  const collation = column.collation === null ? '' : ` collate ${quoteIdentifier(column.collation)}`;
  const fill = describeFill(column);
  return `${column.type}${collation}${fill === null ? '' : ` ${fill}`}`;
}
