import type { MigrationState, Phase } from '../../domain/migration.js';
import type { Side, WriteMode } from '../../domain/side.js';

/** One condition of a change of phase, as it was measured. */
export interface Gate {
  readonly name: string;
  readonly passed: boolean;
  /** What was measured. */
  readonly detail: string;
  /** What to do about one that failed. */
  readonly next: string | null;
  /** Whether --force may override it. */
  readonly forcible: boolean;
}

export const STEPS = ['prove', 'pause', 'wait for writers', 'drain', 'compare', 'switch', 'complete'] as const;

/** A step of the switch. */
export type StepName = (typeof STEPS)[number];

export interface Step {
  readonly name: StepName;
  readonly ms: number;
  readonly detail: string;
}

/** The result of `cutover`. */
export interface CutoverReport {
  /** Null where no phase was ever recorded. */
  readonly phase: Phase | null;
  readonly writeMode: WriteMode | null;
  readonly epoch: number;
  readonly primary: Side;
  readonly keepLocalCurrent: boolean;
  readonly gates: readonly Gate[];
  /** Whether this run changed the phase. */
  readonly changed: boolean;
  /** Of a switch: its steps, and how long no batch was committed, in ms; null for any other change. */
  readonly steps: readonly Step[];
  readonly pauseMs: number | null;
  /** The change of the primary that is under way, by whomever; null where none is. */
  readonly attempt: MigrationState['attempt'];
  readonly changedAt: string | null;
  readonly changedBy: string | null;
  readonly reason: string | null;
  /** The record's history on the primary, the newest first. */
  readonly history: readonly HistoryEntry[];
}

export interface HistoryEntry {
  readonly epoch: number;
  readonly phase: Phase | null;
  readonly writeMode: WriteMode | null;
  readonly changedAt: string | null;
  readonly changedBy: string | null;
  readonly reason: string | null;
  readonly overriddenGates: readonly string[];
}
