import { sideTitle, type Side } from '../../domain/side.js';
import type { DimensionFacts, HypertableFacts } from '../../repository/timescaledb/timescaledb-catalog.js';
import { comparePolicies } from './compare-policies.js';
import { quoteIdentifier } from '../../db/identifiers.js';
import { blocks, mendOn, notes, STEP, warns, type Diagnosis } from './finding.js';
import { tableSql } from './names.js';
import { chunkIntervalSql, compressionSql, hypertableSql } from './hypertable-sql.js';
import type { Snapshot, TablePair } from './snapshot.js';

/** Compares TimescaleDB's part of a table: hypertable, dimensions, chunks, compression, policies. */
export function compareHypertables(pair: TablePair, local: Snapshot, ec2: Snapshot): Diagnosis[] {
  const { local: here, ec2: there } = pair.hypertables;
  return [
    ...[local, ec2].flatMap((snapshot) => losingRows(pair, snapshot, [local, ec2])),
    ...rowsInRoot(pair),
    ...(here !== undefined && there === undefined ? [plainOnEc2(pair, here, ec2)] : []),
    ...(here === undefined && there !== undefined ? [plainOnLocal(pair)] : []),
    ...(here !== undefined && there !== undefined ? compareSettings(pair, here, there) : []),
    ...comparePolicies(pair),
  ];
}

function losingRows({ table, ...pair }: TablePair, { side }: Snapshot, sides: readonly Snapshot[]): Diagnosis[] {
  if (pair[side].table.hypertable?.losesRows !== true) return [];
  const words = (each: Snapshot | undefined): string => `TimescaleDB ${each?.timescaleDb.installed ?? 'not in use'}`;
  const about = { table, subject: 'writes into compressed chunks', local: words(sides[0]), ec2: words(sides[1]) };
  const reason = `before 2.18.1 \`on conflict do nothing\` on a compressed chunk drops every row after the first conflict (on ${sideTitle(side)})`;
  return [blocks({ ...about, reason }, { elsewhere: upgradeAdvice(side) })];
}

/** Written in TimescaleDB's restoring mode: its queries leave the root out. */
function rowsInRoot({ table, local, ec2, hypertables }: TablePair): Diagnosis[] {
  const words = (facts: HypertableFacts | undefined): string =>
    facts?.rootRows === true ? 'rows in no chunk' : 'none';
  const about = {
    ...{ table, subject: 'rows in no chunk', local: words(hypertables.local), ec2: words(hypertables.ec2) },
  };
  const reason =
    'they were written in restoring mode to the root of the hypertable, where no query finds them; what brings them back fails where their keys are there again: then look at both';
  return (['local', 'ec2'] as const)
    .filter((side) => hypertables[side]?.rootRows === true)
    .map((side) => {
      const { columns } = { local, ec2 }[side];
      const names = columns.filter(({ generated }) => generated === null).map(({ name }) => quoteIdentifier(name));
      const given = columns.some(({ identity }) => identity === 'always') ? ' overriding system value' : '';
      const name = tableSql(table);
      const sql = `insert into ${name} (${names.join(', ')})${given}\n  select ${names.join(', ')} from only ${name};\ndelete from only ${name};`;
      return blocks({ ...about, reason }, mendOn(side, STEP.hypertable, sql));
    });
}

/** A new version of the extension comes with the server's packages; a script cannot install them. */
export function upgradeAdvice(side: Side): string {
  return `on ${side}: install TimescaleDB 2.18.1 or newer, then: alter extension timescaledb update;`;
}

function plainOnEc2({ table }: TablePair, here: HypertableFacts, { timescaleDb }: Snapshot): Diagnosis {
  const about = { table, subject: 'hypertable', local: 'hypertable', ec2: 'table' };
  const reason = 'the same rows are accepted; without chunks EC2 grows slow, and neither compresses nor expires them';
  if (timescaleDb.installed === null && !timescaleDb.creatable) {
    return warns({ ...about, reason }, { elsewhere: 'on ec2: install TimescaleDB 2.18.1 or newer, and load it' });
  }
  return warns({ ...about, reason }, { step: STEP.hypertable, sql: hypertableSql(table, here) });
}

function plainOnLocal({ table }: TablePair): Diagnosis {
  const reason = 'the same rows are accepted';
  return notes({ table, subject: 'hypertable', local: 'table', ec2: 'hypertable', reason });
}

function compareSettings({ table }: TablePair, local: HypertableFacts, ec2: HypertableFacts): Diagnosis[] {
  return [...compareDimensions(table, local, ec2), ...compareCompression(table, local, ec2)];
}

function compareDimensions(table: string, local: HypertableFacts, ec2: HypertableFacts): Diagnosis[] {
  const [here, there] = [local.dimensions.map(describe), ec2.dimensions.map(describe)];
  const intervals = [local, ec2].map(({ dimensions }) => dimensions[0]?.interval ?? 'none');
  const [interval = 'none', other = 'none'] = intervals;
  const found: Diagnosis[] = [];
  if (here.join() !== there.join()) {
    const reason = 'partitioned by other columns: a unique key has to hold them all; only a new table changes it';
    found.push(warns({ table, subject: 'dimensions', local: here.join(', '), ec2: there.join(', '), reason }));
  }
  if (interval !== other) {
    const about = { table, subject: 'chunk interval', local: interval, ec2: other };
    const reason = 'ranges are compared and copied by time, not by chunk; a change concerns new chunks only';
    found.push(notes({ ...about, reason }, { step: STEP.policies, optional: chunkIntervalSql(table, interval) }));
  }
  return found;
}

/** Types are compared with the columns. */
function describe({ column, partitions }: DimensionFacts): string {
  return partitions === null ? column : `${column} in ${partitions} partitions`;
}

function compareCompression(table: string, local: HypertableFacts, ec2: HypertableFacts): Diagnosis[] {
  const words = ({ compressed, segmentBy, orderBy }: HypertableFacts): string =>
    compressed ? `on, segment by (${segmentBy}), order by (${orderBy})` : 'off';
  if (words(local) === words(ec2)) return [];
  const about = { table, subject: 'compression', local: words(local), ec2: words(ec2) };
  if (!local.compressed) return [notes({ ...about, reason: 'repairs on EC2 may have to decompress' })];
  const reason = 'rows are the same; chunks are compressed by a policy, which a backfill pauses';
  const sql = compressionSql(table, local);
  return [notes({ ...about, reason }, ec2.compressed ? { step: STEP.policies, optional: sql } : { brought: sql })];
}
