import { READING_TABLES } from '../domain/reading.js';
import type { Side } from '../domain/side.js';
import { REGISTRY } from './reading-tables.js';

/** A relation, and the rights on it that `consume` needs: the same as the README's "Least rights". */
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
  migration: ADD,
  quarantine: ADD,
  dead_consumer: ADD,
  unproven: ADD_AND_REMOVE,
  batch_marker: ADD_AND_REMOVE,
  consumer: MERGE,
  sensor_location: MERGE,
  state: MERGE,
  state_history: ['insert'],
  ledger: ALL,
};

/** On a table: what a batch writes and a repair corrects. Tables beside the four are only copied. */
export function rightsOnTable(table: string, side: Side): readonly string[] {
  const isOurs = table === REGISTRY || (READING_TABLES as readonly string[]).includes(table);
  return isOurs || side === 'ec2' ? MERGE : READ;
}
