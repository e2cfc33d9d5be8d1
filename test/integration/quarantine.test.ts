import { expect } from 'chai';
import type { DualWriteRepository, QuarantineRecord } from '../../src/lib/repository/index.js';
import { Stage } from '../support/cli.js';

const RECORD: QuarantineRecord = {
  ...{ side: 'local', reason: 'no level', sqlstate: null, table: null, sensorId: 'A', time: null },
  ...{ messageId: 'message-1', body: '{"a": "body"}' },
};

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
    const [batch] = await repository.writeBatch({ readings: [], rejects });
    expect(batch).to.include({ accepted: 0, refused: 0, batchId: null });
    expect(batch!.quarantined).to.have.length(rejects.length);
    return batch!.quarantinedAnew;
  }

  async function readRecords(): Promise<Record<string, unknown>[]> {
    const { rows } = await stage.local.query<Record<string, unknown>>(
      `select side, reason, sqlstate, table_name as "table", sensor_id as "sensorId", reading_time as "time",
         message_id as "messageId", body from sensorctl.quarantine order by quarantine_id`,
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

  it('keeps two readings of one gateway message apart', async () => {
    const entry = { ...RECORD, table: 'moisture_readings', time: '2025-07-01T00:00:00.000000Z' };
    expect(await quarantine({ ...entry, sensorId: '1-1' }, { ...entry, sensorId: '1-2' })).to.equal(2);
  });

  it('keeps any text: quotes, emoji, half a surrogate pair, and U+0000 as its JSON escape', async () => {
    const body = 'a"b\\c\'{},NULL ü漢🔑\n\t';
    await quarantine({ ...RECORD, body }, { ...RECORD, body: 'x\0y\ud800z', sensorId: 'A\0' });
    const bodies = (await readRecords()).map((record) => record.body);
    expect(bodies).to.have.members([body, String.raw`x\u0000y` + '\ufffdz']);
  });

  it('keeps what four processes quarantine at once, each record once', async () => {
    const records = Array.from({ length: 200 }, (_, index) => ({ ...RECORD, body: `body ${index}` }));
    const others = await Promise.all([1, 2, 3].map(() => stage.openRepository()));
    const writers = [repository, ...others.map((each) => each.repository)];
    const batches = await Promise.all(
      writers.map((writer, index) =>
        writer.writeBatch({ readings: [], rejects: index % 2 === 0 ? records : records.toReversed() }),
      ),
    );
    const anew = batches.flat().reduce((sum, batch) => sum + batch.quarantinedAnew, 0);
    expect(anew).to.equal(200);
    expect(await readRecords()).to.have.length(200);
    await Promise.all(others.map((each) => each.close()));
  });
});
