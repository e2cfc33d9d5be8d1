import type { MigrationState } from '../../domain/migration.js';
import type { Problem } from '../../errors.js';

/** One condition of a change of phase, as it was measured. */
export interface Gate {
  readonly name: string;
  readonly passed: boolean;
  /** The measured value, in words. */
  readonly detail: string;
  /** The problem of a gate that failed, for advice. */
  readonly advice: Problem | null;
  /** Whether --force may override it. */
  readonly forcible: boolean;
}

/** A measured gate; left out, there is no advice, and --force may override it. */
export type Measured = Pick<Gate, 'passed' | 'detail'> & { readonly advice?: Problem; readonly forcible?: boolean };

/** `refresh` comes after the pause. */
export const STEPS = [
  'prove',
  'pause',
  'wait for writers',
  'drain',
  'compare',
  'sequences',
  'switch',
  'complete',
  'refresh',
] as const;

/** A step of the switch. */
export type StepName = (typeof STEPS)[number];

export interface Step {
  readonly name: StepName;
  readonly ms: number;
  readonly detail: string;
}

/** The result of `cutover`: the record that decides, and what this run did. */
export interface CutoverReport extends Pick<
  MigrationState,
  'phase' | 'writeMode' | 'epoch' | 'primary' | 'keepLocalCurrent' | 'attempt' | 'changedAt' | 'changedBy' | 'reason'
> {
  readonly gates: readonly Gate[];
  /** Whether this run changed the phase. */
  readonly changed: boolean;
  /** The steps of a switch, and the time in which no batch was committed, in ms; null for any other change. */
  readonly steps: readonly Step[];
  readonly pauseMs: number | null;
  /** The record's history on the primary, the newest first. */
  readonly history: readonly HistoryEntry[];
}

export type HistoryEntry = Pick<
  MigrationState,
  'epoch' | 'phase' | 'writeMode' | 'changedAt' | 'changedBy' | 'reason' | 'overriddenGates'
>;
