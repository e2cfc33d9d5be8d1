import { quoteIdentifier } from '../../db/identifiers.js';
import type { ColumnFacts } from '../../repository/tables/table-catalog.js';
import { compareTypes } from '../../domain/column-types.js';
import { READING_KEY } from '../../domain/reading.js';
import { addColumnSql, alterColumnSql, describeColumn, retypeSql } from './column-sql.js';
import { compareFill } from './compare-fill.js';
import { blocks, mendOn, notes, STEP, warns, type Diagnosis } from './finding.js';
import { uncompressedSql } from './hypertable-sql.js';
import type { TablePair } from './snapshot.js';

/** Names, types, nullability, collations, what fills the columns, and their order. */
export function compareColumns(pair: TablePair): Diagnosis[] {
  const ec2 = new Map(pair.ec2.columns.map((column) => [column.name, column]));
  const local = new Set(pair.local.columns.map(({ name }) => name));
  return [
    ...pair.local.columns.flatMap((column) => {
      const there = ec2.get(column.name);
      return there === undefined ? [missing(pair, column)] : compareColumn(pair, column, there);
    }),
    ...pair.ec2.columns.filter(({ name }) => !local.has(name)).map((column) => additional(pair, column)),
    ...compareOrder(pair),
  ];
}

function compareColumn(pair: TablePair, local: ColumnFacts, ec2: ColumnFacts): Diagnosis[] {
  const fill = compareFill(pair, local, ec2);
  // PostgreSQL changes nothing else of a generated column; a default has to be of the new type.
  const isComputed = ec2.generated !== null || ec2.identity !== null;
  return [
    ...(isComputed ? fill : []),
    ...compareType(pair, local, ec2),
    ...compareNullability(pair, local, ec2),
    ...(isComputed ? [] : fill),
    ...compareCollation(pair, local, ec2),
  ];
}

function missing(pair: TablePair, column: ColumnFacts): Diagnosis {
  const { table } = pair;
  return blocks(
    {
      ...{ table, subject: `column ${column.name}`, local: describeColumn(column), ec2: 'does not exist' },
      reason: 'its values cannot be stored on EC2',
    },
    { step: STEP.columns, sql: addColumnSql(table, column) },
  );
}

function additional(pair: TablePair, column: ColumnFacts): Diagnosis {
  const about = {
    ...{ table: pair.table, subject: `column ${column.name}`, local: 'does not exist', ec2: describeColumn(column) },
  };
  const isFilled = column.default !== null || column.generated !== null || column.identity !== null;
  if (!column.notNull || isFilled) return notes({ ...about, reason: 'rows from local leave it to its default' });
  return blocks(
    { ...about, reason: 'EC2 refuses every row from local, which has no value for it' },
    { step: STEP.columns, sql: alterColumnSql(pair.table, column.name, 'drop not null') },
  );
}

const TYPE_REASONS = {
  narrower: 'EC2 rounds, cuts or refuses values that local holds, and a rounded write is confirmed all the same',
  other: 'whether every value of local survives in this type is not known',
  'mixed-time':
    'mixed time types: the two mean the same instant only while every session that touches them has TimeZone UTC',
  incomparable: 'json has no equality: a repair on EC2 fails, since it cannot tell whether a row differs',
  wider: 'EC2 takes every value of local; once EC2 is the primary, local may round or refuse values on the way back',
  alike: 'both hold the same values',
} as const;

function compareType(pair: TablePair, local: ColumnFacts, ec2: ColumnFacts): Diagnosis[] {
  if (local.type === 'json' && pair.written.includes(local.name)) return [jsonOnLocal(pair, local, ec2)];
  const relation = compareTypes(local.type, ec2.type);
  if (relation === 'same') return [];
  const about = {
    ...{ table: pair.table, subject: `type of ${local.name}`, local: local.type, ec2: ec2.type },
    reason: TYPE_REASONS[relation],
  };
  if (relation === 'alike') return [notes(about)];
  if (relation === 'wider') {
    return [warns(about, mendOn('local', STEP.columns, alterColumnSql(pair.table, local.name, `type ${ec2.type}`)))];
  }
  const using = relation === 'mixed-time' ? `at time zone 'UTC'` : `::${local.type}`;
  return [blocks(about, retypeSql(pair, { local, ec2, using }))];
}

/** To be mended first: EC2 then follows. */
function jsonOnLocal({ table }: TablePair, local: ColumnFacts, ec2: ColumnFacts): Diagnosis {
  const about = { table, subject: `type of ${local.name}`, local: local.type, ec2: ec2.type };
  const change = `type jsonb using ${quoteIdentifier(local.name)}::jsonb`;
  return blocks(
    { ...about, reason: TYPE_REASONS.incomparable },
    mendOn('local', STEP.columns, alterColumnSql(table, local.name, change)),
  );
}

function compareNullability(pair: TablePair, local: ColumnFacts, ec2: ColumnFacts): Diagnosis[] {
  if (local.notNull === ec2.notNull) return [];
  const words = (column: ColumnFacts): string => (column.notNull ? 'not null' : 'null allowed');
  const { table } = pair;
  const about = { table, subject: `nullability of ${local.name}`, local: words(local), ec2: words(ec2) };
  const setNotNull = alterColumnSql(table, local.name, 'set not null');
  if (!ec2.notNull) {
    return [notes({ ...about, reason: 'EC2 takes every row of local' }, { step: STEP.columns, optional: setNotNull })];
  }
  if (pair.written.length > 0 && (READING_KEY as readonly string[]).includes(local.name)) {
    const reason = 'batches always have a value for it; a row of local without one could not be copied';
    return [warns({ ...about, reason }, mendOn('local', STEP.columns, setNotNull))];
  }
  return [
    blocks(
      { ...about, reason: 'EC2 refuses rows that local accepts' },
      { step: STEP.columns, sql: alterColumnSql(table, local.name, 'drop not null') },
    ),
  ];
}

function compareCollation(pair: TablePair, local: ColumnFacts, ec2: ColumnFacts): Diagnosis[] {
  const words = (column: ColumnFacts): string => column.collation ?? 'default';
  if (words(local) === words(ec2)) return [];
  const about = { table: pair.table, subject: `collation of ${local.name}`, local: words(local), ec2: words(ec2) };
  if (ec2.deterministic || !local.deterministic) {
    return [notes({ ...about, reason: 'text sorts differently; sensorctl compares by bytes' })];
  }
  const reason = 'EC2 counts different texts as equal: a unique key there refuses rows that local accepts';
  const type = `${ec2.type} collate ${quoteIdentifier(words(local))}`;
  const sql = uncompressedSql(pair.table, pair.hypertables.ec2, alterColumnSql(pair.table, local.name, `type ${type}`));
  return [blocks({ ...about, reason }, { step: STEP.columns, sql })];
}

function compareOrder({ table, local, ec2 }: TablePair): Diagnosis[] {
  const names = (columns: readonly ColumnFacts[]): string[] => columns.map(({ name }) => name);
  const shared = names(local.columns).filter((name) => names(ec2.columns).includes(name));
  const there = names(ec2.columns).filter((name) => shared.includes(name));
  if (shared.join() === there.join()) return [];
  const reason = 'sensorctl always names the columns; other programs may rely on their order';
  return [notes({ table, subject: 'order of columns', local: shared.join(', '), ec2: there.join(', '), reason })];
}
