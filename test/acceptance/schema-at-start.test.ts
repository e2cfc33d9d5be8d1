import { expect } from 'chai';
import { generateTelemetry } from '../../src/lib/decoders/generate.js';
import { readContent, Stage } from '../support/cli.js';
import { seedOf } from '../support/seed.js';
import { timesOf } from '../support/times.js';

const SEED = seedOf(21);

describe('schema at start', () => {
  let stage: Stage;

  beforeEach(async () => {
    stage = await Stage.open('schema at start');
    await stage.run(['init']);
  });

  afterEach(() => stage.close());

  it('no unique key on local: refuses, with the command that mends it', async () => {
    await stage.local.query('alter table moisture_readings drop constraint moisture_readings_key');
    const { code, stderr } = await stage.run(['consume', '--drain']);
    expect(code).to.equal(3);
    expect(stderr).to.match(/moisture_readings on local has no unique key/);
    expect(stderr).to.match(/Next: sensorctl init --side local --add-keys/);
  });

  for (const [column, type, using, wanted] of [
    ['sensor_id', 'integer', '0', 'varchar(255) not null'],
    ['sensor_id', 'uuid', 'gen_random_uuid()', 'varchar(255) not null'],
    ['time', 'bigint', '0', 'timestamptz not null'],
  ] as const) {
    it(`${column} as ${type} on local: refuses with exit code 2 and one error; on EC2: warns, and lacks nothing unnoticed`, async () => {
      const problem = `has the column ${column} as ${type}, where the decoder writes ${wanted}`;
      const alter = `alter table water_level_readings alter column ${column} type ${type} using ${using}`;
      await stage.ec2.query(alter);
      await stage.send(generateTelemetry({ seed: SEED, count: 50 }));
      const dual = await stage.run(['consume', '--dual-write', '--drain']);
      expect(dual.code, dual.stderr).to.equal(0);
      expect(dual.stderr).to.include(
        `water_level_readings on EC2 ${problem}; what it refuses is entered in the ledger`,
      );
      expect(await countUncovered(stage)).to.equal(0);
      await stage.local.query(`truncate water_level_readings; ${alter}`);
      await stage.send(generateTelemetry({ seed: SEED, count: 1 }));
      const { code, stderr } = await stage.run(['consume', '--drain']);
      expect(code).to.equal(2);
      expect(stderr.match(/^Error: .*$/gm)).to.deep.equal([`Error: water_level_readings on local ${problem}`]);
      expect((await stage.queue.readState()).visible, 'nothing was received').to.equal(1);
      const verified = await stage.run(['verify-schema']);
      expect(verified.code, verified.stdout).to.equal(1);
      expect(verified.stdout).to.match(
        new RegExp(`^Blocks: water_level_readings, column ${column}: batches write .*a consumer does not start`, 'm'),
      );
    });
  }

  it('a column missing on EC2: warns with the statement that adds it, stores locally, enters all in the ledger', async () => {
    await stage.ec2.query('alter table water_level_readings drop column rssi');
    await stage.send(generateTelemetry({ seed: SEED, count: 300 }));
    const { code, stdout, stderr } = await stage.run(['consume', '--dual-write', '--drain', '--json']);
    expect(code, stderr).to.equal(0);
    expect(stderr).to.match(/water_level_readings on EC2 has no column rssi/);
    expect(stderr).to.include('alter table \\"water_level_readings\\" add column \\"rssi\\" integer;');
    const summary = JSON.parse(stdout) as { accepted: number; missed: number; gaps: unknown[] };
    expect(summary.missed, `seed ${SEED}`).to.equal(summary.accepted);
    expect(summary.gaps).to.not.be.empty;
    expect(await stage.findUncoveredGaps()).to.deep.equal([]);

    await stage.ec2.query('alter table water_level_readings add column rssi integer');
    const consumer = await stage.start(['consume', '--dual-write']);
    await consumer.printed('ledger repaired');
    consumer.kill('SIGTERM');
    await consumer.wait();
    const [here, there] = [await readContent(stage.local), await readContent(stage.ec2)];
    expect(there.moisture_readings).to.deep.equal(here.moisture_readings);
  });

  it('a server that does not sync: the consumer warns of each side, once', async () => {
    for (const pool of [stage.local, stage.ec2]) {
      const { rows } = await pool.query<{ name: string }>('select quote_ident(current_database()) as name');
      // Servers of tests say of themselves that nobody needs their data: this one does not.
      await pool.query(`alter database ${rows[0]!.name} set sensorctl.disposable = 'off'`);
    }
    const consumer = await stage.start(['consume', '--dual-write'], timesOf({ heartbeatMs: 200 }));
    for (const side of ['local', 'EC2'])
      await consumer.printed(`a crash of the machine of ${side} loses or damages what it has confirmed`);
    consumer.kill('SIGTERM');
    const { stderr } = await consumer.wait();
    expect(stderr.match(/a crash of the machine .* off="fsync, full_page_writes"$/gm), stderr).to.have.length(2);
  });

  it('no table at all on EC2: warns with the command, stores locally, enters all in the ledger', async () => {
    await stage.ec2.query('drop table moisture_readings, water_level_readings, sensor_readings, sensor_registry');
    await stage.send(generateTelemetry({ seed: SEED, count: 100 }));
    const { code, stderr } = await stage.run(['consume', '--dual-write', '--drain']);
    expect(code, stderr).to.equal(0);
    expect(stderr).to.match(/water_level_readings on EC2 does not exist.*sensorctl init --side ec2/);
    expect(await countUncovered(stage)).to.equal(0);
  });
});

async function countUncovered({ local }: Stage): Promise<number> {
  const { rows } = await local.query<{ uncovered: string }>(
    `select count(*) as uncovered from water_level_readings as stored
     where not exists (select from sensorctl.ledger where table_name = 'water_level_readings' and times @> stored.time)`,
  );
  return Number(rows[0]!.uncovered);
}
