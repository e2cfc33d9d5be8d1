import { expect } from 'chai';
import type pg from 'pg';
import type { MonitorReport } from '../../src/lib/operations/monitor/monitor-report.js';
import type { Snapshot } from '../../src/lib/operations/monitor/monitor-snapshot.js';
import type { PostgresServer } from '../../src/lib/sandbox/postgres-server.js';
import { generateTelemetry } from '../../src/lib/decoders/generate.js';
import { grantsOf } from '../support/documented-grants.js';
import { eventually, readContent, REPOSITORY, Stage, timescaleServers } from '../support/cli.js';
import { seedOf } from '../support/seed.js';

const SEED = seedOf(11);
const PASSWORD = 'only-for-this-test';

async function createRole(pool: pg.Pool, role: string, grants: string): Promise<void> {
  await pool.query(`create role ${role} login password '${PASSWORD}'`);
  await pool.query(grants);
}

/** The settings by which a role is used on both sides. */
function loginOf(role: string): Record<string, string> {
  return { TIMESCALE_USER: role, TIMESCALE_PASSWORD: PASSWORD, EC2_DB_USER: role, EC2_DB_PASSWORD: PASSWORD };
}

async function dropRole(pool: pg.Pool, role: string): Promise<void> {
  await pool.query(`drop owned by ${role}; drop role ${role}`);
}

