import type { LeftOut } from '../../repository/schema/schema-object.js';
import { notes, warns, type Diagnosis } from './finding.js';

/** What of local no statement of ours brings, each with the command of another tool that does. */
export function diagnoseLeftOut(leftOut: readonly LeftOut[]): Diagnosis[] {
  return leftOut.map(({ what, reason, command }) => {
    const about = { table: null, subject: what, local: 'exists', ec2: 'not brought', reason };
    return command === null ? warns(about) : warns(about, { elsewhere: `${command}    # of local` });
  });
}

/** A table that exists and is none of the migration's. */
export function diagnoseNotCompared({ table, reason }: { readonly table: string; readonly reason: string }): Diagnosis {
  const about = { table, subject: 'table', local: 'exists', ec2: 'not compared' };
  return notes({ ...about, reason: `${reason}: its rows are not followed` });
}

/** A role that EC2 lacks, with what it owns and may do. */
export function missingRole(name: string): LeftOut {
  const reason = 'it does not exist on EC2: what it owns or may do cannot be brought';
  return { what: `role ${name}`, reason, command: 'pg_dumpall --roles-only' };
}
