import type { Side } from '../../domain/side.js';
import { ALL_TABLES } from '../tables/reading-tables.js';

/** A relation, and the rights on it that `consume` needs: the same as in docs/rights.md. */
export type Rights = Readonly<Record<string, readonly string[]>>;

const READ = ['select'];
const ADD = ['select', 'insert'];
const ADD_AND_REMOVE = ['select', 'insert', 'delete'];
const MERGE = ['select', 'insert', 'update'];
const ALL = ['select', 'insert', 'update', 'delete'];

/** In sensorctl's own schema; on either side, since the cutover exchanges their roles. */
export const BOOKKEEPING_RIGHTS: Rights = {
  schema_version: READ,
  ledger_state: READ,
  paused_job: READ,
  state: READ,
  dead_consumer: READ,
  migration: ADD,
  unproven: ['insert'],
  batch_marker: ADD_AND_REMOVE,
  quarantine: MERGE,
  consumer: MERGE,
  newest_part: MERGE,
  repair_turn: MERGE,
  ledger: ALL,
};

/** The functions of that schema that `consume` calls. */
export const BOOKKEEPING_FUNCTIONS: readonly string[] = [
  'assert_primary',
  'hold_fence',
  'call_off_overdue',
  'copy_state',
  'compact_unproven',
  'compact_keys',
  'take_turn',
  'bury_consumer',
];

/** On a table: what a batch writes and a repair corrects. Tables beside the four are only copied. */
export function rightsOnTable(table: string, side: Side): readonly string[] {
  return ALL_TABLES.includes(table) || side === 'ec2' ? MERGE : READ;
}
