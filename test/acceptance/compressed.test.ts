import { expect } from 'chai';
import { generateTelemetry } from '../../src/lib/decoders/generate.js';
import { eventually, readContent, Stage, timescaleServers } from '../support/cli.js';
import { seedOf } from '../support/seed.js';

const SEED = seedOf(31);

describe('compressed chunks on TimescaleDB', () => {
  let stage: Stage | undefined;

  before(async function () {
    stage = await Stage.open('compressed', await timescaleServers(this));
    await stage.run(['init']);
    await stage.send(generateTelemetry({ seed: SEED, count: 600 }));
    await stage.runJson(['consume', '--dual-write', '--drain']);
    for (const pool of [stage.local, stage.ec2]) {
      await pool.query(
        "alter table water_level_readings set (timescaledb.compress, timescaledb.compress_segmentby = 'sensor_id')",
      );
      await pool.query("select compress_chunk(c) from show_chunks('water_level_readings') c");
    }
  });

  after(() => stage?.close());

  it('retransmissions and late readings in them are told apart as in any other', async () => {
    const { local, ec2 } = stage!;
    const before = await readContent(local);
    await stage!.send(generateTelemetry({ seed: SEED, count: 600 }));
    const again = await stage!.runJson<{ accepted: number }>(['consume', '--dual-write', '--drain']);
    expect(again.accepted, `seed ${SEED}`).to.equal(0);
    await stage!.send(generateTelemetry({ seed: SEED + 1, count: 300 }));
    const late = await stage!.runJson<{ accepted: number; confirmed: number }>(['consume', '--dual-write', '--drain']);
    expect(late.confirmed).to.equal(late.accepted).and.to.be.greaterThan(0);
    const content = await readContent(local);
    expect(content.water_level_readings).to.include.members(before.water_level_readings!);
    expect(await readContent(ec2)).to.deep.equal(content);
  });

  it('what is missing or differs in them on EC2 is repaired', async () => {
    const { local, ec2 } = stage!;
    await ec2.query(
      'delete from water_level_readings where sensor_id in (select min(sensor_id) from water_level_readings)',
    );
    await ec2.query(
      'update water_level_readings set rssi = 1 where sensor_id in (select max(sensor_id) from water_level_readings)',
    );
    await ec2.query("select compress_chunk(c, true) from show_chunks('water_level_readings') c");
    await local.query(`insert into sensorctl.ledger (batch_id, consumer_id, table_name, times, readings, state)
      select gen_random_uuid(), gen_random_uuid(), 'water_level_readings',
        tstzmultirange(tstzrange(min(time), max(time) + interval '1 microsecond')), 1, 'missed' from water_level_readings`);
    const consumer = await stage!.start(['consume', '--dual-write']);
    await eventually(
      'the ledger is empty',
      async () => (await local.query('select from sensorctl.ledger')).rowCount === 0,
    );
    consumer.kill('SIGTERM');
    const { code, stderr } = await consumer.wait();
    expect(code, stderr).to.equal(0);
    expect(await readContent(ec2), `seed ${SEED}`).to.deep.equal(await readContent(local));
  });
});
