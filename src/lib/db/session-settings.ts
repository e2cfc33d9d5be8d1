import type pg from 'pg';
import { sideTitle, type Side } from '../domain/side.js';
import { UnreachableError } from '../errors.js';
import { describeConnection, type ConnectionSettings } from './connection.js';

/**
 * How values become texts and texts values, and what a commit means: the same in each session of ours, whatever the
 * server, the database or the role have set. `set_config` sets them, not startup parameters: a pooler refuses or drops those.
 */
const PROMISED: Readonly<Record<string, string>> = {
  TimeZone: 'UTC',
  DateStyle: 'ISO',
  IntervalStyle: 'postgres',
  bytea_output: 'hex',
  extra_float_digits: '1',
  client_encoding: 'UTF8',
  array_nulls: 'on',
  standard_conforming_strings: 'on',
  quote_all_identifiers: 'off',
  synchronous_commit: 'on',
  // Compiling takes longer than it saves any of our statements.
  jit: 'off',
};

/** Timeouts of the server, in ms. */
export interface SessionTimeouts {
  readonly statement_timeout: number;
  readonly lock_timeout: number;
  readonly idle_in_transaction_session_timeout: number;
}

/** Set in a session once a client of ours has it; empty in one that the server has just begun, or a pooler has reset. */
const TAKEN = 'sensorctl.session';
const TAKEN_BEFORE = 'sensorctl.session_before';
const RESTORING = 'timescaledb.restoring';
const REPLICATION_ROLE = 'session_replication_role';
const TIMEOUTS = ['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout'] as const;

/** SQL that sets what a session is promised; the functions that it calls are named with their schema. */
export function setSessionSql(timeouts: SessionTimeouts): string {
  const settings = { ...PROMISED, ...Object.fromEntries(TIMEOUTS.map((name) => [name, `${timeouts[name]}ms`])) };
  const set = (name: string, value: string): string => `pg_catalog.set_config('${name}', ${value}, false)`;
  return `select ${[
    set(TAKEN_BEFORE, `coalesce(pg_catalog.current_setting('${TAKEN}', true), '')`),
    set(TAKEN, "'taken'"),
    ...Object.entries(settings).map(([name, value]) => set(name, `'${value}'`)),
  ].join(', ')}`;
}

/** SQL for what the session has got, to run once the search path is pinned. */
export const READ_SESSION = `
  select name, coalesce(current_setting(name, true), '') as value
  from unnest('{${[...Object.keys(PROMISED), ...TIMEOUTS, TAKEN_BEFORE, RESTORING, REPLICATION_ROLE].join(',')}}'::text[]) as name`;

/** The values that a session got, by the names of its settings. */
export type SessionState = ReadonlyMap<string, string>;

export function parseSession(rows: readonly pg.QueryResultRow[]): SessionState {
  return new Map(rows.map(({ name, value }) => [String(name), String(value)]));
}

interface Place {
  readonly side: Side;
  readonly connection: ConnectionSettings;
}

/** Why this session must not be used, whatever for: what was set in it did not take, or will not last. Null where it may. */
export function findBroken(session: SessionState, place: Place): UnreachableError | null {
  if (session.get(TAKEN_BEFORE) !== '') {
    return new UnreachableError(
      `${where(place)} is reached through a pooler that hands one session to several clients: what one sets in it, another has`,
      { code: 'session-shared', facts: { side: place.side } },
    );
  }
  const lost = [
    ...Object.entries(PROMISED).filter(([name, value]) => session.get(name)?.split(',')[0] !== value),
    ...TIMEOUTS.filter((name) => session.get(name) === '0').map((name) => [name, 'a limit'] as const),
  ].map(([name, value]) => `${name} is ${session.get(name) ?? 'not known'}, not ${value}`);
  if (lost.length === 0) return null;
  return new UnreachableError(`${where(place)} gave a session that is not what was asked for: ${lost.join('; ')}`, {
    code: 'session-settings-lost',
    facts: { side: place.side },
  });
}

/** Why no row may be written or read in this session, though it is as asked for; null where it may. */
export function findUnfit(session: SessionState, place: Place): UnreachableError | null {
  if (session.get(RESTORING) === 'on') return restoringError(place);
  if (session.get(REPLICATION_ROLE) !== 'replica') return null;
  return new UnreachableError(
    `the sessions of ${place.connection.user} on ${where(place)} have session_replication_role = replica: foreign keys and triggers do not hold there`,
    { code: 'replication-role', facts: { side: place.side, user: place.connection.user } },
  );
}

/** TimescaleDB's restoring mode: its planner is off, and an insert leaves its rows where no query finds them afterwards. */
export function restoringError(place: Place): UnreachableError {
  return new UnreachableError(
    `${where(place)} is in TimescaleDB's restoring mode (timescaledb.restoring): rows that are written now lie in no chunk, and are gone once it ends`,
    { code: 'restoring-mode', facts: { side: place.side } },
  );
}

function where({ side, connection }: Place): string {
  return `the ${sideTitle(side)} database at ${describeConnection(connection)}`;
}
