import type { Side } from '../../domain/side.js';

export type Weight = 'blocks' | 'warns' | 'notes';

/** A difference between the sides, or a fault of one of them. */
export interface Finding {
  readonly weight: Weight;
  /** Null for what concerns the servers or the bookkeeping. */
  readonly table: string | null;
  readonly subject: string;
  readonly local: string;
  readonly ec2: string;
  /** Why it has this weight. */
  readonly reason: string;
  /** The statement or command that mends it; null where nothing has to be done, or only a person can tell what. */
  readonly mend: string | null;
}

/** The order of the script within a table; what has no table comes first. */
export const STEP = {
  extension: 0,
  bookkeeping: 1,
  table: 2,
  release: 3,
  columns: 4,
  keys: 5,
  parents: 6,
  hypertable: 7,
  indexes: 8,
  policies: 9,
  rights: 10,
} as const;

export type Step = (typeof STEP)[keyof typeof STEP];

/** SQL for EC2; what does not run stands in the script as a comment. */
export interface ScriptPart {
  readonly step: Step;
  /** The table whose turn it is. */
  readonly changes: string | null;
  readonly sql: string;
  readonly runs: boolean;
  /** Rows that share a key are taken away by it. */
  readonly removesRows?: boolean;
}

/** A finding, and its part in the script; null where EC2 cannot mend it by itself. */
export interface Diagnosis {
  readonly finding: Finding;
  readonly part: ScriptPart | null;
  /** The script brings it as an object of its own. */
  readonly brought?: true;
}

export type Mend =
  /** SQL on EC2, run by the script. */
  | {
      readonly step: Step;
      readonly sql: string;
      readonly command?: string;
      readonly changes?: string;
      readonly removesRows?: boolean;
    }
  /** SQL on EC2 that a person may choose to run. */
  | { readonly step: Step; readonly optional: string }
  /** What the script holds already, as an object that EC2 lacks. */
  | { readonly brought: string }
  /** A mend that is made elsewhere: on local, or by a person. */
  | { readonly elsewhere: string };

export type Observation = Omit<Finding, 'weight' | 'mend'>;

/** SQL for one side: the script runs on EC2 only. */
export function mendOn(side: Side, step: Step, sql: string): Mend {
  return side === 'ec2' ? { step, sql } : { elsewhere: `-- on local:\n${sql}` };
}

export function blocks(observation: Observation, mend?: Mend): Diagnosis {
  return diagnose('blocks', observation, mend);
}

export function warns(observation: Observation, mend?: Mend): Diagnosis {
  return diagnose('warns', observation, mend);
}

export function notes(observation: Observation, mend?: Mend): Diagnosis {
  return diagnose('notes', observation, mend);
}

function diagnose(weight: Weight, observation: Observation, mend: Mend | undefined): Diagnosis {
  const { table, subject, local, ec2, reason } = observation;
  const finding = { weight, table, subject, local, ec2, reason };
  if (mend === undefined) return { finding: { ...finding, mend: null }, part: null };
  if ('elsewhere' in mend) return { finding: { ...finding, mend: mend.elsewhere }, part: null };
  if ('brought' in mend) return { finding: { ...finding, mend: mend.brought }, part: null, brought: true };
  const { step } = mend;
  if ('optional' in mend) {
    return {
      finding: { ...finding, mend: mend.optional },
      part: { step, changes: table, sql: mend.optional, runs: false },
    };
  }
  const { sql, command = sql, changes = table, removesRows = false } = mend;
  return { finding: { ...finding, mend: command }, part: { step, changes, sql, runs: true, removesRows } };
}
