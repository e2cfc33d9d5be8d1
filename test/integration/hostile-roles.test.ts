// What roles with a little right try against sensorctl: FINDINGS E5 to E8, and more of the kind.
import { randomUUID } from 'node:crypto';
import { expect } from 'chai';
import pg from 'pg';
import { closeDatabase, openDatabase, type Database } from '../../src/lib/db/database.js';
import { describeFault, sqlstateOf } from '../../src/lib/db/sqlstate.js';
import { unitsOf, type Reading } from '../support/readings.js';
import { prepareSide } from '../../src/lib/operations/init.js';
import { ConflictError } from '../../src/lib/errors.js';
import {
  bookkeepingScript,
  BOOKKEEPING_VERSION,
  migrateBookkeeping,
} from '../../src/lib/repository/ledger/bookkeeping-schema.js';
import { assertPrimary, waitForWriters } from '../../src/lib/repository/phase/fence.js';
import { proveUnproven } from '../../src/lib/repository/cutover/prove-unproven.js';
import { repairMissed } from '../../src/lib/repository/repair/repair-missed.js';
import { runTransaction } from '../../src/lib/db/transaction.js';
import { PreparedPair, waterRows } from '../support/backfilled.js';
import { eventually, poolOf, REPOSITORY } from '../support/cli.js';
import { createTestDatabase, localServer, type TestDatabase } from '../support/servers.js';
import { grantsOf } from '../support/documented-grants.js';

const PASSWORD = 'only-for-this-test';
const DENIED = '42501';

/** Functions and operators that fit calls of sensorctl's better than the server's own; each tries to take the session over. */
const SHADOWS: readonly string[] = [
  'hashtextextended(text, integer) returns bigint',
  'hashtextextended(text, bigint) returns bigint',
  'lower(varchar) returns text',
  'sum(integer) returns bigint',
  'set_config(text, text, integer) returns text',
  'current_setting(varchar) returns text',
  'to_jsonb(public.water_level_readings) returns jsonb',
  'to_jsonb(public.sensor_registry) returns jsonb',
  'make_interval(integer) returns interval',
  'date_trunc(text, timestamp) returns timestamp',
  'tstzrange(timestamp, timestamp) returns tstzrange',
  'has_table_privilege(oid, varchar) returns boolean',
  'pg_advisory_xact_lock_shared(integer) returns text',
  'array_to_json(name[]) returns json',
  'quote_ident(name) returns text',
  'format_type(oid, bigint) returns text',
  'convert_to(varchar, name) returns bytea',
];
const OPERATORS = [
  'varchar, varchar',
  'varchar, text',
  'text, varchar',
  'name, text',
  'name, varchar',
  'smallint, integer',
];

function shadowsSql(): string {
  const body = `language plpgsql as $shadow$ begin
    insert into public.caught values (current_user, current_query());
    if (select rolsuper from pg_roles where rolname = current_user) then alter role mallory superuser; end if;
    return null; end $shadow$`;
  const functions = SHADOWS.map((each) => `create function public.${each} ${body}`);
  const operators = OPERATORS.flatMap((types, place) => {
    const [left, right] = types.split(', ');
    return [
      `create function public.same_${place}(${left}, ${right}) returns boolean ${body}`,
      ...['=', '<>', '<', '>', '<=', '>='].map(
        (name) =>
          `create operator public.${name} (leftarg = ${left}, rightarg = ${right}, function = public.same_${place})`,
      ),
    ];
  });
  return [
    'create table public.caught (by_role text, query text)',
    'grant insert on public.caught to public',
    ...functions,
    ...operators,
  ].join(';\n');
}

function reading(sensorId: string, second: number): Reading {
  return {
    table: 'water_level_readings',
    time: `2025-07-01T00:00:${String(second).padStart(2, '0')}.000001Z`,
    ...{ sensorId, sensorType: 'water-level' },
    values: { level_cm: 1, voltage: 3.85, rssi: -60, quality_score: 0.7, location_lat: 13.75, location_lng: 100.5 },
  };
}

