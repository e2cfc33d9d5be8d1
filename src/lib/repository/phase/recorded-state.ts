import { microsOf } from '../../db/micros.js';
import type { MigrationState } from '../../domain/migration.js';
import { NO_PHASE } from '../../domain/migration.js';
import { parseState, STATE_COLUMNS, type StateRow } from './state.js';
import type { Question } from '../../db/ask-together.js';

/** Where the migration stands, as the side has it on record. */
export const RECORDED_STATE: Question<MigrationState> = {
  text: `select ${STATE_COLUMNS} from sensorctl.state`,
  parse: ([row]) => (row === undefined ? NO_PHASE : parseState(row as unknown as StateRow)),
};

/** The server's clock, in µs since 1970; the cheapest of all questions. */
export const SERVER_CLOCK: Question<number> = {
  text: `select ${microsOf('clock_timestamp()')} as now`,
  parse: (rows) => Number(rows[0]?.now),
};
