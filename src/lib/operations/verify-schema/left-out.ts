import type { LeftOut } from '../../repository/schema/schema-object.js';
import { warns, type Diagnosis } from './finding.js';

/** What of local no statement of ours brings, each with the command of another tool that does. */
export function diagnoseLeftOut(leftOut: readonly LeftOut[]): Diagnosis[] {
  return leftOut.map(({ what, reason, command }) => {
    const about = { table: null, subject: what, local: 'exists', ec2: 'not brought', reason };
    return command === null ? warns(about) : warns(about, { elsewhere: `${command}    # of local` });
  });
}