async function failureOf(work: Promise<unknown>): Promise<unknown> {
  return await work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe('a hostile role', () => {
  let pair: PreparedPair;

  before(async () => {
    pair = await PreparedPair.open('hostile roles');
    for (const pool of [pair.here, pair.there]) {
      await pool.query(`create role mallory login password '${PASSWORD}'`);
      await pool.query('grant usage on schema public to mallory');
    }
  });

  after(async () => {
    for (const pool of [pair.here, pair.there]) await pool.query('drop owned by mallory cascade; drop role mallory');
    await pair.close();
  });

  async function as<Result>(
    role: string,
    work: (session: pg.Client) => Promise<Result>,
    on: Database = pair.local,
  ): Promise<Result> {
    const { host, port, database } = on.connection;
    const session = new pg.Client({ host, port, database, user: role, password: PASSWORD });
    session.on('error', () => undefined);
    await session.connect();
    try {
      return await work(session);
    } finally {
      await session.end();
    }
  }

  async function denied(role: string, sql: string): Promise<void> {
    const error = await failureOf(as(role, (session) => session.query(`begin; ${sql}`)));
    expect(sqlstateOf(error), `${role}: ${sql}: ${String(error)}`).to.equal(DENIED);
  }

  describe('that may create in schema public', () => {
    before(async () => {
      for (const pool of [pair.here, pair.there]) await pool.query('grant create on schema public to mallory');
      for (const side of [pair.local, pair.ec2]) await as('mallory', (session) => session.query(shadowsSql()), side);
    });

    after(async () => {
      for (const pool of [pair.here, pair.there]) {
        await pool.query('drop owned by mallory cascade; grant usage on schema public to mallory');
      }
    });

    async function expectNothingCaught(): Promise<void> {
      for (const pool of [pair.here, pair.there]) {
        expect((await pool.query('select * from public.caught')).rows).to.deep.equal([]);
        const { rows } = await pool.query("select rolsuper from pg_roles where rolname = 'mallory'");
        expect(rows).to.deep.equal([{ rolsuper: false }]);
      }
    }

    it('has made functions that fit better: a session that is not pinned falls for them', async () => {
      const client = await pair.here.connect();
      await client.query('begin');
      await client.query("select hashtextextended('sensorctl.fence', 0)");
      expect((await client.query('select from public.caught')).rowCount, 'the shadow works').to.equal(1);
      await client.query('rollback');
      client.release();
    });

    it('has none of them called by init, a batch, a repair, a backfill, a comparison and a proof, as superuser', async () => {
      for (const side of [pair.local, pair.ec2]) await prepareSide(side, { addKeys: false });
      const repository = await pair.openRepository('dual-write');
      try {
        const [batch] = await repository.primary.write({
          units: unitsOf([reading('a', 1), reading('b', 2)]),
          rejects: [],
        });
        expect(await repository.secondary!.send(batch!)).to.deep.equal({ confirmed: true, refused: [] });
      } finally {
        await repository.close();
      }
      await pair.here.query(waterRows(0, 50));
      await pair.miss('water_level_readings', '2025-07-01', '2025-07-02');
      await repairMissed({ primary: pair.local, secondary: pair.ec2, entries: 10, states: ['missed'] });
      await pair.there.query('update water_level_readings set rssi = 1 where rssi operator(pg_catalog.=) -60');
      await pair.backfill({ mode: 'full' });
      const compared = (await pair.compare()).tables.find(({ table }) => table === 'water_level_readings');
      expect(compared).to.include({ missingOnEc2: 0, missingOnLocal: 0, different: 0 });
      await proveUnproven({ primary: pair.local, secondary: pair.ec2 }, new AbortController().signal, {
        withWhole: true,
      });
      await expectNothingCaught();
    });
  });

  describe('that may create in the database', () => {
    it('has its schema "$user" not taken for that of the tables', async () => {
      const { user, database } = pair.local.connection;
      await pair.here.query(`grant create on database ${pg.escapeIdentifier(database)} to mallory`);
      const schema = pg.escapeIdentifier(user);
      await as('mallory', async (session) => {
        await session.query(`create schema ${schema}; create table ${schema}.water_level_readings (sensor_id text)`);
        await session.query(
          `grant all on schema ${schema} to public; grant all on all tables in schema ${schema} to public`,
        );
      });
      const fresh = openDatabase({
        side: 'local',
        connection: pair.local.connection,
        poolMax: 1,
        callTimeoutMs: 10_000,
        applicationName: 'test',
      });
      try {
        const { rows } = await fresh.pool.query("select current_setting('sensorctl.schemas') as schemas");
        expect(rows).to.deep.equal([{ schemas: '{public}' }]);
      } finally {
        await closeDatabase(fresh);
        await pair.here.query(`drop schema ${schema} cascade`);
      }
    });

    it('is told apart from sensorctl where it made the schema first: nothing is called there, and its owner is named', async () => {
      const server = await localServer();
      const created: TestDatabase = await createTestDatabase(server, 'schema made before');
      const pool = poolOf(server, created.name);
      const connection = { ...pair.local.connection, database: created.name };
      try {
        await pool.query(`grant create on database ${pg.escapeIdentifier(created.name)} to mallory`);
        const mine = new pg.Client({ ...connection, user: 'mallory', password: PASSWORD });
        await mine.connect();
        await mine.query(`create schema sensorctl;
          create table sensorctl.schema_version (version integer primary key, applied_at timestamptz default now());
          create function sensorctl.take() returns trigger language plpgsql as $$ begin alter role mallory superuser; return new; end $$;
          create trigger take before insert on sensorctl.schema_version for each row execute function sensorctl.take();
          grant all on schema sensorctl to public; grant all on all tables in schema sensorctl to public`);
        await mine.end();
        const database = openDatabase({
          side: 'local',
          connection,
          poolMax: 1,
          callTimeoutMs: 10_000,
          applicationName: 'test',
        });
        const error = await failureOf(prepareSide(database, { addKeys: false }));
        await closeDatabase(database);
        expect(error).to.be.instanceOf(ConflictError);
        expect(describeFault(error)).to.match(/belongs to mallory/);
        const { rows } = await pool.query("select rolsuper from pg_roles where rolname = 'mallory'");
        expect(rows).to.deep.equal([{ rolsuper: false }]);
      } finally {
        await pool.end();
        await created.drop();
      }
    });

    it('finds init unwilling where it has put a function of its own into the schema', async () => {
      await pair.here.query('grant usage, create on schema sensorctl to mallory');
      await as('mallory', (session) =>
        session.query("create function sensorctl.lower(text) returns text language sql as 'select $1'"),
      );
      const error = await failureOf(prepareSide(pair.local, { addKeys: false }));
      expect(describeFault(error)).to.match(/function lower of mallory.*the right of mallory to create in it/);
      await pair.here.query('drop function sensorctl.lower(text); revoke all on schema sensorctl from mallory');
      await prepareSide(pair.local, { addKeys: false });
    });
  });

  describe('that may only connect', () => {
    it('stops no writer, no init and no switch with the advisory locks that sensorctl used', async () => {
      await as('mallory', async (session) => {
        await session.query(`select pg_advisory_lock(hashtextextended('sensorctl.fence', 0)), pg_advisory_lock(hashtext('sensorctl.schema')),
          pg_advisory_lock(hashtext('sensorctl.tables')), pg_advisory_lock(hashtextextended('sensorctl.repair water_level_readings', 0))`);
        await runTransaction(pair.local.pool, assertPrimary('local', 0));
        expect(await waitForWriters(pair.local, 2_000)).to.equal(true);
        await prepareSide(pair.local, { addKeys: false });
      });
    });

    it('can neither lock nor call, read nor write anything of sensorctl', async () => {
      await denied('mallory', 'lock table sensorctl.fence in access share mode');
      await denied('mallory', "select sensorctl.assert_primary('local', 0)");
      await denied('mallory', 'select sensorctl.close_fence()');
      await denied('mallory', 'select * from sensorctl.state');
      await denied('mallory', `set role ${pg.escapeIdentifier(pair.local.connection.user)}`);
      await denied(
        'mallory',
        'create event trigger t on ddl_command_start execute function pg_catalog.suppress_redundant_updates_trigger()',
      );
    });
  });

  describe('with the rights of docs/rights.md', () => {
    const roles = {
      consumer: 'mallory_consumer',
      reader: 'mallory_reader',
      monitor: 'mallory_monitor',
      prover: 'mallory_prover',
      other: 'mallory_other',
    };

    before(async () => {
      const { here } = pair;
      for (const role of Object.values(roles)) await here.query(`create role ${role} login password '${PASSWORD}'`);
      await here.query(await grantsOf(REPOSITORY, 'either side: consume', roles.consumer));
      await here.query(await grantsOf(REPOSITORY, 'local: compare', roles.reader));
      await here.query(await grantsOf(REPOSITORY, 'either side: monitor', roles.monitor));
      for (const role of [roles.prover, roles.other]) {
        await here.query(await grantsOf(REPOSITORY, 'local: compare', role));
        await here.query(await grantsOf(REPOSITORY, 'local: prove', role));
      }
      await here.query(`insert into sensorctl.unproven (table_name, times) values
        ('water_level_readings', '{[2025-07-01,2025-07-02)}'), ('moisture_readings', '{[2025-07-01,2025-07-02)}')`);
      await here.query(
        "insert into sensorctl.sample (taken_at, epoch, troubles, unexplained, figures) values (now() - interval '1 day', 0, '{gaps}', '{gaps}', '{}')",
      );
    });

    after(async () => {
      for (const role of Object.values(roles)) await pair.here.query(`drop owned by ${role}; drop role ${role}`);
    });

    it('to read, forges no evidence and takes no lock that stops anybody', async () => {
      for (const role of [roles.reader, roles.monitor]) {
        await denied(role, "insert into sensorctl.comparison (scope, progress) values ('{}', '{}')");
        await denied(role, "select sensorctl.begin_comparison('{}')");
        await denied(role, 'delete from sensorctl.unproven');
        await denied(role, 'update sensorctl.unproven set times = times');
        await denied(role, 'delete from sensorctl.ledger');
        await denied(role, 'update sensorctl.state set epoch = 1');
        await denied(role, 'delete from sensorctl.sample');
        await denied(
          role,
          "insert into sensorctl.sample (taken_at, epoch, troubles, unexplained, figures) values (now(), 0, '{}', '{}', '{}')",
        );
        await denied(role, 'select sensorctl.hold_fence()');
        for (const table of ['unproven', 'state', 'ledger', 'sample', 'comparison', 'fence'])
          await denied(role, `lock table sensorctl.${table} in share mode`);
        await denied(role, 'lock table public.water_level_readings in share mode');
      }
    });

    it('to consume, changes the record only as the rules have it', async () => {
      await denied(
        roles.consumer,
        "update sensorctl.state set phase = 3, primary_side = 'ec2', epoch = 9223372036854775807",
      );
      await denied(
        roles.consumer,
        "insert into sensorctl.state (phase, write_mode, epoch, primary_side, changed_by) values (3, 'ec2-only', 9, 'ec2', 'me')",
      );
      await denied(roles.consumer, "select sensorctl.begin_draining(0, 'me', null, '{}', gen_random_uuid(), 3, 1000)");
      await denied(roles.consumer, "select sensorctl.commit_switch(gen_random_uuid(), 'ec2', false)");
      await denied(roles.consumer, 'delete from sensorctl.unproven');
      await denied(roles.consumer, 'select sensorctl.remove_proven(array[1])');
      await denied(roles.consumer, 'delete from sensorctl.quarantine');
      await denied(roles.consumer, 'insert into sensorctl.state_history select * from sensorctl.state');
      await denied(roles.consumer, 'lock table sensorctl.fence in exclusive mode');
      const last = as(roles.consumer, (session) =>
        session.query(
          "select sensorctl.copy_state(3, 'ec2-only', 9223372036854775807, 'ec2', false, now(), now(), 'me', null, '{}')",
        ),
      );
      expect(sqlstateOf(await failureOf(last))).to.equal('23514');
      const draining = as(roles.consumer, (session) =>
        session.query("select sensorctl.copy_state(2, 'draining', 1, 'local', false, now(), now(), 'me', null, '{}')"),
      );
      expect(sqlstateOf(await failureOf(draining))).to.equal('23514');
    });

    it('to consume, calls an attempt off when its deadline is past, and not before', async () => {
      const { here } = pair;
      await here.query("select sensorctl.record_first_phase('a test', null, '{}')");
      await here.query(`select sensorctl.begin_draining(1, 'a test', null, '{}', '${randomUUID()}', 3, 60000)`);
      const callOff = (): Promise<unknown> =>
        as(
          roles.consumer,
          async (session) =>
            (
              await session.query<{ called_off: number }>(
                "select sensorctl.call_off_overdue('me', 'late') as called_off",
              )
            ).rows,
        );
      expect(await callOff()).to.deep.equal([{ called_off: 0 }]);
      await here.query('alter table sensorctl.state disable trigger user');
      await here.query("update sensorctl.state set deadline = now() - interval '1 s'");
      await here.query('alter table sensorctl.state enable trigger user');
      expect(await callOff()).to.deep.equal([{ called_off: 1 }]);
      const { rows } = await here.query('select write_mode, changed_by, session_role from sensorctl.state');
      expect(rows).to.deep.equal([{ write_mode: 'dual-write', changed_by: 'me', session_role: roles.consumer }]);
    });

    it('to prove, proves what its comparison covered and nothing else', async () => {
      const begin = (role: string): Promise<number> =>
        as(role, async (session) =>
          Number(
            (
              await session.query<{ comparison_id: string }>(
                "select comparison_id from sensorctl.begin_comparison('{}')",
              )
            ).rows[0]!.comparison_id,
          ),
        );
      const report = (missing: number): string =>
        JSON.stringify({
          tables: [
            {
              table: 'water_level_readings',
              missingOnEc2: missing,
              missingOnLocal: 0,
              different: 0,
              pending: 0,
              knownGap: 0,
            },
          ],
        });
      const ranges = JSON.stringify(
        ['water_level_readings', 'moisture_readings'].map((table) => ({
          table,
          from: '2025-07-01T00:00:00Z',
          to: '2025-07-01T12:00:00Z',
        })),
      );
      const finish = (role: string, id: number, missing: number): Promise<unknown> =>
        as(role, (session) =>
          session.query("select sensorctl.finish_comparison($1, 'identical', $2, $3)", [id, report(missing), ranges]),
        );
      const id = await begin(roles.prover);
      expect(sqlstateOf(await failureOf(finish(roles.other, id, 0))), "another role's").to.equal(DENIED);
      expect(sqlstateOf(await failureOf(finish(roles.prover, id, 1))), 'not identical').to.equal('23514');
      await pair.here.query(
        "insert into sensorctl.unproven (table_name, times, settled_at) values ('water_level_readings', '{[2025-07-01,2025-07-02)}', now() + interval '1 hour')",
      );
      await finish(roles.prover, id, 0);
      expect(sqlstateOf(await failureOf(finish(roles.prover, id, 0))), 'again').to.equal(DENIED);
      const { rows } = await pair.here.query(
        "select table_name, to_char(lower(times) at time zone 'UTC', 'HH24') as since from sensorctl.unproven order by unproven_id desc limit 3",
      );
      expect(rows).to.deep.equal([
        { table_name: 'water_level_readings', since: '00' },
        { table_name: 'moisture_readings', since: '00' },
        { table_name: 'water_level_readings', since: '12' },
      ]);
      await denied(roles.prover, "update sensorctl.comparison set verdict = 'identical'");
      const { rows: recorded } = await pair.here.query(
        'select recorded_by, verdict from sensorctl.comparison where comparison_id = $1',
        [id],
      );
      expect(recorded).to.deep.equal([{ recorded_by: roles.prover, verdict: 'identical' }]);
    });

    it('to monitor, adds samples of the last hours under its own name, and wipes none', async () => {
      await as(roles.monitor, async (session) => {
        const samples = ['now', 'tomorrow', 'yesterday'].map((takenAt) => ({
          takenAt,
          phase: null,
          epoch: 0,
          troubles: [],
          unexplained: [],
          figures: {},
        }));
        await session.query('select sensorctl.record_samples($1)', [JSON.stringify(samples)]);
        await session.query('select sensorctl.thin_samples()');
      });
      const { rows } = await pair.here.query(
        'select recorded_by, unexplained::text from sensorctl.sample order by taken_at',
      );
      expect(rows).to.deep.equal([
        { recorded_by: pair.local.connection.user, unexplained: '{gaps}' },
        { recorded_by: roles.monitor, unexplained: '{}' },
      ]);
    });
  });

  describe('and whoever may lock', () => {
    it('is named where a writer waits in vain: process, role and what it does', async () => {
      const hasty = openDatabase({
        side: 'local',
        connection: pair.local.connection,
        poolMax: 2,
        callTimeoutMs: 600,
        applicationName: 'test',
      });
      const holder = await pair.here.connect();
      try {
        await holder.query('begin; lock table sensorctl.fence in exclusive mode');
        const pid = String((await holder.query<{ pid: number }>('select pg_backend_pid() as pid')).rows[0]!.pid);
        const error = await failureOf(runTransaction(hasty.pool, assertPrimary('local', 0)));
        expect(sqlstateOf(error)).to.equal('55P03');
        expect(describeFault(error)).to.match(
          new RegExp(
            `process ${pid} of role ${pair.local.connection.user} holds ExclusiveLock on fence, idle in transaction`,
          ),
        );
      } finally {
        await holder.query('rollback');
        holder.release();
        await closeDatabase(hasty);
      }
    });
  });
});

describe('bookkeeping of the version before', () => {
  it('is upgraded with its rows; what roles could do by rights on tables they do by functions, and no more', async () => {
    const server = await localServer();
    const created = await createTestDatabase(server, 'rights upgraded');
    const pool = poolOf(server, created.name);
    const { host, port, user, password } = server;
    const connection = {
      host,
      port,
      user,
      password,
      database: created.name,
      sslMode: 'disable',
      sslRootCert: undefined,
    } as const;
    const database = openDatabase({
      side: 'local',
      connection,
      poolMax: 2,
      callTimeoutMs: 10_000,
      applicationName: 'test',
    });
    try {
      await pool.query(`begin; ${bookkeepingScript(VERSION_BEFORE)}; commit`);
      await pool.query(OLD_GRANTS);
      await pool.query(`insert into sensorctl.state (phase, write_mode, epoch, primary_side, changed_by) values (2, 'dual-write', 4, 'local', 'before');
        insert into sensorctl.comparison (scope, progress, finished_at, verdict) values ('{}', '{}', now(), 'identical');
        insert into sensorctl.sample (taken_at, epoch, troubles, unexplained, figures) values (now(), 0, '{}', '{}', '{}')`);
      // A consumer of the version before is in its transaction: the upgrade waits for it.
      const old = await pool.connect();
      await old.query('begin');
      await old.query("select pg_advisory_xact_lock_shared(hashtextextended('sensorctl.fence', 0))");
      await old.query("select sensorctl.assert_primary('local', 4)");
      const upgrade = migrateBookkeeping(database);
      await eventually('the upgrade waits for the old writer', async () => {
        const { rowCount } = await pool.query("select from pg_locks where locktype = 'advisory' and not granted");
        return rowCount === 1;
      });
      await old.query('commit');
      expect(await upgrade).to.deep.equal({ from: VERSION_BEFORE, to: BOOKKEEPING_VERSION });
      // One that writes after it holds what a switch waits for.
      await old.query('begin');
      await old.query("select pg_advisory_xact_lock_shared(hashtextextended('sensorctl.fence', 0))");
      await old.query("select sensorctl.assert_primary('local', 4)");
      expect(await waitForWriters(database, 100), 'a switch waits for an old consumer').to.equal(false);
      await old.query('rollback');
      old.release();
      const may = async (role: string, what: string): Promise<boolean> =>
        (await pool.query<{ may: boolean }>(`select ${what.replace('(', `('${role}', `)} as may`)).rows[0]!.may;
      for (const lost of [
        "(  'sensorctl.state', 'update')",
        "('sensorctl.state', 'insert')",
        "('sensorctl.unproven', 'delete')",
        "('sensorctl.state_history', 'insert')",
      ])
        expect(await may('old_consumer', `has_table_privilege${lost}`), lost).to.equal(false);
      expect(await may('old_reader', "has_table_privilege('sensorctl.comparison', 'insert')")).to.equal(false);
      expect(await may('old_reader', "has_table_privilege('sensorctl.unproven', 'delete')")).to.equal(false);
      expect(await may('old_monitor', "has_table_privilege('sensorctl.sample', 'delete')")).to.equal(false);
      for (const gained of ['migrated_table', 'migration']) {
        expect(await may('old_monitor', `has_table_privilege('sensorctl.${gained}', 'select')`), gained).to.equal(true);
        expect(await may('old_reader', `has_table_privilege('sensorctl.${gained}', 'select')`), gained).to.equal(false);
      }
      const callable = async (role: string): Promise<string[]> =>
        (
          await pool.query<{ name: string }>(
            "select proname as name from pg_proc where pronamespace = 'sensorctl'::regnamespace and has_function_privilege($1, oid, 'execute') order by 1",
            [role],
          )
        ).rows.map(({ name }) => name);
      expect(await callable('old_consumer')).to.deep.equal([
        'assert_primary',
        'bury_consumer',
        'call_off_overdue',
        'compact_keys',
        'compact_unproven',
        'copy_state',
        'hold_fence',
        'take_turn',
      ]);
      expect(await callable('old_reader')).to.deep.equal(['begin_comparison', 'finish_comparison', 'save_comparison']);
      expect(await callable('old_monitor')).to.deep.equal(['record_samples', 'thin_samples']);
      const { rows } = await pool.query(
        'select (select count(*) from sensorctl.sample) as samples, (select verdict from sensorctl.comparison) as verdict, (select epoch from sensorctl.state) as epoch',
      );
      expect(rows).to.deep.equal([{ samples: '1', verdict: 'identical', epoch: '4' }]);
    } finally {
      await pool.query(
        'drop owned by old_consumer, old_reader, old_monitor; drop role old_consumer, old_reader, old_monitor',
      );
      await closeDatabase(database);
      await pool.end();
      await created.drop();
    }
  });
});

/** The last one whose roles wrote the record and the evidence themselves. */
const VERSION_BEFORE = 7;
const OLD_GRANTS = `
  create role old_consumer; create role old_reader; create role old_monitor;
  grant usage on schema sensorctl to old_consumer, old_reader, old_monitor;
  grant select, insert, update on sensorctl.consumer, sensorctl.sensor_location, sensorctl.state to old_consumer;
  grant select, insert, delete on sensorctl.unproven, sensorctl.batch_marker to old_consumer;
  grant insert on sensorctl.state_history, sensorctl.dead_consumer to old_consumer;
  grant select, insert, update, delete on sensorctl.ledger to old_consumer;
  grant select, insert, update on sensorctl.comparison to old_reader;
  grant select, update, delete on sensorctl.unproven to old_reader;
  grant select, insert, delete on sensorctl.sample to old_monitor`;
