// The database of a real installation goes to EC2 and back by the runbook, while its other programs write all the time:
// nineteen tables in three schemas, most of them hypertables, some compressed, some without a key, some with duplicates.
import path from 'node:path';
import { expect } from 'chai';
import type pg from 'pg';
import { generateTelemetry } from '../../src/lib/decoders/generate.js';
import type { BackfillReport } from '../../src/lib/operations/backfill/backfill-report.js';
import type { CompareReport } from '../../src/lib/operations/compare/compare-report.js';
import type { CutoverReport } from '../../src/lib/operations/cutover/cutover-report.js';
import { eventually, Stage, timescaleServers, type CliResult, type RunningCli } from '../support/cli.js';
import { compareDumps, dumpSchema, readTimescaleDb } from '../support/dumps.js';
import { buildInstallation, buildPlainPart, createInstallationRoles } from '../support/installation.js';
import { Programs } from '../support/installation-programs.js';
import { INSTALLED_TABLES } from '../support/installed-tables.js';
import { seedOf } from '../support/seed.js';
import { findTimescaleBinDir } from '../support/servers.js';

/** Of the installation's rows and chunks. */
const SIZE = { scale: 0.05, days: 15 };
/** A loaded machine takes its time. */
const TIMEOUT_MS = 120_000;
const NAMES = INSTALLED_TABLES.map(({ name }) => name);

const EMPTY = ['an EC2 that holds nothing', () => Promise.resolve()] as const;
const PART = ['an EC2 that holds a part of it as plain tables', buildPlainPart] as const;

