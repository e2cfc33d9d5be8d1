import type { Side, WriteMode } from './side.js';

/** 1 testing, 2 production dual write, 3 EC2 only. */
export type Phase = 1 | 2 | 3;

/** Where the migration stands, as one side records it. */
export interface MigrationState {
  /** Null where no phase was ever recorded: local is the primary, and flags decide. */
  readonly phase: Phase | null;
  readonly writeMode: Exclude<WriteMode, 'local-only'> | null;
  /** Grows with every change; 0 where no phase was ever recorded. */
  readonly epoch: number;
  readonly primary: Side;
  /** In phase 3, whether local is the secondary of a dual write. */
  readonly keepLocalCurrent: boolean;
  /** UTC text; null where no phase was recorded. */
  readonly phaseSince: string | null;
  readonly changedAt: string | null;
  readonly changedBy: string | null;
  readonly reason: string | null;
  readonly overriddenGates: readonly string[];
  /** The change of the primary that is under way. */
  readonly attempt: Attempt | null;
}

export interface Attempt {
  /** Names it, so that its own process alone can complete it. */
  readonly token: string;
  readonly targetPhase: Phase;
  /** UTC text by the clock of the side that records it: from then on anyone may call the attempt off. */
  readonly deadline: string;
}

/** The roles of both sides in an epoch, as a writer follows them. */
export interface Roles {
  readonly primary: Side;
  /** Null: the primary alone is written. */
  readonly secondary: Side | null;
  readonly writeMode: WriteMode;
  readonly epoch: number;
}

export const NO_PHASE: MigrationState = {
  phase: null,
  writeMode: null,
  epoch: 0,
  primary: 'local',
  keepLocalCurrent: false,
  phaseSince: null,
  changedAt: null,
  changedBy: null,
  reason: null,
  overriddenGates: [],
  attempt: null,
};

/** Returns the record that decides, of those of both sides: each change has a higher epoch. */
export function newerState(one: MigrationState, other: MigrationState): MigrationState {
  return other.epoch > one.epoch ? other : one;
}

/**
 * The roles of a phase; a change under way keeps those of the phase it began in. `dualWrite` is what flags or settings
 * say, undefined where they say nothing: false holds phases 1 and 2 back to local, and is null in phase 3, where local
 * takes no writes. Without a recorded phase it alone decides.
 */
export function rolesOf(state: MigrationState, dualWrite: boolean | undefined): Roles | null {
  const { phase, epoch, primary } = state;
  if (phase === 3) {
    if (dualWrite === false) return null;
    return state.keepLocalCurrent
      ? { primary, secondary: 'local', writeMode: 'dual-write', epoch }
      : { primary, secondary: null, writeMode: 'ec2-only', epoch };
  }
  const both = dualWrite ?? phase !== null;
  return both
    ? { primary, secondary: 'ec2', writeMode: 'dual-write', epoch }
    : { primary, secondary: null, writeMode: 'local-only', epoch };
}