function describeRights(title: string, role: string, findServers: (hook: Mocha.Context) => Promise<Servers>): void {
  describe(title, () => {
    let stage: Stage | undefined;

    before(async function () {
      stage = await Stage.open(role, await findServers(this));
      const { code, stderr } = await stage.run(['init']);
      expect(code, stderr).to.equal(0);
      await createRole(stage.local, role, await grantsOf(REPOSITORY, 'either side: consume', role));
      await createRole(stage.ec2, role, await grantsOf(REPOSITORY, 'either side: consume', role));
      await createRole(stage.local, `${role}_reader`, await grantsOf(REPOSITORY, 'local: compare', `${role}_reader`));
      await createRole(stage.ec2, `${role}_reader`, await grantsOf(REPOSITORY, 'ec2: compare', `${role}_reader`));
      await createRole(stage.local, `${role}_prover`, await grantsOf(REPOSITORY, 'local: compare', `${role}_prover`));
      await stage.local.query(await grantsOf(REPOSITORY, 'local: prove', `${role}_prover`));
      await createRole(stage.ec2, `${role}_prover`, await grantsOf(REPOSITORY, 'ec2: compare', `${role}_prover`));
      for (const pool of [stage.local, stage.ec2]) {
        await createRole(
          pool,
          `${role}_operator`,
          await grantsOf(REPOSITORY, 'either side: consume', `${role}_operator`),
        );
        await pool.query(await grantsOf(REPOSITORY, 'either side: cutover', `${role}_operator`));
        await createRole(
          pool,
          `${role}_monitor`,
          await grantsOf(REPOSITORY, 'either side: monitor', `${role}_monitor`),
        );
      }
      await createRole(
        stage.local,
        `${role}_backfill`,
        await grantsOf(REPOSITORY, 'local: backfill', `${role}_backfill`),
      );
      await createRole(stage.ec2, `${role}_backfill`, await grantsOf(REPOSITORY, 'ec2: backfill', `${role}_backfill`));
    });

    after(async () => {
      if (stage === undefined) return;
      for (const name of [
        role,
        `${role}_reader`,
        `${role}_prover`,
        `${role}_operator`,
        `${role}_backfill`,
        `${role}_monitor`,
      ]) {
        await dropRole(stage.local, name);
        await dropRole(stage.ec2, name);
      }
      await stage.close();
    });

    it('consume stores, sends, quarantines and repairs with the rights that docs/rights.md lists', async () => {
      const { local, ec2 } = stage!;
      const login = loginOf(role);
      await stage!.send(generateTelemetry({ seed: SEED, count: 600 }));
      const summary = await stage!.runJson<{ confirmed: number; accepted: number; quarantined: number }>(
        ['consume', '--dual-write', '--drain'],
        login,
      );
      expect(summary.confirmed, `seed ${SEED}`).to.equal(summary.accepted);
      expect(summary.quarantined).to.be.greaterThan(0);
      await local.query(`insert into sensorctl.ledger (batch_id, consumer_id, table_name, times, readings, state)
        select gen_random_uuid(), gen_random_uuid(), 'water_level_readings',
          tstzmultirange(tstzrange(min(time), max(time) + interval '1 microsecond')), 1, 'missed' from water_level_readings`);
      await ec2.query(
        'delete from water_level_readings where sensor_id in (select min(sensor_id) from water_level_readings)',
      );
      await ec2.query('update water_level_readings set rssi = 1');
      const consumer = await stage!.start(['consume', '--dual-write'], login);
      await eventually('the missed range is repaired', async () => {
        const { rowCount } = await local.query('select from sensorctl.ledger');
        return rowCount === 0;
      });
      consumer.kill('SIGTERM');
      const { code, stderr } = await consumer.wait();
      expect(code, stderr).to.equal(0);
      expect(stderr).not.to.match(/permission denied/);
      expect(await readContent(ec2)).to.deep.equal(await readContent(local));
    });

    it('monitor reads everything, records and reports with the rights that docs/rights.md lists', async () => {
      const monitor = `${role}_monitor`;
      const login = loginOf(monitor);
      const { stdout, stderr } = await stage!.run(['monitor', '--once', '--json'], login);
      expect(stderr).not.to.match(/permission denied|not recorded/);
      const { sides, gaps } = JSON.parse(stdout) as Snapshot;
      expect([sides.local.problem, sides.ec2.problem]).to.deep.equal([null, null]);
      expect(gaps).not.to.equal(null);
      const { soak, notRead } = await stage!.runJson<MonitorReport>(['monitor', 'report'], login);
      expect(soak.samples).to.equal(1);
      expect(notRead).to.deep.equal([]);
    });

    it('compare proves, finds and records with the rights that docs/rights.md lists, and only finds without those to prove', async () => {
      const { local, ec2 } = stage!;
      const prover = `${role}_prover`;
      await local.query(`insert into sensorctl.unproven (table_name, times)
        select 'water_level_readings', tstzmultirange(tstzrange(min(time), max(time))) from water_level_readings`);
      const read = await stage!.runJson(['compare', '--all'], loginOf(`${role}_reader`));
      expect(read).to.include({ verdict: 'identical' });
      expect((await local.query('select from sensorctl.unproven')).rowCount, 'a reader proves nothing').not.to.equal(0);
      expect((await local.query('select from sensorctl.comparison')).rowCount, 'nor records').to.equal(0);
      const login = loginOf(prover);
      expect(await stage!.runJson(['compare', '--all'], login)).to.include({ verdict: 'identical' });
      expect((await local.query('select from sensorctl.unproven')).rowCount, 'left to prove').to.equal(0);
      await ec2.query(`delete from water_level_readings where time = (select min(time) from water_level_readings);
        update sensor_registry set location_lat = 1 where sensor_id = (select min(sensor_id) from sensor_registry)`);
      for (const changes of ['', `alter role ${prover} set default_transaction_read_only = on`]) {
        if (changes !== '') await Promise.all([local, ec2].map((pool) => pool.query(changes)));
        const { code, stdout, stderr } = await stage!.run(['compare', '--all', '--json'], login);
        expect(code, stderr).to.equal(1);
        const { differences } = JSON.parse(stdout) as { differences: { table: string; class: string }[] };
        expect(differences.map(({ table, class: found }) => [table, found])).to.deep.equal([
          ['water_level_readings', 'unexplained'],
          ['sensor_registry', 'unexplained'],
        ]);
      }
      const { rows } = await local.query('select verdict from sensorctl.comparison order by comparison_id');
      expect(rows).to.deep.equal([{ verdict: 'identical' }, { verdict: 'different' }]);
    });

    it('cutover goes to phase 3 and back with the rights that docs/rights.md lists', async () => {
      const { local, ec2 } = stage!;
      const login = loginOf(`${role}_operator`);
      for (const pool of [local, ec2]) await pool.query('create sequence ticket');
      await local.query("select setval('ticket', 500)");
      await stage!.runJson(['backfill', '--all']);
      await stage!.runJson(['compare', '--all']);
      for (const change of [
        ['--phase', '1'],
        ['--phase', '2'],
        ['--phase', '3', '--force', '--reason', 'a test'],
        ['--rollback'],
      ]) {
        if (change.includes('3')) {
          const refused = await stage!.run(['cutover', '--yes', ...change], login);
          expect([refused.code, refused.stdout]).to.satisfy(([code, text]: [number, string]) => {
            return (
              code === 1 && text.replaceAll(/[\s│]+/g, ' ').includes('grant select, update on sequence public.ticket')
            );
          });
          for (const pool of [local, ec2])
            await pool.query(await grantsOf(REPOSITORY, 'either side: sequences', `${role}_operator`));
        }
        const { code, stdout, stderr } = await stage!.run(['cutover', '--yes', ...change], login);
        expect(code, `${change.join(' ')}: ${stdout} ${stderr}`).to.equal(0);
        expect(stdout + stderr).not.to.match(/permission denied/);
      }
      const { rows } = await ec2.query("select nextval('ticket')::int as next");
      expect(rows).to.deep.equal([{ next: 1501 }]);
    });

    for (const keyless of [false, true]) {
      const where = keyless ? ', also where EC2 has no unique key' : '';

      it(`backfill repairs, corrects, copies and prunes with the rights that docs/rights.md lists${where}`, async () => {
        const { local, ec2 } = stage!;
        const worker = `${role}_backfill`;
        const login = loginOf(worker);
        if (keyless) await ec2.query('alter table water_level_readings drop constraint water_level_readings_key');
        await local.query(`insert into sensorctl.ledger (batch_id, consumer_id, table_name, times, readings, state, sensor_id)
          select gen_random_uuid(), gen_random_uuid(), 'water_level_readings',
            tstzmultirange(tstzrange(min(time), max(time), '[]')), 1, state, refused
          from water_level_readings, (values ('missed', null), ('refused', 'A')) as entry (state, refused)
          group by state, refused`);
        await ec2.query(`
          update water_level_readings set rssi = 2;
          insert into water_level_readings (time, sensor_id, level_cm) select min(time) - interval '1 s', 'GHOST', 1
            from water_level_readings;
          delete from sensor_registry where sensor_id = (select max(sensor_id) from sensor_registry);
          update sensor_registry set is_active = false; delete from moisture_readings`);
        const repaired = await stage!.run(['backfill'], login);
        expect(repaired.code, repaired.stderr).to.equal(0);
        for (const args of [
          ['--all', '--full'],
          ['--all', '--prune', '--yes'],
        ]) {
          const { code, stderr } = await stage!.run(['backfill', ...args], login);
          expect(code, stderr).to.equal(0);
          expect(stderr).not.to.match(/permission denied/);
        }
        expect(await readContent(ec2)).to.deep.equal(await readContent(local));
      });
    }
  });
}

interface Servers {
  readonly local?: PostgresServer;
  readonly ec2?: PostgresServer;
}

describe('least rights', () => {
  describeRights('on PostgreSQL', 'least_rights_plain', () => Promise.resolve({}));
  describeRights('on TimescaleDB', 'least_rights_timescale', timescaleServers);
});
