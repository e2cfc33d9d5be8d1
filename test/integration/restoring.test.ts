// TimescaleDB's restoring mode, in which an insert is confirmed and its rows are gone once the mode ends.
import { expect } from 'chai';
import { nextStepFor } from '../../src/lib/cli/advice.js';
import { asUnreachable, closeDatabase, openDatabase, type Database } from '../../src/lib/db/database.js';
import type { MigrationState } from '../../src/lib/domain/migration.js';
import { unitsOf, type Reading } from '../support/readings.js';
import type { Side } from '../../src/lib/domain/side.js';
import { EVERY_TABLE } from '../../src/lib/domain/table-patterns.js';
import { measureGates } from '../../src/lib/operations/cutover/gates.js';
import { verifySchema, type SchemaReport } from '../../src/lib/operations/verify-schema/verify-schema.js';
import { readState } from '../../src/lib/repository/phase/state.js';
import { recordFirstPhase } from '../../src/lib/repository/phase/transition.js';
import { PreparedPair, waterRows, WATER_SENSORS } from '../support/backfilled.js';
import { eventually, runCli, timescaleServers } from '../support/cli.js';
import { blocking } from '../support/schemas.js';

const WATER = 'water_level_readings';
const MODE = "TimescaleDB's restoring mode";

function reading(micros: number): Reading {
  return {
    table: WATER,
    time: `2025-07-01T00:00:00.${String(micros).padStart(6, '0')}Z`,
    ...{ sensorId: 'a', sensorType: 'water-level' },
    values: { level_cm: 7, voltage: 3.85, rssi: -60, quality_score: 0.7, location_lat: 13.75, location_lng: 100.5 },
  };
}

