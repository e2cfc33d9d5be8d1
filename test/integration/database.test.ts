import { expect } from 'chai';
import { poolOf } from '../support/cli.js';
import { closeDatabase, openDatabase, withSession, type Database } from '../../src/lib/db/database.js';
import { prepareSide } from '../../src/lib/operations/init.js';
import type { PostgresServer } from '../../src/lib/sandbox/postgres-server.js';
import { createTestDatabase, localServer, startOwnServer } from '../support/servers.js';

function open({ host, port, user, password }: PostgresServer, database: string, callTimeoutMs: number): Database {
  const connection = { host, port, user, password, database, sslMode: 'disable' as const, sslRootCert: undefined };
  return openDatabase({ side: 'local', connection, poolMax: 4, callTimeoutMs, applicationName: 'test' });
}

describe('a database', () => {
  it('is closed within seconds though the server is frozen, and leaves no connection open', async () => {
    const server = await startOwnServer();
    try {
      const database = open(server, 'postgres', 10_000);
      await Promise.all([database.pool.query('select'), database.pool.query('select')]);
      const connections = [...database.connections] as unknown as { connection: { stream: { destroyed: boolean } } }[];
      expect(connections).to.not.be.empty;
      await server.freeze();
      const startedAt = performance.now();
      await closeDatabase(database);
      expect(performance.now() - startedAt).to.be.lessThan(8_000);
      expect(connections.map(({ connection }) => connection.stream.destroyed)).to.not.include(false);
    } finally {
      await server.dispose();
    }
  });

  it('keeps what a session did though the server is frozen when it ends: the farewell is not waited for', async () => {
    const server = await startOwnServer();
    const database = open(server, 'postgres', 10_000);
    try {
      const startedAt = performance.now();
      const done = await withSession(database, async (session) => {
        const { rows } = await session.query<{ done: number }>('select 1 as done');
        await server.freeze();
        return rows[0]?.done;
      });
      expect(done).to.equal(1);
      expect(performance.now() - startedAt).to.be.lessThan(8_000);
    } finally {
      await Promise.all([closeDatabase(database), server.dispose()]);
    }
  });

  it('gives a call up after its time, destroys the connection, and the server has ended the statement before', async () => {
    const server = await localServer();
    const database = open(server, 'postgres', 1_000);
    const failure = await database.pool.query('select pg_sleep(60)').then(
      () => null,
      (error: unknown) => error as { code?: string },
    );
    expect(failure?.code, 'the server ended it').to.equal('57014');
    await closeDatabase(database);
  });

  it('adds keys with patience: neither side gives up on a table that takes longer than any call may', async () => {
    const server = await localServer();
    const created = await createTestDatabase(server, 'patient keys');
    const database = open(server, created.name, 500);
    const there = poolOf(server, created.name);
    try {
      await prepareSide(database, { addKeys: false });
      await there.query('alter table water_level_readings drop constraint water_level_readings_key');
      await there.query(`
        create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.8); return old; end $$;
        create trigger slow before delete on water_level_readings for each row execute function slow();
        insert into water_level_readings (time, sensor_id, level_cm)
        select '2025-07-01', 'a', 1 from generate_series(1, 3)`);
      const { keysAdded, obstacles } = await prepareSide(database, { addKeys: true });
      expect(keysAdded).to.deep.equal([{ table: 'water_level_readings', duplicatesRemoved: 2, quarantined: 0 }]);
      expect(obstacles).to.deep.equal([]);
    } finally {
      await there.end();
      await closeDatabase(database);
      await created.drop();
    }
  });
});
