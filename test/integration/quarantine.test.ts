import { expect } from 'chai';
import type { DualWriteRepository, QuarantineFault, QuarantineRecord } from '../../src/lib/repository/index.js';
import { unitsOf } from '../support/readings.js';
import { Stage } from '../support/cli.js';

const FAULT: QuarantineFault = { reason: 'no level', sqlstate: null, table: null, sensorId: 'A', time: null };
const RECORD: QuarantineRecord = {
  ...{ side: 'local', messageId: 'message-1', body: '{"a": "body"}', faults: [FAULT], furtherFaults: 0 },
};

/** A record of the same message with these faults. */
function withFaults(...faults: Partial<QuarantineFault>[]): QuarantineRecord {
  return { ...RECORD, faults: faults.map((fault) => ({ ...FAULT, ...fault })) };
}

describe('the quarantine', function () {
  this.timeout(20_000);
  let stage: Stage;
  let repository: DualWriteRepository;
  let close: () => Promise<void>;

  before(async () => {
    stage = await Stage.open('quarantine');
    await stage.runJson(['init']);
    ({ repository, close } = await stage.openRepository());
  });

  after(async () => {
    await close();
    await stage.close();
  });

  beforeEach(async () => {
    await stage.local.query('truncate sensorctl.quarantine');
  });

  async function quarantine(...rejects: QuarantineRecord[]): Promise<number> {
    const [batch] = await repository.primary.write({ units: unitsOf([]), rejects });
    expect(batch).to.include({ accepted: 0, duplicates: 0, batchId: null });
    expect(batch!.quarantined).to.have.length(rejects.length);
    return batch!.quarantinedAnew;
  }

  async function readRecords(): Promise<Record<string, unknown>[]> {
    const { rows } = await stage.local.query<Record<string, unknown>>(
      `select side, message_id as "messageId", body, faults, further_faults as "furtherFaults"
       from sensorctl.quarantine order by quarantine_id`,
    );
    return rows;
  }

  it('keeps a record whole', async () => {
    expect(await quarantine(RECORD)).to.equal(1);
    expect(await readRecords()).to.deep.equal([RECORD]);
  });

  it('keeps a message once, however often and under however many message ids it is delivered', async () => {
    expect(await quarantine(RECORD, { ...RECORD, messageId: 'message-2' })).to.equal(1);
    expect(await quarantine({ ...RECORD, messageId: 'message-3' })).to.equal(0);
    expect(await readRecords()).to.have.length(1);
  });

  it('keeps the faults of a message together, its body once, in the order in which they were found', async () => {
    const [first, second, third] = [{ sensorId: '1-1' }, { sensorId: '1-2' }, { sensorId: '1-3', sqlstate: '22003' }];
    expect(await quarantine(withFaults(first, second), withFaults(third))).to.equal(1);
    expect(await readRecords()).to.deep.equal([withFaults(first, second, third)]);
  });

  it('adds to a record what a later delivery finds, and nothing that it knows', async () => {
    const [first, second] = [{ sensorId: '1-1' }, { sensorId: '1-2' }];
    await quarantine(withFaults(first));
    expect(await quarantine({ ...withFaults(second, first), messageId: 'message-2' })).to.equal(0);
    expect(await quarantine(withFaults(second))).to.equal(0);
    expect(await readRecords()).to.deep.equal([withFaults(first, second)]);
  });

  it('opens a closed record again for a fault that is new, and only for that', async () => {
    const readOpen = async (): Promise<unknown> =>
      (await stage.local.query('select resolution from sensorctl.quarantine')).rows;
    await quarantine(withFaults({ sensorId: '1-1' }));
    await stage.local.query("update sensorctl.quarantine set resolution = 'discarded', resolved_at = now()");
    await quarantine(withFaults({ sensorId: '1-1' }));
    expect(await readOpen()).to.deep.equal([{ resolution: 'discarded' }]);
    await quarantine(withFaults({ sensorId: '1-2' }));
    expect(await readOpen()).to.deep.equal([{ resolution: null }]);
  });

  it('lists a hundred faults, counts the rest, and shortens what is long', async () => {
    const many = Array.from({ length: 130 }, (_, place) => ({ sensorId: `1-${place}` }));
    for (let delivery = 0; delivery < 2; delivery += 1) await quarantine(withFaults(...many));
    expect(await readRecords()).to.deep.equal([{ ...withFaults(...many.slice(0, 100)), furtherFaults: 30 }]);
    await quarantine(withFaults({ sensorId: 'one more' }));
    expect(await readRecords()).to.deep.equal([{ ...withFaults(...many.slice(0, 100)), furtherFaults: 30 }]);
    await quarantine({ ...withFaults({ reason: 'r'.repeat(5000), sensorId: 's'.repeat(5000) }), body: 'other' });
    expect((await readRecords())[1]!.faults).to.deep.equal([
      { ...FAULT, reason: 'r'.repeat(1000), sensorId: 's'.repeat(1000) },
    ]);
  });

  it('names the first fault in columns of its own', async () => {
    await quarantine(withFaults({ reason: 'why', sqlstate: '22003', table: 't', sensorId: 'S', time: 'T' }, {}));
    const { rows } = await stage.local.query(
      'select reason, sqlstate, table_name, sensor_id, reading_time from sensorctl.quarantine',
    );
    expect(rows).to.deep.equal([
      { reason: 'why', sqlstate: '22003', table_name: 't', sensor_id: 'S', reading_time: 'T' },
    ]);
  });

  it('cannot be entered by a message in place of a row that a repair replaced', async () => {
    const row = 'localwater_level_readings{"level_cm": 1}';
    await quarantine({ ...RECORD, body: row });
    const { rows } = await stage.local.query<{ taken: boolean }>(
      `select digest = sha256(convert_to($1, 'UTF8')) as taken from sensorctl.quarantine`,
      [row],
    );
    expect(rows).to.deep.equal([{ taken: false }]);
  });

  it('keeps any text: quotes, emoji, half a surrogate pair, and U+0000 as its JSON escape', async () => {
    const body = 'a"b\\c\'{},NULL ü漢🔑\n\t';
    await quarantine(
      { ...RECORD, body },
      { ...withFaults({ sensorId: 'A\0', reason: '\ud800' }), body: 'x\0y\ud800z' },
    );
    const bodies = (await readRecords()).map((record) => record.body);
    expect(bodies).to.have.members([body, String.raw`x\u0000y` + '\ufffdz']);
  });

  it('keeps what four processes quarantine at once, each record once', async () => {
    const records = Array.from({ length: 200 }, (_, index) => ({ ...RECORD, body: `body ${index}` }));
    const others = await Promise.all([1, 2, 3].map(() => stage.openRepository()));
    const writers = [repository, ...others.map((each) => each.repository)];
    const batches = await Promise.all(
      writers.map((writer, index) =>
        writer.primary.write({ units: unitsOf([]), rejects: index % 2 === 0 ? records : records.toReversed() }),
      ),
    );
    const anew = batches.flat().reduce((sum, batch) => sum + batch.quarantinedAnew, 0);
    expect(anew).to.equal(200);
    expect(await readRecords()).to.have.length(200);
    await Promise.all(others.map((each) => each.close()));
  });
});
