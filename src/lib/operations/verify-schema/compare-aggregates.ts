import type { AggregateFacts } from '../../repository/timescaledb/timescaledb-catalog.js';
import { notes, warns, type Diagnosis } from './finding.js';
import type { Snapshot } from './snapshot.js';

/** Continuous aggregates over the tables, and those over them; with their refresh policies. */
export function compareAggregates(local: Snapshot, ec2: Snapshot, tables: readonly string[]): Diagnosis[] {
  const [here, there] = [over(tables, local.timescaleDb.aggregates), over(tables, ec2.timescaleDb.aggregates)];
  const find = (all: readonly AggregateFacts[], name: string): AggregateFacts | undefined =>
    all.find((aggregate) => aggregate.name === name);
  return [
    ...here.flatMap((aggregate) => {
      const other = find(there, aggregate.name);
      return other === undefined ? [] : compareAggregate(aggregate, other);
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

function compareAggregate(local: AggregateFacts, ec2: AggregateFacts): Diagnosis[] {
  const table = local.over;
  const found: Diagnosis[] = [];
  const [here, there] = [describeRefresh(local), describeRefresh(ec2)];
  if (here !== there) {
    const about = { table, subject: `refresh policy of ${local.name}`, local: here, ec2: there };
    found.push(warns({ ...about, reason: 'the aggregate is refreshed at other times, or not at all' }));
  }
  return found;
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
