import { expect } from 'chai';
import type pg from 'pg';
import { prepareSide } from '../../src/lib/operations/init.js';
import {
  verifySchema,
  type SchemaReport,
  type SchemaVerdict,
} from '../../src/lib/operations/verify-schema/verify-schema.js';
import { poolOf, sideSettings, Stage } from '../support/cli.js';
import { blocking, closeSides, fingerprint, openSides, prepareBoth, reset, type Sides } from '../support/schemas.js';
import { ec2Server } from '../support/servers.js';
import { MEND_CLOCK, skewClockSql } from '../support/skewed-clock.js';

const WATER = 'water_level_readings';
const PASSWORD = 'only-for-this-test';

describe('verify-schema beside the tables', function () {
  this.timeout(40_000);
  let stage: Stage;
  let sides: Sides;
  let role: string;

  before(async () => {
    stage = await Stage.open('verify servers');
    sides = openSides(stage);
    await prepareBoth(sides);
    role = stage.settings.EC2_DB_NAME!;
  });

  after(async () => {
    await closeSides(sides);
    await stage.close();
  });

  describe('for a role that may only read, and whose sessions take no writes', () => {
    const both = (): pg.Pool[] => [stage.local, stage.ec2];
    const verify = async (): Promise<SchemaReport> => {
      const reader = openSides(stage, { user: role, password: PASSWORD });
      return await verifySchema(reader).finally(() => closeSides(reader));
    };

    beforeEach(async () => {
      for (const pool of both()) {
        await pool.query(`drop schema if exists sensorctl cascade; create role ${role} login password '${PASSWORD}';
          grant select on all tables in schema public to ${role};
          alter role ${role} set default_transaction_read_only = on`);
      }
    });

    afterEach(async () => {
      for (const pool of both()) await pool.query(`drop owned by ${role}; drop role ${role}`);
      await reset(stage.local, sides.local);
      await reset(stage.ec2, sides.ec2);
    });

    it('answers, on databases that never saw sensorctl, and changes nothing', async () => {
      const before = await Promise.all(both().map(fingerprint));
      const report = await verify();
      expect(new Set(blocking(report).map(({ subject }) => subject)), JSON.stringify(blocking(report))).to.deep.equal(
        new Set([
          ...['bookkeeping on local', 'bookkeeping on ec2', 'rights on local', 'rights on ec2'],
          'default_transaction_read_only',
        ]),
      );
      expect(await Promise.all(both().map(fingerprint))).to.deep.equal(before);
    });

    it('names what mends each side: done, nothing blocks this role', async () => {
      for (const { mend } of blocking(await verify())) {
        expect(mend).to.be.a('string');
        if (mend!.startsWith('-- on local:\n')) await stage.local.query(mend!);
      }
      await prepareSide(sides.local, { addKeys: false });
      await stage.ec2.query((await verify()).script);
      // The bookkeeping of local is there now: only now can be told what the role may do there.
      const [rights, ...others] = blocking(await verify());
      expect(others).to.deep.equal([]);
      expect(rights).to.include({ subject: 'rights on the bookkeeping', table: null });
      await stage.local.query(rights!.mend!);
      expect(blocking(await verify())).to.deep.equal([]);
    });

    it('says what it may not look at, and goes on', async () => {
      await stage.ec2
        .query(`alter table ${WATER} add constraint known foreign key (sensor_id) references sensor_registry;
        revoke select on sensor_registry from ${role}`);
      const { findings } = await verify();
      expect(findings.find(({ subject }) => subject.startsWith('rows of sensor_registry'))).to.include({
        ...{ weight: 'warns', table: WATER, local: 'not readable' },
      });
      for (const pool of both()) await pool.query('revoke usage on schema public from public');
      expect(blocking(await verify()).filter(({ subject }) => subject === 'table')).to.have.length(4);
    });

    it('blocks where row security hides rows from it, and only there', async () => {
      await stage.ec2.query(`alter table ${WATER} enable row level security`);
      expect(blocking(await verify()).find(({ subject }) => subject === 'row security')).to.include({ table: WATER });
      expect(blocking(await verifySchema(sides)).map(({ subject }) => subject)).not.to.include('row security');
    });
  });

  it('tells what a session of others gets: TimeZone, extra_float_digits', async () => {
    await configure(`set timezone = 'Asia/Bangkok'`, 'set extra_float_digits = -3');
    const { findings } = await verifySchema(sides);
    expect(findings.find(({ subject }) => subject === 'TimeZone')).to.include({
      ...{ weight: 'notes', local: 'UTC', ec2: 'Asia/Bangkok' },
    });
    expect(findings.find(({ subject }) => subject === 'extra_float_digits')).to.include({
      ...{ weight: 'notes', local: '1', ec2: '-3' },
    });
    await configure('reset all');
  });

  it('warns of clocks that differ by more than a second, with the number', async () => {
    await stage.ec2.query(skewClockSql('-90 seconds'));
    await verifyFresh(async (fresh) => {
      const { findings } = await verifySchema(fresh);
      const found = findings.find(({ subject }) => subject === 'clock');
      expect(found).to.include({ weight: 'warns', local: '0 s' });
      expect(Number.parseFloat(found!.ec2)).to.be.closeTo(-90, 1);
    });
    await stage.ec2.query(MEND_CLOCK);
  });

  it('warns where a side has fewer connections left than its pool wants', async () => {
    await stage.ec2.query(`alter database ${role} connection limit 3`);
    const { findings, verdict } = await verifySchema(sides);
    await stage.ec2.query(`alter database ${role} connection limit -1`);
    const found = findings.find(({ subject }) => subject === 'connections');
    expect(found).to.include({ weight: 'warns' });
    expect(found!.ec2).to.match(/^-?\d free, the pool wants 4$/);
    expect(found!.mend).to.contain('EC2_POOL_MAX');
    expect(verdict).to.equal('compatible');
  });

  it('blocks an EC2 that cannot hold every message', async () => {
    const server = await ec2Server();
    const name = `${role}_ascii`;
    await stage.ec2.query(
      `create database ${name} encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C' template template0`,
    );
    const pool = poolOf(server, name);
    const { code, stdout } = await stage.run(['verify-schema', '--json'], sideSettings('ec2', server, name));
    await pool.end();
    await stage.ec2.query(`drop database ${name}`);
    expect(code).to.equal(1);
    const { findings } = JSON.parse(stdout) as SchemaVerdict;
    expect(findings.find(({ subject }) => subject === 'encoding')).to.include({ weight: 'blocks', ec2: 'SQL_ASCII' });
  });

  it('takes other tables of local by name, and tells of one that is not there', async () => {
    await stage.local
      .query(`create table "Site Notes" (id bigserial primary key, "Text" text not null default 'none', about varchar(255) references
        sensor_registry, at timestamptz default now(), check (id > 0)); create index on "Site Notes" (at)`);
    const named = ['Site Notes', WATER];
    const first = await verifySchema(sides, named);
    expect(blocking(first).map(({ table, subject }) => `${String(table)}: ${subject}`)).to.deep.equal([
      'Site Notes: table',
    ]);
    await stage.ec2.query(first.script);
    expect((await verifySchema(sides, named)).verdict).to.equal('compatible');
    await stage.local.query('alter table "Site Notes" drop constraint "Site Notes_pkey"');
    const keyless = (await verifySchema(sides, named)).findings.filter(({ table }) => table === 'Site Notes');
    expect(keyless.map(({ weight, subject }) => `${weight} ${subject}`)).to.deep.equal([
      'blocks unique key Site Notes_pkey',
      'warns key',
    ]);
    const absent = await stage.run(['verify-schema', '--table', WATER, '--table', 'nowhere']);
    expect(absent.code).to.equal(2);
    expect(absent.stderr).to.contain('local has no table nowhere').and.to.contain('Next: ');
    await stage.local.query('drop table "Site Notes"');
  });

  it('shows a person a table, what mends what blocks, the verdict and the next command', async () => {
    await stage.ec2.query(`alter table ${WATER} alter level_cm type numeric(4,1)`);
    const { stdout, stderr, code } = await stage.run(['verify-schema']);
    expect(code).to.equal(1);
    expect(stderr).to.equal('');
    expect(stdout).to.match(
      /blocks +\S* *water_level_readings +\S* *type of level_cm +\S* *numeric\(5,2\) +\S* *numeric\(4,1\)/,
    );
    expect(stdout).to.contain(`Blocks: ${WATER}, type of level_cm: `);
    expect(stdout).to.contain('alter column "level_cm" type numeric(5,2)');
    expect(stdout).to.match(/Blocked: .*\nNext: .*sensorctl verify-schema --sql.*\n$/);
    await reset(stage.ec2, sides.ec2);
  });

  it('tells which side does not answer, and refuses --sql with --json', async () => {
    const away = await stage.run(['verify-schema'], { EC2_DB_PORT: '1' });
    expect(away.code).to.equal(3);
    expect(away.stderr).to.contain('the EC2 database at ');
    expect((await stage.run(['verify-schema', '--sql', '--json'])).code).to.equal(2);
    const alone = await stage.run(['verify-schema'], { EC2_DB_HOST: undefined });
    expect(alone.code).to.equal(2);
    expect(alone.stderr).to.contain('EC2_DB_HOST');
  });

  async function configure(...changes: string[]): Promise<void> {
    for (const change of changes) await stage.ec2.query(`alter database ${role} ${change}`);
  }

  /** Settings of a database hold for new sessions. */
  async function verifyFresh(work: (sides: Sides) => Promise<void>): Promise<void> {
    const fresh = openSides(stage);
    try {
      await work(fresh);
    } finally {
      await closeSides(fresh);
    }
  }
});
