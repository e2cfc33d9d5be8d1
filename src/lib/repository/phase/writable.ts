import type pg from 'pg';
import type { Database } from '../../db/database.js';
import { withTransaction } from '../../db/transaction.js';
import { readTables } from '../tables/read-tables.js';

/** Kept by nobody: the transaction is rolled back. */
class ProbeDone extends Error {}

const PROBE_TABLES = `
  select has_table_privilege(id::oid, 'insert') as may
  from unnest($1::int8[]) with ordinality as given (id, place) order by place`;
const PROBE_WRITE = `
  insert into sensorctl.quarantine (digest, side, body, faults)
  values (sha256(gen_random_uuid()::text::bytea), $1, repeat('x', 1000),
    '[{"reason": "a probe whether writes are possible"}]')`;

/** Some MB that the server has to find room for, gone with the transaction. */
const PROBE_ROOM = `
  create temporary table sensorctl_room on commit drop as
  select repeat(md5(number::text), 250) as filler from generate_series(1, 2000) as number`;

const READ_PRESSURE = `
  select (select count(*) from pg_replication_slots where not active)::int as slots,
    (select last_failed_time > coalesce(last_archived_time, '-infinity') from pg_stat_archiver) as archiving,
    pg_database_size(current_database()) as bytes`;

/** The state of a server's disk as far as SQL shows it; free space it does not show. */
export interface DiskPressure {
  /** Replication slots that nobody reads: they keep WAL for ever. */
  readonly idleSlots: number;
  /** The archiver failed last: WAL is kept until it succeeds. */
  readonly archivingFails: boolean;
  readonly databaseBytes: number;
}

/**
 * Writes what a consumer writes, looks at the rights on those of the tables that are there, and rolls back. Throws what
 * stands in the way.
 */
export async function probeWrite({ pool, side }: Database, names: readonly string[]): Promise<void> {
  await rolledBack(pool, async (client) => {
    const tables = [...(await readTables(client, names)).values()];
    const { rows } = await client.query<{ may: boolean }>(PROBE_TABLES, [tables.map(({ oid }) => oid)]);
    const place = rows.findIndex(({ may }) => !may);
    if (place >= 0) throw new Error(`the role may not insert into ${tables[place]?.label}`);
    await client.query(PROBE_WRITE, [side]);
  });
}

/** Throws where the server finds no room for some MB. */
export async function probeRoom({ pool }: Database): Promise<DiskPressure> {
  await rolledBack(pool, (client) => client.query(PROBE_ROOM));
  const { rows } = await pool.query<{ slots: number; archiving: boolean | null; bytes: number }>(READ_PRESSURE);
  const [found] = rows;
  return {
    idleSlots: found?.slots ?? 0,
    archivingFails: found?.archiving === true,
    databaseBytes: found?.bytes ?? 0,
  };
}

async function rolledBack(pool: Database['pool'], work: (client: pg.PoolClient) => Promise<unknown>): Promise<void> {
  const done = new ProbeDone();
  try {
    await withTransaction(pool, async (client) => {
      await work(client);
      throw done;
    });
  } catch (error) {
    if (error !== done) throw error;
  }
}