for (const [what, prepareEc2] of [EMPTY, PART])
  describe(`acceptance: the installation's day, with ${what}`, function () {
    this.timeout(3 * TIMEOUT_MS);
    this.slow(60_000);
    let stage: Stage;
    let programs: Programs;
    let consumer: RunningCli | undefined;
    let sent = 0;

    before(async function () {
      stage = await Stage.open('installation day', await timescaleServers(this));
      await buildInstallation(stage.local, { timescaleDb: true, ...SIZE, seed: seedOf(1) });
      await createInstallationRoles(stage.ec2);
      await prepareEc2(stage.ec2);
      programs = new Programs(stage.connections);
      programs.start();
    });

    after(async () => {
      consumer?.kill('SIGKILL');
      // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- where there is no TimescaleDB
      await programs?.stop();
      // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- the same
      await stage?.close();
    });

    const run = async (...args: string[]): Promise<CliResult> => await (await stage.start(args, {}, TIMEOUT_MS)).wait();

    /** What `--json` prints of a command that ends with 0. */
    async function json<Report>(...args: string[]): Promise<Report> {
      const { stdout, stderr, code } = await run(...args, '--json');
      expect(code, `sensorctl ${args.join(' ')}\n${stdout.slice(0, 5_000)}\n${stderr}`).to.equal(0);
      return JSON.parse(stdout) as Report;
    }

    const cutover = async (...flags: string[]): Promise<CutoverReport> => await json('cutover', ...flags, '--yes');

    /** Telemetry arrives on the queue, and is stored. */
    async function ingest(): Promise<void> {
      await stage.send(generateTelemetry({ seed: (sent += 1), count: 40, startMicros: (Date.now() - 60_000) * 1000 }));
      await eventually('the queue is empty', async () => {
        const { visible, inFlight } = await stage.queue.readState();
        return visible + inFlight === 0;
      });
    }

    /** Each program commits so many turns more. */
    async function programsWrite(turns: number): Promise<void> {
      const wanted = programs.leastWritten + turns;
      await eventually('every program has written', () => Promise.resolve(programs.leastWritten >= wanted));
    }

    it('init brings the schema, and gives the reading tables their keys once their chunks are decompressed', async () => {
      const first = await run('init', '--yes');
      expect(first.code, first.stderr).to.equal(1);
      expect(first.stdout).not.to.match(/Not brought|Left out/);
      expect(first.stdout).to.match(
        /water_level_readings has no unique key[^]*Next: sensorctl init --side local --add-keys/,
      );
      const refused = await run('init', '--side', 'local', '--add-keys');
      const [, decompress = ''] =
        /on local: (select decompress_chunk.*?); then sensorctl init/.exec(refused.stdout) ?? [];
      await stage.local.query(decompress);
      expect((await run('init', '--add-keys', '--yes')).code).to.equal(0);
      expect(await run('verify-schema')).to.include({ code: 0 });
    });

    it('phase 1: every table is tracked, copied, and proven equal beside a consumer', async () => {
      await json('init', '--track', '--yes');
      expect(await cutover('--phase', '1')).to.include({ phase: 1, changed: true });
      consumer = await stage.start(['consume'], {}, 5 * TIMEOUT_MS);
      await ingest();
      const { remainingGaps, failed } = await json<BackfillReport>('backfill', '--all', '--full');
      expect({ remainingGaps, failed }).to.deep.equal({ remainingGaps: 0, failed: [] });
      const compared = await json<CompareReport>('compare', '--all');
      expect(compared.verdict).to.equal('identical');
      expect(compared.tables.map(({ table }) => table)).to.have.length(NAMES.length);
    });

    it('phase 2, and phase 3: local refuses the programs from the switch on, and names EC2', async () => {
      expect(await cutover('--phase', '2')).to.include({ phase: 2, changed: true });
      await ingest();
      await programsWrite(4);
      await json('monitor', '--once');
      await json('compare', '--window', '2h');
      expect(programs.refusals).to.deep.equal([]);
      const switched = await cutover('--phase', '3', '--min-soak', '0s');
      expect(switched).to.include({ phase: 3, primary: 'ec2', changed: true });
      expect(switched.gates.find(({ name }) => name === 'compare')?.detail).to.match(
        /^19 tables identical, .*verified as it was repaired: other programs' changes in /,
      );
      await eventually('each program was refused', () => Promise.resolve(programs.eachWasRefused));
      expect(new Set(programs.refusals)).to.deep.equal(
        new Set(['sensorctl: EC2 is the primary of this database, and this is local: write to EC2']),
      );
      await programs.expectKept(stage.ec2);
    });

    it('phase 3: programs and consumers write to EC2; the way back brings it all to local', async () => {
      programs.point('ec2');
      await programsWrite(4);
      await ingest();
      const back = await cutover('--rollback');
      expect(back).to.include({ phase: 2, primary: 'local', changed: true });
      programs.point('local');
      await programsWrite(2);
    });

    it('at the end nothing of sensorctl is left, and both sides are equal: rows by brute force, schemas by pg_dump', async () => {
      await programs.stop();
      await eventually('the ledger is empty', async () => {
        const { rows } = await stage.local.query('select from sensorctl.ledger limit 1');
        return rows.length === 0;
      });
      consumer!.kill('SIGTERM');
      expect((await consumer!.wait()).code).to.equal(0);
      expect(await json<CompareReport>('compare', '--all')).to.include({ verdict: 'identical' });
      await programs.expectKept(stage.local);
      await expectSameRows();
      const removed = await run('init', '--remove', '--abandon', '--yes');
      expect(removed.code, removed.stdout).to.equal(0);
      await expectSameSchema();
      expect(programs.faults).to.deep.equal([]);
    });

    async function expectSameRows(): Promise<void> {
      for (const name of NAMES) {
        const read = async (pool: pg.Pool): Promise<string[]> => {
          const row = `(to_jsonb(stored) - $1::text[])::text as row`;
          const { rows } = await pool.query<{ row: string }>(`select ${row} from ${name} as stored`, [
            KEPT_BY_EACH[name] ?? [],
          ]);
          return rows.map(({ row }) => row).sort();
        };
        const [here = [], there = []] = await Promise.all([stage.local, stage.ec2].map(read));
        expect(here.length, name).to.be.greaterThan(0);
        const alone = [here.filter((row) => !there.includes(row)), there.filter((row) => !here.includes(row))];
        expect(alone, name).to.deep.equal([[], []]);
        // Equal rows as often as on local.
        expect(there.join('\n') === here.join('\n'), name).to.equal(true);
      }
    }

    async function expectSameSchema(): Promise<void> {
      const program = path.join((await findTimescaleBinDir())!, 'pg_dump');
      const { local, ec2 } = stage.connections;
      const [here, there] = await Promise.all(
        [local, ec2].map((each) => dumpSchema(program, { ...each, password: each.password ?? '' })),
      );
      expect(here!.size).to.be.greaterThan(120);
      expect([...here!.keys(), ...there!.keys()].filter((key) => key.includes('sensorctl'))).to.deep.equal([]);
      const differing = compareDumps(here!, there!).map(({ key }) => key);
      expect(differing.filter((key) => !KNOWN_TO_DIFFER.includes(key))).to.deep.equal([]);
      expect(await readTimescaleDb(stage.ec2)).to.deep.equal(await readTimescaleDb(stage.local));
    }
  });

/** Each side has its own, as its consumers have always written it. */
const KEPT_BY_EACH: Readonly<Record<string, readonly string[]>> = {
  'public.sensor_registry': ['created_at', 'updated_at'],
};

const KNOWN_TO_DIFFER = [
  // A check whose text the server prints otherwise once it has read it; both mean the same.
  'TABLE public weather_stations',
  // What the restored dump has left on EC2.
  'FUNCTION public insert_blocker()',
];
