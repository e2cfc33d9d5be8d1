import type { Database } from '../../db/database.js';
import { isLockTimeout } from '../../db/sqlstate.js';
import { withTransaction } from '../../db/transaction.js';
import { backoff, withRetries } from '../../domain/retry.js';
import { readBookkeepingVersion } from '../ledger/bookkeeping-schema.js';
import { untrackAll } from './tracking.js';

/** Something that still rests on the bookkeeping of a side. */
export interface Resting {
  readonly kind: 'phase' | 'entries' | 'records' | 'consumer' | 'backfill' | 'policies';
  readonly what: string;
  /** It must end by itself, or be brought to its end: nobody can decide that it goes. */
  readonly isRunning: boolean;
}

const FIND_RESTING = `
  select 'phase' as kind, 'phase ' || phase || ' is recorded' || case write_mode when 'draining' then ', and a change of it is under way' else '' end
    as what, write_mode = 'draining' as "isRunning" from sensorctl.state
  union all
  select 'entries', 'the ledger holds ' || count(*) || ' entries that the other side may lack', false from sensorctl.ledger having count(*) > 0
  union all
  select 'records', 'the quarantine holds ' || count(*) || ' open records', false
  from sensorctl.quarantine where resolution is null having count(*) > 0
  union all
  select 'consumer', 'the consumer on ' || host || ', process ' || pid || ', is running', true
  from sensorctl.consumer where ended_at is null and lease_until > clock_timestamp()
  union all
  select 'backfill', 'a backfill is not finished', false from sensorctl.backfill where finished_at is null
  union all
  select 'policies', count(*) || ' policies are paused', true from sensorctl.paused_job having count(*) > 0`;

/** Finds everything that rests on a side; nothing where sensorctl was never there. */
export async function findResting(database: Database): Promise<Resting[]> {
  if ((await readBookkeepingVersion(database)) === 0) return [];
  const { rows } = await database.pool.query<Resting & Record<string, unknown>>(FIND_RESTING);
  return rows;
}

/** The things that were taken off a side. */
export interface Removal {
  /** The tables whose triggers were taken off. */
  readonly tables: readonly string[];
  readonly bookkeeping: boolean;
}

const LOCK_POLICY = { attempts: 10, pauseMs: backoff(500, 4_000), retryIf: isLockTimeout };

/** Takes the triggers off every table, then drops the bookkeeping with all that it holds. */
export async function removeAll(database: Database): Promise<Removal> {
  const { pool } = database;
  const tables = await untrackAll(database);
  const exists = (await readBookkeepingVersion(database)) > 0;
  const drop = (): Promise<unknown> =>
    withTransaction(pool, async (client) => {
      await client.query("set local lock_timeout = '2s'");
      await client.query('drop schema if exists sensorctl cascade');
    });
  await withRetries(drop, LOCK_POLICY);
  return { tables: tables.map(({ schema, name }) => `${schema}.${name}`), bookkeeping: exists };
}
