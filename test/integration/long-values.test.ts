import { expect } from 'chai';
import { PreparedPair, WATER_SENSORS, waterRows } from '../support/backfilled.js';

const WATER = 'water_level_readings';
const MIB = 1024 * 1024;
/** More than a jsonb can hold. */
const HUGE = 300 * MIB;

describe('values of many bytes', function () {
  this.timeout(180_000);
  let pair: PreparedPair;

  beforeEach(async () => {
    pair = await PreparedPair.open('long values', { callTimeoutMs: 120_000 });
    await pair.query(
      `alter table ${WATER} add column note text, add column raw bytea, add column page jsonb, add column word text;
       ${WATER_SENSORS}; ${waterRows(0, 3)}`,
    );
  });

  afterEach(() => pair.close());

  async function noteOf(sensor: string): Promise<unknown> {
    const { rows } = await pair.there.query<{ body: string }>(
      'select body from sensorctl.quarantine where sensor_id = $1',
      [sensor],
    );
    return JSON.parse(rows[0]!.body) as unknown;
  }

  it('are compared and shown by size and digest, and repaired; what is too long is not kept, and that is said before', async () => {
    await pair.query(`
      update ${WATER} set word = repeat('k', 9000), page = jsonb_build_array(repeat('p', 100000), 1.0);
      update ${WATER} set note = repeat('n', ${HUGE}), raw = convert_to(repeat('r', ${HUGE}), 'UTF8') where sensor_id = 'AWD-1'`);
    await pair.there.query(`
      update ${WATER} set note = note || '!', raw = raw || '!' where sensor_id = 'AWD-1';
      update ${WATER} set word = word || '!' where sensor_id = 'AWD-2';
      update ${WATER} set page = jsonb_build_array(repeat('p', 100000), 1.000) where sensor_id = 'AWD-3'`);
    const { differences, verdict } = await pair.compare();
    expect(verdict).to.equal('different');
    const columns = new Map(differences.map(({ key, columns }) => [key.sensor_id, columns]));
    expect([...columns.keys()].sort(), 'a number of another scale is equal').to.deep.equal(['AWD-1', 'AWD-2']);
    expect(Object.keys(columns.get('AWD-1')!).sort()).to.deep.equal(['note', 'raw']);
    for (const value of Object.values(columns.get('AWD-1')!)) {
      expect(value.local).to.match(/^314572800 bytes, sha256 [0-9a-f]{64} \(too long for a repair to keep/);
      expect(value.ec2)
        .to.match(/^314572801 bytes, sha256 /)
        .and.not.to.include(value.local!.slice(24, 80));
    }
    expect(columns.get('AWD-2')!.word!.local).to.match(/^9000 bytes, sha256 [0-9a-f]{64}$/);
    const report = await pair.backfill();
    expect(report).to.include({ rowsCorrected: 2, rowsRefused: 0 });
    expect((await pair.compare()).verdict).to.equal('identical');
    expect(await noteOf('AWD-1'))
      .to.have.property('note')
      .that.matches(/^314572801 bytes, sha256 \w{64}, too long to be kept$/);
    expect(await noteOf('AWD-2')).to.have.property('word', `${'k'.repeat(9000)}!`);
  });
});
