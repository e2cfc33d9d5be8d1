import { execFile } from 'node:child_process';
import { mkdtemp, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { startPostgres } from '../../src/lib/sandbox/postgres.js';
import type { PostgresServer } from '../../src/lib/sandbox/postgres-server.js';
import { eventually, REPOSITORY, Stage } from '../support/cli.js';
import { disposeAtEnd } from '../support/disposal.js';
import { grantsOf } from '../support/documented-grants.js';
import { seedOf } from '../support/seed.js';

const run = promisify(execFile);
const SEED = seedOf(5);
const COUNT = 300;
const ROLE = 'local_trouble';

describe('trouble on local', () => {
  let stage: Stage;
  let name: string;

  before(async () => {
    stage = await Stage.open('local trouble');
    await stage.run(['init']);
    name = stage.settings.TIMESCALE_DB!;
    await stage.local.query(`create role ${ROLE} login password '${ROLE}'`);
    await stage.local.query(await grantsOf(REPOSITORY, 'either side: consume', ROLE));
  });

  after(async () => {
    await stage.local.query(`drop owned by ${ROLE}; drop role ${ROLE}`);
    await stage.close();
  });

  async function storedOf(seed: number): Promise<string[]> {
    return await storedOn(stage, seed);
  }

  /** What happens while the trouble lasts, and whether all is well after it. */
  async function survives(
    trouble: { begin: () => Promise<void>; sqlstate: RegExp; end: () => Promise<void> },
    seed: number,
  ) {
    const login = { TIMESCALE_USER: ROLE, TIMESCALE_PASSWORD: ROLE };
    const consumer = await stage.start(['consume'], login);
    await consumer.printed('📝 Initializing');
    await eventually('it is registered', async () => {
      const { rowCount } = await stage.local.query('select from sensorctl.consumer where ended_at is null');
      return rowCount === 1;
    });
    await trouble.begin();
    await stage.send(readingsOf(seed));
    await consumer.printed('nothing is acknowledged, receiving pauses', 2);
    expect(consumer.stderr).to.match(trouble.sqlstate);
    const { visible, inFlight } = await stage.queue.readState();
    expect(visible + inFlight, 'every message is still on the queue').to.equal(COUNT);
    expect(await storedOf(seed)).to.deep.equal([]);
    await trouble.end();
    await eventually('the queue is empty', async () => {
      const state = await stage.queue.readState();
      return state.visible + state.inFlight === 0;
    });
    consumer.kill('SIGTERM');
    const { code, stderr } = await consumer.wait();
    expect(code, stderr).to.equal(0);
    expect(await storedOf(seed)).to.deep.equal(keysOf(seed));
  }

  async function disconnect(): Promise<void> {
    await stage.local.query(`select pg_terminate_backend(pid) from pg_stat_activity where usename = '${ROLE}'`);
  }

  it('read-only: nothing is acknowledged, and consumption goes on by itself', () =>
    survives(
      {
        begin: async () => {
          await stage.local.query(`alter role ${ROLE} set default_transaction_read_only = on`);
          await disconnect();
        },
        sqlstate: /25006/,
        end: async () => {
          await stage.local.query(`alter role ${ROLE} reset default_transaction_read_only`);
          await disconnect();
        },
      },
      SEED,
    ));

  it('out of connections: nothing is acknowledged, and consumption goes on by itself', () =>
    survives(
      {
        begin: async () => {
          await stage.local.query(`alter database "${name}" connection limit 0`);
          await disconnect();
        },
        sqlstate: /53300/,
        end: async () => {
          await stage.local.query(`alter database "${name}" connection limit -1`);
        },
      },
      SEED + 1,
    ));

  describe('disk full', () => {
    let mount: string;
    let local: PostgresServer;
    let full: Stage;

    before(async function () {
      const mounted = await mountSmallDisk();
      if (mounted === undefined) {
        for (const test of this.test?.parent?.tests ?? []) test.title += ' (skipped: no right to mount a small disk)';
        this.skip();
      }
      mount = mounted;
      disposeAtEnd(async () => {
        await run('umount', [mount]);
        await rmdir(mount);
      });
      local = await startPostgres({
        dataDir: path.join(mount, 'data'),
        settings: { max_wal_size: '32MB', min_wal_size: '32MB' },
      });
      disposeAtEnd(() => local.dispose());
      full = await Stage.open('disk full', { local });
      await full.run(['init']);
    });

    after(async () => {
      await full.close();
    });

    it('nothing is acknowledged, and consumption goes on by itself', async () => {
      const ballast = path.join(mount, 'ballast');
      const consumer = await full.start(['consume']);
      await consumer.printed('📝 Initializing');
      await run('dd', ['if=/dev/zero', `of=${ballast}`, 'bs=64k']).catch(() => undefined);
      await full.send(readingsOf(SEED, 4 * COUNT));
      await consumer.printed('nothing is acknowledged, receiving pauses', 1);
      const { visible, inFlight } = await full.queue.readState();
      expect(visible + inFlight).to.be.greaterThan(0);
      await run('rm', [ballast]);
      if (local.pid === undefined) await local.start();
      await eventually('the queue is empty', async () => {
        const state = await full.queue.readState();
        return state.visible + state.inFlight === 0;
      });
      consumer.kill('SIGTERM');
      expect((await consumer.wait()).code).to.equal(0);
      expect(await storedOn(full, SEED)).to.deep.equal(keysOf(SEED, 4 * COUNT));
    });
  });
});

/** Messages of one reading each, of sensors that are named by the seed. */
function readingsOf(seed: number, count = COUNT): string[] {
  return Array.from({ length: count }, (_, place) =>
    JSON.stringify({
      ...{ timestamp: '2025-07-01T00:00:05Z', sensorType: 'water-level', sensorId: `trouble-${seed}-${place}` },
      data: { level: (place % 100) / 4, timestamp: 1_751_328_000_000 + place },
    }),
  );
}

/** What must be stored of them: sensor, time in ms since 1970, level. */
function keysOf(seed: number, count = COUNT): string[] {
  return Array.from(
    { length: count },
    (_, place) => `trouble-${seed}-${place} ${1_751_328_000_000 + place} ${((place % 100) / 4).toFixed(2)}`,
  ).sort();
}

async function storedOn({ local }: Stage, seed: number): Promise<string[]> {
  const { rows } = await local.query<{ row: string }>(
    `select sensor_id || ' ' || (extract(epoch from time) * 1000)::bigint || ' ' || level_cm as row
     from water_level_readings where sensor_id like $1`,
    [`trouble-${seed}-%`],
  );
  return rows.map(({ row }) => row).sort();
}

/** A file system of 160 MB; undefined where this process may not mount one. */
async function mountSmallDisk(): Promise<string | undefined> {
  const directory = await mkdtemp(path.join(tmpdir(), 'sensorctl-disk-'));
  try {
    await run('mount', ['-t', 'tmpfs', '-o', 'size=160m,mode=755', 'none', directory]);
    return directory;
  } catch {
    await rmdir(directory);
    return undefined;
  }
}
