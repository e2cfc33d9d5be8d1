import type { AggregateFacts } from '../../repository/timescaledb/timescaledb-catalog.js';
import { notes, STEP, warns, type Diagnosis } from './finding.js';
import { aggregateSql, refreshPolicySql } from './hypertable-sql.js';
import type { Snapshot } from './snapshot.js';

/** Continuous aggregates over the tables, and those over them; with their refresh policies. */
export function compareAggregates(local: Snapshot, ec2: Snapshot, tables: readonly string[]): Diagnosis[] {
  const [here, there] = [over(tables, local.timescaleDb.aggregates), over(tables, ec2.timescaleDb.aggregates)];
  const find = (all: readonly AggregateFacts[], name: string): AggregateFacts | undefined =>
    all.find((aggregate) => aggregate.name === name);
  return [
    ...here.flatMap((aggregate) => {
      const other = find(there, aggregate.name);
      return other === undefined ? [missing(aggregate, local, ec2)] : compareAggregate(aggregate, other);
    }),
    ...there.filter(({ name }) => find(here, name) === undefined).map(additional),
  ];
}

/** Parents come before children. */
function over(tables: readonly string[], all: readonly AggregateFacts[]): AggregateFacts[] {
  const direct = all.filter((aggregate) => tables.includes(aggregate.over));
  return direct.length === 0
    ? []
    : [
        ...direct,
        ...over(
          direct.map(({ name }) => name),
          all,
        ),
      ];
}

function missing(aggregate: AggregateFacts, local: Snapshot, ec2: Snapshot): Diagnosis {
  const about = { table: aggregate.over, subject: `continuous aggregate ${aggregate.name}`, ec2: 'does not exist' };
  const reason = 'programs that read it fail on EC2; after the backfill refresh it, from its parents on down';
  const observation = { ...about, local: 'exists', reason };
  const isPossible = ec2.timescaleDb.installed !== null || ec2.timescaleDb.creatable;
  const sql = aggregateSql(aggregate);
  const isHypertable = ec2.timescaleDb.hypertables.has(aggregate.over) || !ec2.tables.has(aggregate.over) || isPossible;
  if (isPossible && isHypertable) return warns(observation, { step: STEP.policies, sql });
  return warns(observation, { elsewhere: `on ec2, once TimescaleDB is there:\n${sql}` });
}

function compareAggregate(local: AggregateFacts, ec2: AggregateFacts): Diagnosis[] {
  const table = local.over;
  const found: Diagnosis[] = [];
  if (local.definition !== ec2.definition) {
    const about = {
      table,
      subject: `continuous aggregate ${local.name}`,
      local: local.definition,
      ec2: ec2.definition,
    };
    const reason = 'it may hold other values; two versions of PostgreSQL may also print one definition differently';
    found.push(warns({ ...about, reason }));
  }
  const [here, there] = [describeRefresh(local), describeRefresh(ec2)];
  if (here !== there) {
    const about = { table, subject: `refresh policy of ${local.name}`, local: here, ec2: there };
    found.push(
      warns({ ...about, reason: 'the aggregate is refreshed at other times, or not at all' }, refreshMend(local, ec2)),
    );
  }
  return found;
}

function refreshMend(
  local: AggregateFacts,
  ec2: AggregateFacts,
): { step: typeof STEP.policies; sql: string } | undefined {
  const policy = local.policies.find(({ kind }) => kind === 'refresh');
  const isThere = ec2.policies.some(({ kind }) => kind === 'refresh');
  return policy === undefined || isThere
    ? undefined
    : { step: STEP.policies, sql: refreshPolicySql(local.name, policy) };
}

function additional({ name, over: table }: AggregateFacts): Diagnosis {
  const about = { table, subject: `continuous aggregate ${name}`, local: 'does not exist', ec2: 'exists' };
  return notes({ ...about, reason: 'changes no row' });
}

function describeRefresh({ policies }: AggregateFacts): string {
  const policy = policies.find(({ kind }) => kind === 'refresh');
  if (policy === undefined) return 'none';
  const { startOffset, endOffset, every, scheduled } = policy;
  const range = `from ${startOffset ?? 'the beginning'} to ${endOffset ?? 'the end'}`;
  return `${range}, every ${every}${scheduled ? '' : ', paused'}`;
}
