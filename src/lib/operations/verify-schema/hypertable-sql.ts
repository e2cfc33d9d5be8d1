import { quoteLiteral } from '../../db/identifiers.js';
import type { HypertableFacts, PolicyFacts } from '../../repository/timescaledb/timescaledb-catalog.js';
import { regclassSql, tableSql, timescaleSql } from './names.js';

/** Makes a table of EC2 a hypertable like local's; the rows that it holds move into chunks. */
export function hypertableSql(table: string, { dimensions }: HypertableFacts): string {
  const [time, ...space] = dimensions;
  if (time === undefined) return '';
  const name = regclassSql(table);
  const options = [
    ...(time.interval === null ? [] : [`chunk_time_interval => ${intervalLiteral(time.interval)}`]),
    'create_default_indexes => false, migrate_data => true, if_not_exists => true',
  ];
  return [
    `select ${timescaleSql('create_hypertable')}(${name}, ${quoteLiteral(time.column)}, ${options.join(', ')});`,
    ...space.map(
      ({ column, partitions }) =>
        `select ${timescaleSql('add_dimension')}(${name}, ${quoteLiteral(column)}, number_partitions => ${partitions ?? 1}, if_not_exists => true);`,
    ),
  ].join('\n');
}

export function chunkIntervalSql(table: string, interval: string): string {
  return `select ${timescaleSql('set_chunk_time_interval')}(${regclassSql(table)}, ${intervalLiteral(interval)});`;
}

export function compressionSql(table: string, { segmentBy, orderBy }: HypertableFacts): string {
  const settings = [
    'timescaledb.compress',
    ...(segmentBy === '' ? [] : [`timescaledb.compress_segmentby = ${quoteLiteral(segmentBy)}`]),
    ...(orderBy === '' ? [] : [`timescaledb.compress_orderby = ${quoteLiteral(orderBy)}`]),
  ];
  return `alter table ${tableSql(table)} set (${settings.join(', ')});`;
}

/**
 * Statements that TimescaleDB refuses on compressed chunks, or while compression is on: it is switched off for their
 * length. What was compressed stays plain until its policy, or a person, compresses it again.
 */
export function uncompressedSql(table: string, hypertable: HypertableFacts | undefined, sql: string): string {
  if (hypertable?.compressed !== true) return sql;
  return [
    '-- Chunks stay plain until the compression policy, or a person, compresses them again.',
    `select ${timescaleSql('decompress_chunk')}(chunk, true) from ${timescaleSql('show_chunks')}(${regclassSql(table)}) as chunk;`,
    `alter table ${tableSql(table)} set (timescaledb.compress = false);`,
    sql,
    compressionSql(table, hypertable),
  ].join('\n');
}

/** Replaces a retention or compression policy by local's; only removes it where local has none. */
export function policySql(table: string, kind: 'retention' | 'compression', policy: PolicyFacts | undefined): string {
  const name = regclassSql(table);
  const remove = `select ${timescaleSql(`remove_${kind}_policy`)}(${name}, if_exists => true);`;
  if (policy?.after == null) return remove;
  return `${remove}\nselect ${timescaleSql(`add_${kind}_policy`)}(${name}, ${intervalLiteral(policy.after)});`;
}

/** Tables whose time is an integer have their intervals as integers. */
function intervalLiteral(value: string): string {
  return /^-?\d+$/.test(value) ? value : `interval ${quoteLiteral(value)}`;
}
