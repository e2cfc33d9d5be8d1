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

/** In sensorctl's own schema. */
export const BOOKKEEPING_RIGHTS: Readonly<Record<Side, Rights>> = {
  local: {
    schema_version: READ,
    ledger_state: READ,
    migration: ADD,
    quarantine: ADD,
    unproven: ADD_AND_REMOVE,
    consumer: MERGE,
    sensor_location: MERGE,
    ledger: ALL,
  },
  ec2: {
    paused_job: READ,
    quarantine: ADD,
    dead_consumer: ADD,
    sensor_location: MERGE,
    batch_marker: ADD_AND_REMOVE,
  },
};

/** On a table: what a batch writes, and on EC2 what a repair corrects. Tables beside the four are only copied. */
export function rightsOnTable(table: string, side: Side): readonly string[] {
  if (side === 'ec2' || table === REGISTRY) return MERGE;
  return (READING_TABLES as readonly string[]).includes(table) ? ADD : READ;
}
