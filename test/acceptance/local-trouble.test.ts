import { execFile } from 'node:child_process';
import { mkdtemp, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { startPostgres } from '../../src/lib/sandbox/postgres.js';
import type { PostgresServer } from '../../src/lib/sandbox/postgres-server.js';
import { generateTelemetry } from '../../src/lib/telemetry/generate.js';
import { accountOn } from '../chaos/invariants.js';
import { eventually, Stage } from '../support/cli.js';
import { disposeAtEnd } from '../support/disposal.js';
import { seedOf } from '../support/seed.js';

const run = promisify(execFile);
const SEED = seedOf(5);
const COUNT = 300;
const ROLE = 'local_trouble';

describe('trouble on local', () => {
  let stage: Stage;
  let name: string;
  const sent: string[] = [];

  before(async () => {
    stage = await Stage.open('local trouble');
    await stage.run(['init']);
    name = stage.settings.TIMESCALE_DB!;
    await stage.local.query(`create role ${ROLE} login password '${ROLE}' in role pg_read_all_data, pg_write_all_data`);
    await stage.local.query(`grant usage on schema sensorctl to ${ROLE}`);
  });

  after(async () => {
    await stage.local.query(`drop owned by ${ROLE}; drop role ${ROLE}`);
    await stage.close();
  });

  async function countReadings(): Promise<number> {
    const { rows } = await stage.local.query<{ rows: string }>('select count(*) as rows from water_level_readings');
    return Number(rows[0]!.rows);
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
    const before = await countReadings();
    const bodies = [...generateTelemetry({ seed, count: COUNT })];
    sent.push(...bodies);
    await stage.send(bodies);
    await consumer.printed('nothing is acknowledged, receiving pauses', 2);
    expect(consumer.stderr).to.match(trouble.sqlstate);
    const { visible, inFlight } = await stage.queue.readState();
    expect(visible + inFlight, 'every message is still on the queue').to.equal(COUNT);
    expect(await countReadings()).to.equal(before);
    await trouble.end();
    await eventually('the queue is empty', async () => {
      const state = await stage.queue.readState();
      return state.visible + state.inFlight === 0;
    });
    consumer.kill('SIGTERM');
    const { code, stderr } = await consumer.wait();
    expect(code, stderr).to.equal(0);
    expect(await accountOn(stage.local, [stage.local], sent), `seed ${seed}`).to.deep.equal([]);
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
      const bodies = [...generateTelemetry({ seed: SEED, count: 4 * COUNT })];
      await full.send(bodies);
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
      expect(await accountOn(full.local, [full.local], bodies), `seed ${SEED}`).to.deep.equal([]);
    });
  });
});

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
