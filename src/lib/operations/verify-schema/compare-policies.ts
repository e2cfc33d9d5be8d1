import type { HypertableFacts, PolicyFacts } from '../../repository/timescaledb/timescaledb-catalog.js';
import { notes, STEP, warns, type Diagnosis } from './finding.js';
import { policySql } from './hypertable-sql.js';
import type { TablePair } from './snapshot.js';

/** Retention and compression policies: what drops or compresses chunks while nobody looks. */
export function comparePolicies(pair: TablePair): Diagnosis[] {
  return [...compareRetention(pair), ...compareCompressionPolicy(pair)];
}

function compareRetention({ table, hypertables }: TablePair): Diagnosis[] {
  const [local, ec2] = [find(hypertables.local, 'retention'), find(hypertables.ec2, 'retention')];
  if (describe(local) === describe(ec2)) return [];
  const about = { table, subject: 'retention policy', local: describe(local), ec2: describe(ec2) };
  const sql = policySql(table, 'retention', local);
  if (dropsEarlier(ec2, local)) {
    const reason =
      'EC2 drops history that local holds, what a backfill has just copied too, and it is gone after the cutover';
    return [warns({ ...about, reason }, { step: STEP.policies, sql })];
  }
  const reason = 'EC2 keeps what local drops: compare and backfill leave out what either side has dropped';
  return [warns({ ...about, reason }, ec2 === undefined ? { brought: sql } : { step: STEP.policies, optional: sql })];
}

/** Ages that cannot be compared count as earlier: what is dropped does not come back. */
function dropsEarlier(ec2: PolicyFacts | undefined, local: PolicyFacts | undefined): boolean {
  if (ec2 === undefined) return false;
  if (local?.afterSeconds == null || ec2.afterSeconds === null) return true;
  return ec2.afterSeconds < local.afterSeconds || (ec2.scheduled && !local.scheduled);
}

function compareCompressionPolicy({ table, hypertables }: TablePair): Diagnosis[] {
  const [local, ec2] = [find(hypertables.local, 'compression'), find(hypertables.ec2, 'compression')];
  if (describe(local) === describe(ec2)) return [];
  const about = { table, subject: 'compression policy', local: describe(local), ec2: describe(ec2) };
  const reason = 'rows are the same; a backfill into compressed chunks is slow, and pauses the policy';
  if (local === undefined) return [notes({ ...about, reason })];
  const sql = policySql(table, 'compression', local);
  return [notes({ ...about, reason }, ec2 === undefined ? { brought: sql } : { step: STEP.policies, optional: sql })];
}

function find(hypertable: HypertableFacts | undefined, kind: PolicyFacts['kind']): PolicyFacts | undefined {
  return hypertable?.policies.find((policy) => policy.kind === kind);
}

function describe(policy: PolicyFacts | undefined): string {
  if (policy === undefined) return 'none';
  return `after ${policy.after ?? 'an age of its own'}${policy.scheduled ? '' : ', paused'}`;
}
