// EC2 slower than ingestion: what waits for it is bounded, and what is beyond goes to the ledger.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect } from 'chai';
import { unitsOf, type Reading } from '../support/readings.js';
import { GUIDE_TABLES } from '../../src/lib/decoders/guide-tables.js';
import type { CommittedBatch } from '../../src/lib/repository/write/batch.js';
import { DualWriteRepository } from '../../src/lib/repository/dual-write-repository.js';
import { PreparedPair } from '../support/backfilled.js';
import { eventually } from '../support/cli.js';

const BATCHES = 120;
const BATCH_READINGS = 40;
/** A tenth of what is written, about. */
const SHARE = 0.1;
const CONCURRENCY = 2;
const REASON = 'EC2 is slower than ingestion';

describe('an EC2 that is slower than ingestion', () => {
  let pair: PreparedPair;

  before(async () => {
    pair = await PreparedPair.open('slow secondary');
  });

  after(() => pair.close());

  it('makes batches go to the ledger with that reason, in bounded memory, and gets all of them afterwards', async () => {
    const sample = await bytesOfABatch(pair);
    const maxWaitingBytes = Math.round(BATCHES * sample * SHARE);
    const repository = await open(pair, maxWaitingBytes);
    const holder = await pair.there.connect();
    try {
      await holder.query('begin; lock table sensor_readings in access exclusive mode');
      const written = await writeAll(repository);
      const bytesPending = async (): Promise<number> => {
        const { pending } = await readLedger(pair);
        const batches = new Set(pending.map(({ batch }) => batch));
        return [...batches].reduce((sum, batch) => sum + (written.get(batch)?.bytes ?? 0), 0);
      };
      await eventually('what is beyond the bound is missed', async () => (await bytesPending()) <= maxWaitingBytes);
      expect(await bytesPending()).to.be.at.least(maxWaitingBytes - 2 * sample);
      const { missed } = await readLedger(pair);
      expect(
        missed.every(({ reason }) => reason === REASON),
        'the reason of each',
      ).to.equal(true);
      expect(missed.length).to.be.greaterThan(BATCHES / 2);
      collectGarbage();
      const alive = [...written.values()].filter(({ rows }) => rows.deref() !== undefined);
      const bytesAlive = alive.reduce((sum, { bytes }) => sum + bytes, 0);
      // A connection may still hold what it sent last.
      expect(bytesAlive, 'memory of batches').to.be.at.most(maxWaitingBytes + 2 * sample);
      expect(repository.breaker.state, 'EC2 has not failed').to.equal('closed');
      await holder.query('commit');
      await repository.idle();
      expect((await pair.ledger()).every(({ reason }) => reason === REASON)).to.equal(true);
      expect(await pair.backfill({ mode: 'ledger' })).to.include({ remainingGaps: 0 });
      const { local, ec2 } = await pair.contents();
      expect(local.sensor_readings).to.have.length((BATCHES + 1) * BATCH_READINGS);
      expect(ec2).to.deep.equal(local);
    } finally {
      await holder.query('rollback');
      holder.release();
      await repository.close();
    }
  });
});

interface Written {
  readonly bytes: number;
  readonly rows: WeakRef<CommittedBatch['rows']>;
}

async function open(pair: PreparedPair, maxWaitingBytes: number): Promise<DualWriteRepository> {
  return await DualWriteRepository.open({
    declared: GUIDE_TABLES,
    ...{ primary: pair.local, secondary: pair.ec2, concurrency: CONCURRENCY, maxWaitingBytes },
    retry: { retries: 3, delayMs: 20 },
    consumer: { host: 'test', pid: process.pid },
  });
}

/** Commits and dispatches one batch after the other, and lets go of it. */
async function writeAll(repository: DualWriteRepository): Promise<Map<string, Written>> {
  const written = new Map<string, Written>();
  for (let batch = 1; batch <= BATCHES; batch += 1) {
    for (const each of await repository.primary.write({ units: unitsOf(readings(batch)), rejects: [] })) {
      written.set(each.batchId!, { bytes: each.bytes, rows: new WeakRef(each.rows) });
      repository.secondary?.enqueue(each);
    }
  }
  return written;
}

async function bytesOfABatch(pair: PreparedPair): Promise<number> {
  const repository = await pair.openRepository();
  const [batch] = await repository.primary.write({ units: unitsOf(readings(0)), rejects: [] });
  repository.secondary?.enqueue(batch!);
  await repository.idle();
  await repository.close();
  return batch!.bytes;
}

interface Entry {
  readonly batch: string;
  readonly state: string;
  readonly reason: string | null;
}

async function readLedger(pair: PreparedPair): Promise<{ pending: Entry[]; missed: Entry[] }> {
  const { rows } = await pair.here.query<Entry>('select batch_id as batch, state, reason from sensorctl.ledger');
  const inState = (wanted: string): Entry[] => rows.filter(({ state }) => state === wanted);
  return { pending: inState('pending'), missed: inState('missed') };
}

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}

function readings(batch: number): Reading[] {
  return Array.from({ length: BATCH_READINGS }, (_, place) => ({
    table: 'sensor_readings',
    time: new Date(Date.UTC(2025, 6, 1) + (batch * BATCH_READINGS + place) * 1000).toISOString(),
    sensorId: `WX-${place}`,
    sensorType: 'weather',
    values: { value: JSON.stringify({ note: 'x'.repeat(1_000) }) },
  }));
}
