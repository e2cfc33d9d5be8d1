import { expect } from 'chai';
import pg from 'pg';
import { nextStepFor } from '../../src/lib/cli/advice.js';
import { asUnreachable, closeDatabase, openDatabase, withSession, type Database } from '../../src/lib/db/database.js';
import type { PostgresServer } from '../../src/lib/sandbox/postgres-server.js';
import { poolOf } from '../support/cli.js';
import { createTestDatabase, localServer, type TestDatabase } from '../support/servers.js';

/** What a role can have by `alter role` so that times, floats or commits mean something else. */
const MISLEADING = {
  TimeZone: 'Asia/Bangkok',
  DateStyle: 'German',
  IntervalStyle: 'iso_8601',
  bytea_output: 'escape',
  extra_float_digits: '-3',
  array_nulls: 'off',
  quote_all_identifiers: 'on',
  standard_conforming_strings: 'off',
  synchronous_commit: 'off',
  client_encoding: 'LATIN1',
  statement_timeout: '0',
};

const READ = `select ${Object.keys(MISLEADING)
  .map((name) => `current_setting('${name}') as "${name}"`)
  .join(', ')}`;

const KEPT = {
  ...{ TimeZone: 'UTC', DateStyle: 'ISO, DMY', IntervalStyle: 'postgres', bytea_output: 'hex' },
  ...{ extra_float_digits: '1', array_nulls: 'on', quote_all_identifiers: 'off', standard_conforming_strings: 'on' },
  ...{ synchronous_commit: 'on', client_encoding: 'UTF8' },
};

describe('a session', () => {
  let server: PostgresServer;
  let created: TestDatabase;
  let there: pg.Pool;
  let role: string;

  before(async () => {
    server = await localServer();
    created = await createTestDatabase(server, 'session settings');
    there = poolOf(server, created.name);
    role = created.name;
    await there.query(`create role ${role} login password 'only-for-this-test'`);
  });

  after(async () => {
    await there.query(`drop owned by ${role}; drop role ${role}`);
    await there.end();
    await created.drop();
  });

  afterEach(() => there.query(`alter role ${role} reset all`));

  async function withRole<Result>(work: (database: Database) => Promise<Result>): Promise<Result> {
    const { host, port } = server;
    const connection = {
      ...{ host, port, user: role, password: 'only-for-this-test', database: created.name },
      ...{ sslMode: 'disable' as const, sslRootCert: undefined },
    };
    const database = openDatabase({ side: 'ec2', connection, poolMax: 2, callTimeoutMs: 5_000, applicationName: 't' });
    return await work(database).finally(() => closeDatabase(database));
  }

  async function refusalOf(database: Database): Promise<Error> {
    return await database.pool.query('select').then(
      () => new Error('not refused'),
      (failure: unknown) => asUnreachable(failure, database),
    );
  }

  it('is what sensorctl was promised, whatever the role has set for its sessions', async () => {
    for (const [name, value] of Object.entries(MISLEADING)) {
      await there.query(`alter role ${role} set ${name} = '${value}'`);
    }
    await withRole(async (database) => {
      const { rows } = await database.pool.query<Record<string, string>>(READ);
      expect(rows[0]).to.deep.equal({ ...KEPT, statement_timeout: '4s' });
      const inSession = await withSession(database, async (session) => (await session.query(READ)).rows[0] as object);
      expect(inSession).to.include(KEPT);
    });
  });

  it('is refused by name where triggers and foreign keys do not hold in it', async () => {
    await there.query(`alter role ${role} set session_replication_role = replica`);
    await withRole(async (database) => {
      const error = await refusalOf(database);
      expect(error.message).to.contain('session_replication_role = replica').and.to.contain(role);
      expect(nextStepFor(error)).to.contain(`alter role ${role} reset session_replication_role`);
    });
  });

  it('is refused where a client of ours has had it before and nothing has reset it', async () => {
    await there.query(`alter role ${role} set sensorctl.session = 'taken'`);
    await withRole(async (database) => {
      const error = await refusalOf(database);
      expect(error.message).to.contain('a pooler that hands one session to several clients');
      expect(nextStepFor(error)).to.contain('pool_mode = session');
    });
  });

  it('that a pooler refuses for a startup parameter says that a pooler stands there', () => {
    const { pool, connection } = openDatabase({
      ...{ side: 'ec2', poolMax: 1, callTimeoutMs: 1_000, applicationName: 't' },
      connection: {
        ...{ host: 'pooler', port: 6432, database: 'd', user: 'u', password: undefined },
        ...{ sslMode: 'disable', sslRootCert: undefined },
      },
    });
    const refused = new pg.DatabaseError('unsupported startup parameter: options', 0, 'error');
    refused.code = '08P01';
    const error = asUnreachable(refused, { side: 'ec2', connection });
    expect(error.message).to.contain('pooler:6432/d failed: 08P01: unsupported startup parameter: options');
    expect(nextStepFor(error)).to.contain('a pooler').and.to.contain('EC2_DB_PORT');
    void pool.end();
  });
});
