import { counted } from '../../domain/words.js';
import { sideTitle } from '../../domain/side.js';
import type { PairTracking } from '../../repository/writers/pair-tracking.js';
import type { TableProof } from '../../repository/cutover/evidence.js';
import type { Measured } from './cutover-report.js';

/** What is said of other programs: the triggers of tracked tables are whole, and of the others how old their proof is. */
export function measureWriters(trackings: readonly PairTracking[], proofs: ReadonlyMap<string, TableProof>): Measured {
  const [broken, ...others] = trackings.filter(({ state }) => state === 'broken');
  if (broken !== undefined) {
    return { passed: false, detail: describeBroken(broken, others.length), advice: { code: 'tracking-broken' } };
  }
  const untracked = trackings.filter(({ state }) => state === 'untracked').map(({ table }) => table);
  const tracked = trackings.length - untracked.length;
  if (untracked.length === 0) {
    return { passed: true, detail: `${counted(tracked, 'table')} tracked on both sides, none untracked` };
  }
  const detail = [
    `${counted(tracked, 'table')} tracked; what other programs write to the others is found by comparisons alone`,
    `not covered: what they changed there since the last proof (${untracked.map((name) => describeProof(name, proofs)).join(', ')})`,
  ];
  return { passed: true, detail: detail.join('; ') };
}

function describeBroken({ table, problems }: PairTracking, more: number): string {
  const [first] = problems;
  const where = first === undefined ? '' : ` on ${sideTitle(first.side)}: ${first.problem}`;
  const rest = problems.length - 1 + more;
  return `the triggers of ${table} are not whole${where}${rest > 0 ? ` (and ${rest} more)` : ''}`;
}

function describeProof(name: string, proofs: ReadonlyMap<string, TableProof>): string {
  const proof = proofs.get(name);
  return proof === undefined ? `${name} was never proven` : `${name} ${describeAge(proof.ageSeconds)} ago`;
}

/** `3 min`, `5.2 h`. */
function describeAge(seconds: number): string {
  return seconds < 3_600 ? `${Math.ceil(seconds / 60)} min` : `${(seconds / 3_600).toFixed(1)} h`;
}