describe("a side in TimescaleDB's restoring mode", function () {
  this.timeout(60_000);
  let pair: PreparedPair | undefined;

  beforeEach(async function () {
    const servers = await timescaleServers(this);
    pair = await PreparedPair.open('restoring', { servers });
  });

  afterEach(async () => {
    await pair?.close();
    pair = undefined;
  });

  const prepared = (): PreparedPair => pair!;
  const begin = (side: Side): Promise<unknown> => poolOf(side).query('select timescaledb_pre_restore()');
  const end = (side: Side): Promise<unknown> => poolOf(side).query('select timescaledb_post_restore()');
  const poolOf = (side: Side): PreparedPair['here'] => (side === 'local' ? prepared().here : prepared().there);

  function open(side: Side, catalogsOnly = false): Database {
    const { connection } = prepared()[side];
    return openDatabase({
      ...{ side, connection, poolMax: 2, callTimeoutMs: 15_000, applicationName: 'test', catalogsOnly },
    });
  }

  async function verify(): Promise<SchemaReport> {
    const [local, ec2] = [open('local', true), open('ec2', true)];
    return await verifySchema({ local, ec2 }).finally(() => Promise.all([local, ec2].map(closeDatabase)));
  }

  it('is refused by each new connection, with what ends it', async () => {
    await begin('ec2');
    const ec2 = open('ec2');
    const refused = await ec2.pool.query('select').then(
      () => null,
      (error: unknown) => asUnreachable(error, ec2),
    );
    await closeDatabase(ec2);
    expect(refused?.message).to.contain('the EC2 database').and.to.contain(MODE);
    expect(nextStepFor(refused)).to.contain('select timescaledb_post_restore()');
  });

  for (const side of ['local', 'ec2'] as const) {
    it(`blocks in verify-schema on ${side}, as do the rows that were written meanwhile, which its mend brings back`, async () => {
      await prepared().query(`${WATER_SENSORS}; ${waterRows(0, 3)}`);
      await begin(side);
      const late = `insert into ${WATER} (time, sensor_id, level_cm) values ('2025-07-09', 'AWD-1', 7)`;
      await poolOf(side).query(late);
      const [mode, rows, ...others] = blocking(await verify());
      expect(others).to.deep.equal([]);
      expect(mode).to.include({ table: null, subject: 'timescaledb.restoring', [side]: 'on' });
      expect(mode?.mend).to.contain('timescaledb_post_restore()');
      expect(rows).to.include({ table: WATER, subject: 'rows in no chunk', [side]: 'rows in no chunk' });
      await end(side);
      const report = await verify();
      expect(blocking(report).map(({ subject }) => subject)).to.deep.equal(['rows in no chunk']);
      const fresh = open(side);
      const count = async (): Promise<unknown> =>
        (await fresh.pool.query(`select count(*)::int as n from public.${WATER}`)).rows[0];
      expect(await count()).to.deep.equal({ n: 4 });
      await fresh.pool.query(side === 'ec2' ? report.script : blocking(report)[0]!.mend!);
      expect(await count()).to.deep.equal({ n: 5 });
      await closeDatabase(fresh);
      expect(blocking(await verify())).to.deep.equal([]);
    });

    it(`meets no gate while ${side} is in it, though the connections are older`, async () => {
      const { local, ec2 } = prepared();
      const state: MigrationState = await recordFirstPhase(local, { by: 'a test', reason: null, overriddenGates: [] });
      await Promise.all([readState(local.pool), readState(ec2.pool)]);
      await begin(side);
      const [gate] = await measureGates({
        ...{ sides: { local, ec2 }, state, target: 2, minSoakMs: 0, selection: EVERY_TABLE, dryRun: true },
        checks: {
          verifySchema: () => Promise.resolve({ blocking: 0, warning: 0 }),
          countForeignOnEc2: () => Promise.resolve(0),
          countForeignOnLocal: () => Promise.resolve(0),
        },
        ...{ stop: new AbortController().signal, onGate: () => undefined },
      });
      expect(gate).to.deep.include({ name: 'prepared', passed: false, forcible: false });
      expect(gate?.detail).to.contain(MODE);
      expect(gate?.advice).to.deep.include({ code: 'restoring-mode', facts: { side } });
    });
  }

  it('is no primary: a consumer does not start on it', async () => {
    await begin('local');
    const { code, stderr } = await runCli(['consume', '--drain'], {
      settings: { ...prepared().settings, SQS_QUEUE_URL: 'http://127.0.0.1:1/queue', AWS_REGION: 'us-east-1' },
    });
    expect(code).to.equal(3);
    expect(stderr).to.contain(MODE).and.to.contain('select timescaledb_post_restore()');
  });

  it('gets no batch once it has begun, though the connections are older: each goes to the ledger', async () => {
    const repository = await prepared().openRepository();
    let micros = 0;
    const send = async (): Promise<unknown> => {
      const [batch] = await repository.primary.write({ units: unitsOf([reading((micros += 1))]), rejects: [] });
      const outcome = await repository.secondary!.send(batch!);
      repository.settlement.settle(batch!, outcome);
      return outcome;
    };
    try {
      expect(await send()).to.include({ confirmed: true });
      await begin('ec2');
      let outcome: unknown;
      await eventually('batches are refused', async () => {
        outcome = await send();
        return JSON.stringify(outcome).includes(MODE);
      });
      expect(outcome).to.include({ confirmed: false });
    } finally {
      await repository.close();
    }
    const { rows } = await prepared().there.query<{ n: number }>(`select count(*)::int as n from only ${WATER}`);
    expect(rows).to.deep.equal([{ n: 0 }]);
  });

  it('ends a consumer whose primary it has become', async () => {
    const repository = await prepared().openRepository('local-only');
    try {
      await begin('local');
      await eventually('no batch is taken', async () => {
        const outcome = await repository.primary.write({ units: unitsOf([]), rejects: [] }).then(
          () => '',
          (error: unknown) => (error as Error).message,
        );
        return outcome.includes(MODE);
      });
    } finally {
      await repository.close();
    }
  });
});
