import type { ChildFacts } from '../../repository/tables/table-catalog.js';
import { blocks, mendOn, STEP, warns, type Diagnosis } from './finding.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import { tableSql } from './names.js';
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
        const mend = `on ${side}, once its rows are in ${tableSql(table)}:\nalter table ${tableSql(name)} no inherit ${tableSql(table)};`;
        return blocks({ table, subject: `table ${name}`, ...about, reason }, { elsewhere: mend });
      }),
  );
}

/** A partitioned table refuses a row for which it has no partition. */
function comparePartitions({ table, local, ec2 }: TablePair): Diagnosis[] {
  const [here, there] = [partitionsOf(local.children), partitionsOf(ec2.children)];
  if (ec2.kind !== 'partitioned table' || there.some(({ bound }) => bound === 'DEFAULT')) return [];
  if (there.length === 0 && here.length === 0) {
    const name = quoteIdentifier(`${table}_default`);
    const about = { table, subject: 'partitions', local: 'none', ec2: 'none' };
    const sql = `create table if not exists ${tableSql(`${table}_default`)} partition of ${tableSql(table)} default;`;
    return [
      blocks({ ...about, reason: `EC2 refuses every row; ${name} would take them` }, mendOn('ec2', STEP.release, sql)),
    ];
  }
  const has = (all: readonly Partition[], { bound }: Partition): boolean => all.some((each) => each.bound === bound);
  // Other cuts may cover the same rows; nothing in the catalogs compares them.
  const isCutAlike = there.every((each) => has(here, each));
  return here
    .filter((each) => !has(there, each))
    .map(({ name, bound }) => {
      const about = { table, subject: `partition ${name}`, local: bound, ec2: 'does not exist' };
      const sql = `create table if not exists ${tableSql(name)} partition of ${tableSql(table)} ${bound};`;
      if (isCutAlike) {
        return blocks({ ...about, reason: 'EC2 refuses the rows of it' }, mendOn('ec2', STEP.release, sql));
      }
      const reason = 'EC2 is cut otherwise, and refuses the rows of it that no partition of its own takes';
      return warns({ ...about, reason });
    });
}

type Partition = ChildFacts & { readonly bound: string };

function partitionsOf(children: readonly ChildFacts[]): Partition[] {
  return children.filter((child): child is Partition => child.bound !== null);
}
