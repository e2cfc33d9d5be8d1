import type { Side } from '../../domain/side.js';
import type { Question } from './ask.js';

/** Where the migration stands, as one side has it on record. */
export interface RecordedState {
  readonly phase: 1 | 2 | 3;
  readonly writeMode: 'dual-write' | 'ec2-only' | 'draining';
  readonly epoch: number;
  readonly primary: Side;
  /** UTC text. */
  readonly phaseSince: string;
  /** Of a change that is under way: the phase it leads to, and when others may call it off (UTC text). */
  readonly targetPhase: number | null;
  readonly deadline: string | null;
}

const READ_STATE = `
  select phase, write_mode as "writeMode", epoch, primary_side as "primary", phase_since::text as "phaseSince",
    target_phase as "targetPhase", deadline::text as deadline
  from sensorctl.state`;

/** The state on record; null where no phase was ever recorded. */
export const RECORDED_STATE: Question<RecordedState | null> = {
  text: READ_STATE,
  parse: (rows) => (rows[0] as RecordedState | undefined) ?? null,
};

/** The server's clock, in µs since 1970; the cheapest of all questions. */
export const SERVER_CLOCK: Question<number> = {
  text: 'select (extract(epoch from clock_timestamp()) * 1000000)::bigint as now',
  parse: (rows) => Number(rows[0]?.now),
};
