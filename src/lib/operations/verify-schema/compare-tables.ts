import { columnOf } from '../../repository/tables/table.js';
import { sideTitle } from '../../domain/side.js';
import { GUIDE_TABLES } from '../../decoders/guide-tables.js';
import { fitsDeclared } from '../../repository/tables/column-values.js';
import { addWrittenColumnSql } from '../../repository/tables/declared-tables.js';
import { compareColumns } from './compare-columns.js';
import { compareConstraints } from './compare-constraints.js';
import { compareHypertables } from './compare-hypertables.js';
import { compareKeys } from './compare-keys.js';
import { compareTriggers } from './compare-triggers.js';
import { blocks, mendOn, notes, STEP, warns, type Diagnosis } from './finding.js';
import { compareChildren } from './compare-children.js';
import type { TableCatalog } from '../../repository/tables/table-catalog.js';
import type { Snapshot, TablePair } from './snapshot.js';
import { tableSql } from './names.js';

/** Everything about one table, in the order in which it is mended. */
export function compareTable(table: string, local: Snapshot, ec2: Snapshot): Diagnosis[] {
  const [here, there] = [local.tables.get(table), ec2.tables.get(table)];
  if (here !== undefined && !isTable(here)) return [noTable(table, here, there)];
  if (here === undefined || there === undefined) return [missing(table, local, ec2)];
  const hypertables = { local: local.timescaleDb.hypertables.get(table), ec2: ec2.timescaleDb.hypertables.get(table) };
  const pair: TablePair = {
    table,
    local: here,
    ec2: there,
    hypertables,
    written: Object.keys(GUIDE_TABLES[table]?.columns ?? {}),
    triggersOnEc2: ec2.triggers.get(there.table.label) ?? null,
  };
  if (!isTable(there) && here.kind !== there.kind) return compareKinds(pair);
  return [
    ...compareKinds(pair),
    ...compareChildren(pair),
    ...compareRowSecurity(pair),
    ...requireColumns(pair),
    ...requireTypes(pair),
    ...compareColumns(pair),
    ...compareKeys(pair),
    ...compareConstraints(pair),
    ...compareTriggers(pair),
    ...compareHypertables(pair, local, ec2),
  ];
}

/** Rows are copied between tables; through a view neither a repair nor a comparison knows what it touches. */
function noTable(table: string, here: TableCatalog, there: TableCatalog | undefined): Diagnosis {
  const about = { table, subject: 'kind', local: here.kind, ec2: there?.kind ?? 'does not exist' };
  return blocks({ ...about, reason: 'only tables are written and compared: name those that it reads' });
}

function missing(table: string, local: Snapshot, ec2: Snapshot): Diagnosis {
  const words = (snapshot: Snapshot): string => (snapshot.tables.has(table) ? 'exists' : 'does not exist');
  const about = { table, subject: 'table', local: words(local), ec2: words(ec2) };
  const reason = 'its rows cannot be stored on both sides; or the role may not use the schema that it is in';
  const here = local.tables.get(table);
  if (here === undefined)
    return blocks(
      { ...about, reason },
      { elsewhere: `sensorctl init --side ${ec2.tables.has(table) ? 'local' : 'both'}` },
    );
  return blocks({ ...about, reason }, { brought: 'sensorctl init' });
}

function isTable({ kind }: TablePair['local']): boolean {
  return kind.endsWith('table') && kind !== 'foreign table';
}

function compareKinds({ table, local, ec2 }: TablePair): Diagnosis[] {
  const found: Diagnosis[] = [];
  const name = tableSql(table);
  if (ec2.kind !== local.kind) {
    const about = { table, subject: 'kind', local: local.kind, ec2: ec2.kind };
    found.push(
      isTable(ec2)
        ? warns({ ...about, reason: 'a partitioned table refuses rows for which it has no partition' })
        : blocks({ ...about, reason: 'what is not a table takes rows otherwise, or not at all: replace it by hand' }),
    );
  }
  for (const side of (['local', 'ec2'] as const).filter((each) => ({ local, ec2 })[each].unlogged)) {
    const words = (each: TablePair['local']): string => (each.unlogged ? 'unlogged' : 'logged');
    const about = { table, subject: 'persistence', local: words(local), ec2: words(ec2) };
    const reason = `a crash of ${sideTitle(side)} empties the table, rows confirmed before among them`;
    const sql = `alter table ${name} set logged;`;
    // What is so on both sides is so on purpose.
    const mend =
      local.unlogged && ec2.unlogged ? { elsewhere: `on ${side}:\n${sql}` } : mendOn(side, STEP.release, sql);
    found.push(blocks({ ...about, reason }, mend));
  }
  if (local.owner !== ec2.owner) {
    const reason = 'only the owner can change the table';
    found.push(notes({ table, subject: 'owner', local: local.owner, ec2: ec2.owner, reason }));
  }
  return found;
}

/** Where it holds for the role that is connected, rows are hidden from it or refused, silently or not. */
function compareRowSecurity({ table, local, ec2 }: TablePair): Diagnosis[] {
  if (!local.rowSecurity && !ec2.rowSecurity) return [];
  const words = (side: TablePair['local']): string => {
    if (!side.rowSecurity) return 'off';
    return side.rowSecurityActive ? 'on, and holds for this role' : 'on, but not for this role';
  };
  const about = { table, subject: 'row security', local: words(local), ec2: words(ec2) };
  const sql = `alter table ${tableSql(table)} disable row level security;`;
  const reason =
    'rows are hidden from this role or refused to it: what is there looks missing; or let the role bypass it';
  if (!local.rowSecurityActive && !ec2.rowSecurityActive) {
    return [notes({ ...about, reason: 'does not hold for the role that is connected' })];
  }
  return [
    ...(local.rowSecurityActive ? [blocks({ ...about, reason }, mendOn('local', STEP.columns, sql))] : []),
    ...(ec2.rowSecurityActive ? [blocks({ ...about, reason }, { step: STEP.release, sql })] : []),
  ];
}

/** Columns that batches write and local lacks; what EC2 lacks of local's is told by the comparison. */
function requireColumns({ table, local, ec2, written }: TablePair): Diagnosis[] {
  return written
    .filter((column) => columnOf(local.table, column) === undefined)
    .flatMap((column) => {
      const sql = addWrittenColumnSql(table, GUIDE_TABLES[table] ?? { columns: {} }, column);
      const words = (side: TablePair['local']): string => columnOf(side.table, column)?.type ?? 'does not exist';
      const about = { table, subject: `column ${column}`, local: words(local), ec2: words(ec2) };
      const reason = 'batches write it';
      const isOnEc2 = columnOf(ec2.table, column) !== undefined;
      return [
        blocks({ ...about, reason }, mendOn('local', STEP.columns, sql)),
        ...(isOnEc2 ? [] : [blocks({ ...about, reason }, { step: STEP.columns, sql })]),
      ];
    });
}

/** Columns of local that cannot hold what batches write; one of EC2's that differs from local's is told by the comparison. */
function requireTypes({ table, local, ec2, written }: TablePair): Diagnosis[] {
  return written.flatMap((name) => {
    const [column, type] = [columnOf(local.table, name), GUIDE_TABLES[table]?.columns[name] ?? 'text'];
    if (column === undefined || fitsDeclared(column, type)) return [];
    const there = columnOf(ec2.table, name)?.type ?? 'does not exist';
    const reason = `batches write ${type}: a consumer does not start`;
    return [blocks({ table, subject: `column ${name}`, local: column.type, ec2: there, reason })];
  });
}
