import type { ChildFacts } from '../../repository/tables/table-catalog.js';
import { blocks, mendOn, STEP, warns, type Diagnosis } from './finding.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import { besideSql, tableSql } from './names.js';
import type { TablePair } from './snapshot.js';

/** Tables that inherit from a table, and the partitions of one that is partitioned. */
export function compareChildren(pair: TablePair): Diagnosis[] {
  return [...findInheriting(pair), ...comparePartitions(pair)];
}

/** A unique key holds in each table by itself: beside an inheriting one a key can be there twice, and is not seen. */
function findInheriting({ table, local, ec2 }: TablePair): Diagnosis[] {
  const sides = { local, ec2 };
  const words = (name: string, children: readonly ChildFacts[]): string =>
    children.some((child) => child.name === name && child.bound === null) ? 'inherits' : 'does not exist';
  const reason =
    'a key of the table does not hold in it: its rows are read with those of the table, and a key may be there twice';
  return (['local', 'ec2'] as const).flatMap((side) =>
    sides[side].children
      .filter(({ bound }) => bound === null)
      .map(({ name }) => {
        const about = { local: words(name, local.children), ec2: words(name, ec2.children) };
        const mend = `on ${side}, once its rows are in ${tableSql(table)}:\nalter table ${besideSql(table, name)} no inherit ${tableSql(table)};`;
        return blocks({ table, subject: `table ${name}`, ...about, reason }, { elsewhere: mend });
      }),
  );
}

/** A partitioned table refuses a row for which it has no partition. */
function comparePartitions({ table, local, ec2 }: TablePair): Diagnosis[] {
  const [here, there] = [partitionsOf(local.children), partitionsOf(ec2.children)];
  if (ec2.kind !== 'partitioned table' || there.some(({ bound }) => bound === 'DEFAULT')) return [];
  if (there.length === 0 && here.length === 0) {
    // Neither side takes a row.
    if (local.kind === 'partitioned table') return [];
    const name = quoteIdentifier(`${pairName(ec2)}_default`);
    const about = { table, subject: 'partitions', local: 'none', ec2: 'none' };
    const sql = `create table if not exists ${besideSql(table, `${pairName(ec2)}_default`)} partition of ${tableSql(table)} default;`;
    return [
      blocks({ ...about, reason: `EC2 refuses every row; ${name} would take them` }, mendOn('ec2', STEP.release, sql)),
    ];
  }
  return here
    .filter((each) => !hasBound(there, each))
    .map(({ name, bound }) => {
      const about = { table, subject: `partition ${name}`, local: bound, ec2: 'does not exist' };
      const brought = `create table ${besideSql(table, name)} partition of ${tableSql(table)} ${bound};`;
      if (isCutAlike(here, there)) return blocks({ ...about, reason: 'EC2 refuses the rows of it' }, { brought });
      const reason = 'EC2 is cut otherwise, and refuses the rows of it that no partition of its own takes';
      return warns({ ...about, reason });
    });
}

type Partition = ChildFacts & { readonly bound: string };

function partitionsOf(children: readonly ChildFacts[]): Partition[] {
  return children.filter((child): child is Partition => child.bound !== null);
}

function pairName({ table }: TablePair['ec2']): string {
  return table.name.name;
}

function hasBound(all: readonly Partition[], { bound }: Partition): boolean {
  return all.some((each) => each.bound === bound);
}

/** Other cuts may cover the same rows; nothing in the catalogs compares them. */
function isCutAlike(local: readonly Partition[], ec2: readonly Partition[]): boolean {
  return ec2.every((each) => hasBound(local, each));
}

/** Whether partitions of local fit into the table as EC2 has it. */
export function takesPartitions(local: TablePair['local'], ec2: TablePair['ec2']): boolean {
  const [here, there] = [partitionsOf(local.children), partitionsOf(ec2.children)];
  return ec2.kind === 'partitioned table' && isCutAlike(here, there);
}
