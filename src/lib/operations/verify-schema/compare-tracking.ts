import type { Database } from '../../db/database.js';
import type { TableSelection } from '../../domain/table-patterns.js';
import { planTables } from '../../repository/compare/plan-tables.js';
import { readPairTracking, type PairTracking } from '../../repository/writers/pair-tracking.js';
import { warns, type Diagnosis } from './finding.js';

const TRACK = { elsewhere: 'sensorctl init --track' };

/** Which of these tables other programs may write unseen; the bookkeeping of both sides is there. */
export async function diagnoseTracking(
  { local, ec2 }: { readonly local: Database; readonly ec2: Database },
  { selection, names }: { readonly selection: TableSelection; readonly names: readonly string[] },
): Promise<Diagnosis[]> {
  const databases = { primary: local, secondary: ec2 };
  const { pairs } = await planTables(databases, { selection, names: [] });
  const wanted = pairs.filter(({ name }) => names.includes(name));
  const trackings = await readPairTracking(databases, wanted);
  const untracked = trackings.filter(({ state }) => state === 'untracked').map(({ table }) => table);
  return [
    ...trackings.filter(({ state }) => state === 'broken').map(diagnoseBroken),
    ...(untracked.length === 0 ? [] : [diagnoseUntracked(untracked)]),
  ];
}

function diagnoseBroken({ table, problems }: PairTracking): Diagnosis {
  const on = (side: 'local' | 'ec2'): string =>
    problems.flatMap((each) => (each.side === side ? [each.problem] : [])).join('; ') || 'whole';
  const about = { table, subject: 'triggers for other writers', local: on('local'), ec2: on('ec2') };
  return warns({ ...about, reason: 'what other programs write to it may pass unseen' }, TRACK);
}

function diagnoseUntracked(tables: readonly string[]): Diagnosis {
  const about = {
    table: null,
    subject: 'other writers',
    local: `not tracked: ${tables.join(', ')}`,
    ec2: 'not tracked',
  };
  const reason = 'what programs besides the consumer write to these is found by comparisons alone';
  return warns({ ...about, reason }, TRACK);
}
