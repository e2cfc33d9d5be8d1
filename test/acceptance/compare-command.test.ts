import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import type { CompareReport } from '../../src/lib/operations/compare/compare-report.js';
import { eventually, runCli, Stage, type CliResult, type CliSettings } from '../support/cli.js';
import { TcpProxy } from '../support/proxy.js';

const FROM = '2025-07-01T00:00:00.000000Z';
const TO = '2025-07-11T00:00:00.000000Z';
const RANGE = ['--from', FROM, '--to', TO];
const WATER = 'water_level_readings';
/** What docs/json.md promises of each table, in its order. */
const COUNTS = ['missingOnEc2', 'missingOnLocal', 'different', 'pending', 'pendingExtra', 'knownGap', 'unexplained'];
const DEAD_SLOW_MS = 100;

const FILL = `insert into ${WATER} (time, sensor_id, level_cm)
  select '${FROM}'::timestamptz + n * interval '10 minutes', 'S' || n % 7, n % 20 from generate_series(0, 1439) as n`;

describe('compare', function () {
  this.timeout(60_000);
  let stage: Stage;
  let network: TcpProxy;
  let behind: CliSettings;

  before(async () => {
    stage = await Stage.open('compare command');
    await stage.runJson(['init']);
    network = await TcpProxy.open({ host: '127.0.0.1', port: Number(stage.settings.EC2_DB_PORT) });
    behind = { EC2_DB_HOST: network.host, EC2_DB_PORT: String(network.port) };
  });

  after(async () => {
    network.close();
    await stage.close();
  });

  beforeEach(async () => {
    await network.pass();
    await stage.empty();
    await stage.local.query('truncate sensorctl.comparison');
    await Promise.all([stage.local, stage.ec2].map((pool) => pool.query(FILL)));
  });

  async function damage(): Promise<void> {
    await stage.ec2.query(`delete from ${WATER} where time = '2025-07-01T00:10Z'`);
    await stage.ec2.query(`update ${WATER} set level_cm = 21 where time = '2025-07-05T12:00Z'`);
    await stage.ec2.query(`insert into ${WATER} (time, sensor_id, level_cm) values ('2025-07-10T23:59Z', 'GHOST', 1)`);
  }

  async function runJson(args: readonly string[], settings: CliSettings = {}): Promise<[CompareReport, CliResult]> {
    const result = await stage.run(['compare', ...args, '--json'], settings);
    return [JSON.parse(result.stdout) as CompareReport, result];
  }

  describe('the result', () => {
    it('has the shape of docs/json.md, and exit code 0, where both sides are equal', async () => {
      const [report, { code, stderr }] = await runJson(RANGE);
      expect(code, stderr).to.equal(0);
      expect(stderr, 'no terminal, no spinner').to.equal('');
      expect(report).to.include({ verdict: 'identical' });
      expect(report.window).to.deep.equal({ from: FROM, to: TO });
      expect(report.tables.map(({ table }) => table)).to.deep.equal([
        ...[WATER, 'moisture_readings', 'sensor_readings', 'sensor_registry'],
      ]);
      for (const each of report.tables)
        expect(Object.keys(each)).to.deep.equal(['table', 'local', 'ec2', ...COUNTS, 'whole']);
      const side = { rows: 1440, maxTime: '2025-07-10T23:50:00.000000Z' };
      const none = Object.fromEntries(COUNTS.map((count) => [count, 0]));
      expect(report.tables[0]).to.deep.equal({ table: WATER, local: side, ec2: side, ...none, whole: false });
    });

    it('names each row that differs, with exit code 1', async () => {
      await damage();
      const [report, { code }] = await runJson(RANGE);
      expect(code).to.equal(1);
      expect(report.verdict).to.equal('different');
      expect(report.tables.find(({ table }) => table === WATER)).to.deep.include({
        ...{ missingOnEc2: 1, missingOnLocal: 1, different: 1, pending: 0, knownGap: 0, unexplained: 3 },
        local: { rows: 1440, maxTime: '2025-07-10T23:50:00.000000Z' },
        ec2: { rows: 1440, maxTime: '2025-07-10T23:59:00.000000Z' },
      });
      expect(report.differences).to.have.deep.members([
        {
          ...{ table: WATER, kind: 'missing on ec2', class: 'unexplained', columns: {} },
          key: { time: '2025-07-01T00:10:00.000000Z', sensor_id: 'S1' },
        },
        {
          ...{ table: WATER, kind: 'different', class: 'unexplained' },
          key: { time: '2025-07-05T12:00:00.000000Z', sensor_id: 'S4' },
          columns: { level_cm: { local: '8', ec2: '21' } },
        },
        {
          ...{ table: WATER, kind: 'missing on local', class: 'unexplained', columns: {} },
          key: { time: '2025-07-10T23:59:00.000000Z', sensor_id: 'GHOST' },
        },
      ]);
    });

    it('is written whole to --output, whatever --limit leaves of it', async () => {
      await damage();
      const directory = await mkdtemp(path.join(tmpdir(), 'sensorctl-compare-'));
      const file = path.join(directory, 'differences.jsonl');
      const [report] = await runJson([...RANGE, '--limit', '1', '--output', file]);
      const lines = (await readFile(file, 'utf8')).trimEnd().split('\n');
      await rm(directory, { recursive: true });
      expect(report.differences).to.have.length(1);
      expect(lines.map((line) => (JSON.parse(line) as { kind: string }).kind)).to.have.members([
        ...['missing on ec2', 'different', 'missing on local'],
      ]);
      expect(JSON.parse(lines[0]!)).to.deep.equal(report.differences[0]);
    });

    it('is for a person a table, a strip that shows where, each row, and the next command', async () => {
      await damage();
      const { stdout, stderr, code } = await stage.run(['compare', ...RANGE, '--limit', '2'], { FORCE_COLOR: '1' });
      expect(code).to.equal(1);
      expect(stderr).to.equal('');
      expect(stdout).not.to.include('\u001b');
      expect(stdout).to.match(/water_level_readings │ local │ 1,440 │ 2025-07-10 23:50:00\.000000 │\n/);
      expect(stdout).to.match(/ │ ec2 {3}│ 1,440 │ 2025-07-10 23:59:00\.000000 │\n/);
      const strip = /water_level_readings \s*\|(?<cells>[^|]+)\|/.exec(stdout)?.groups?.cells ?? '';
      expect(
        Array.from(strip)
          .map((cell, index) => (cell === '·' ? -1 : index))
          .filter((index) => index >= 0),
      ).to.deep.equal([...[0, 24, 53]]);
      expect(stdout).to.match(/2025-07-05T12:00:00\.000000Z S4: level_cm is 8 on local, 21 on EC2/);
      expect(stdout).to.match(/and 1 more; --output FILE writes them all/);
      expect(stdout).to.match(
        /Different: [^\n]*\nNext: sensorctl compare --from \S+ --to \S+ --table water_level_readings --repair/,
      );
    });

    it('tells a person what to do about known gaps, and that nothing is to be done about equal sides', async () => {
      await stage.ec2.query(`delete from ${WATER} where time = '2025-07-01T00:10Z'`);
      await stage.local.query(`insert into sensorctl.ledger (batch_id, consumer_id, table_name, times, readings, state)
        values (gen_random_uuid(), gen_random_uuid(), '${WATER}', '{[2025-07-01T00:10Z,2025-07-01T00:11Z)}', 1, 'missed')`);
      const gap = await stage.run(['compare', ...RANGE]);
      expect(gap.code).to.equal(1);
      expect(gap.stdout).to.match(/Next: sensorctl backfill {4}# repairs the gaps that the ledger knows/);
      const equal = await stage.run(['compare', '--from', '2025-07-02', '--to', '2025-07-03']);
      expect(equal).to.include({ code: 0, stderr: '' });
      expect(equal.stdout)
        .to.match(/Identical: EC2 holds what local holds; 4 tables compared\.\n$/)
        .and.not.to.match(/Next:/);
    });
  });

  it('of a table without a time says that both sides are equal, not that neither holds a row', async () => {
    const sensor = `insert into sensor_registry (sensor_id, sensor_type) values ('S0', 'moisture')`;
    await Promise.all([stage.local, stage.ec2].map((pool) => pool.query(sensor)));
    const equal = await stage.run(['compare', '--table', 'sensor_registry']);
    expect(equal.stdout).to.match(/Identical: EC2 holds what local holds; 1 table compared\.\n$/);
    const empty = await stage.run(['compare', '--table', 'moisture_readings']);
    expect(empty.stdout).to.match(/Identical: neither side holds a row in this range; 1 table compared\.\n$/);
  });

  it('advises to repair the tables that were asked for, by names that a shell takes as they are', async () => {
    const create = `create table "it's Odd" (id integer primary key)`;
    await Promise.all([stage.local, stage.ec2].map((pool) => pool.query(create)));
    await stage.local.query(`insert into "it's Odd" values (1)`);
    await stage.ec2.query(`insert into sensor_registry (sensor_id, sensor_type) values ('S0', 'moisture')`);
    const { stdout } = await stage.run(['compare', '--window', '1h', '--table', `"it's Odd"`]);
    const [, advised] = /^Next: sensorctl (.*) {4}#/m.exec(stdout) ?? [];
    expect(advised, stdout).to.equal(String.raw`compare --all --table 'it'\''s Odd' --repair`);
    const options = {
      program: ['sh', '-c', `exec node bin/run.js ${advised ?? ''}`] as const,
      settings: stage.settings,
    };
    const { code, stderr } = await runCli([], options);
    expect(code, stderr).to.equal(0);
    await Promise.all([stage.local, stage.ec2].map((pool) => pool.query(`drop table "it's Odd"`)));
  });

  it('with --repair says what to do next once, at its end', async () => {
    await damage();
    const { code, stdout } = await stage.run(['compare', ...RANGE, '--repair']);
    expect(code, stdout).to.equal(1);
    expect(stdout.match(/^Next: .*$/gm), stdout).to.deep.equal([stdout.trimEnd().split('\n').at(-1)]);
    expect(stdout).to.match(/\nNext: sensorctl backfill --from \S+ --to \S+ --direction ec2-to-local /);
  });

  it('repairs several ranges that were found out of the order of time, the newer one first', async () => {
    // The older bucket holds too many rows to be compared one by one: it is cut up, while the newer one is looked at.
    await stage.local.query(`insert into ${WATER} (time, sensor_id, level_cm)
      select timestamptz '2025-07-02T00:00:30Z' + n * interval '1 second', 'MANY', 1 from generate_series(0, 4999) as n`);
    await stage.ec2.query(`delete from ${WATER} where time > '2025-07-09'`);
    const [report, { code, stderr }] = await runJson([...RANGE, '--bucket', '1d', '--repair']);
    expect(code, stderr).to.equal(0);
    expect(report).to.include({ verdict: 'identical' });
    const [again] = await runJson(RANGE);
    expect(again.verdict).to.equal('identical');
  });

  describe('an error', () => {
    for (const [args, message] of [
      [['--window', '1 fortnight'], /--window is not a duration: 1 fortnight\nNext: .*--window 90s/],
      [['--settle', '-1s'], /--settle is not a duration: -1s\nNext: .*--settle 90s/],
      [['--bucket', '0s'], /--bucket 0s is too short\nNext: give at least 1ms/],
      [['--from', 'yesterday'], /--from is not a time: yesterday\nNext: .*--from 2025-07-01T06:00:00Z/],
      [['--from', TO, '--to', FROM], /--to is not after --from\nNext: ranges are \[from, to\)/],
      [['--from', FROM, '--window', '1h'], /--window[^\n]*\nNext: sensorctl compare --help/],
      [['--all', '--to', TO], /--to[^\n]*\nNext: sensorctl compare --help/],
      [['--limit', 'many'], /limit|integer[^\n]*\nNext: sensorctl compare --help/],
      [['--jobs', '9'], /9[^\n]*\nNext: sensorctl compare --help/],
      [['--table', 'no_such'], /neither side has the table no_such\nNext: check the names given with --table/],
      [['--output', '/no/such/folder/file'], /cannot be written: .*\nNext: give --output another path/],
      [
        ['--resume', '--all'],
        /no comparison of this range and these tables was interrupted in the last day\nNext: run it again without --resume/,
      ],
    ] as const) {
      it(`of ${args.join(' ')} says what is wrong and what to do, with exit code 2`, async () => {
        const { code, stderr, stdout } = await stage.run(['compare', ...args]);
        expect(stderr).to.match(message);
        expect({ code, stdout }).to.deep.equal({ code: 2, stdout: '' });
      });
    }

    it('of a full disk under --output says so, with exit code 2', async function () {
      if (process.platform !== 'linux') this.skip();
      await damage();
      const { code, stderr } = await stage.run(['compare', ...RANGE, '--output', '/dev/full']);
      expect(stderr).to.match(
        /Error: \/dev\/full cannot be written: no space left on device\nNext: give --output another path/,
      );
      expect(code).to.equal(2);
    });

    for (const command of [
      `compare ${RANGE.join(' ')}`,
      'init',
      'init --dry-run',
      'init --track --yes',
      'init --remove --yes --abandon',
      'verify-schema',
      'cutover --phase 1 --yes',
      'cutover --phase 1 --dry-run',
      'consume --dual-write --drain',
      'quarantine retry --all',
      'backfill',
      'backfill --all --dry-run',
      'backfill --follow',
    ]) {
      it(`\`${command}\` of two sides that are one database says so`, async () => {
        const same = {
          EC2_DB_HOST: 'TIMESCALE_HOST',
          EC2_DB_PORT: 'TIMESCALE_PORT',
          EC2_DB_NAME: 'TIMESCALE_DB',
        } as const;
        const settings = { ...same, EC2_DB_USER: 'TIMESCALE_USER', EC2_DB_PASSWORD: 'TIMESCALE_PASSWORD' };
        const { code, stderr } = await stage.run(command.split(' '), {
          ENABLE_DUAL_WRITE: 'true',
          ...Object.fromEntries(Object.entries(settings).map(([name, from]) => [name, stage.settings[from]])),
        });
        expect(stderr).to.match(
          /local and EC2 are one and the same database\nNext: check the TIMESCALE_ and EC2_DB_ settings/,
        );
        expect(code).to.equal(2);
      });
    }

    it('leaves what --output held before', async () => {
      const directory = await mkdtemp(path.join(tmpdir(), 'sensorctl-compare-'));
      const file = path.join(directory, 'differences.jsonl');
      await writeFile(file, 'of yesterday');
      const { code } = await stage.run(['compare', '--table', 'no_such', '--output', file]);
      const content = await readFile(file, 'utf8');
      await rm(directory, { recursive: true });
      expect({ code, content }).to.deep.equal({ code: 2, content: 'of yesterday' });
    });

    it('of a table that EC2 lacks names side and next command, and holds up no other', async () => {
      await stage.ec2.query('alter table moisture_readings rename to elsewhere');
      const { code, stdout } = await stage.run(['compare', ...RANGE]);
      await stage.ec2.query('alter table elsewhere rename to moisture_readings');
      expect(stdout)
        .to.match(/Not compared: moisture_readings: is missing on EC2 \(next: sensorctl verify-schema\)/)
        .and.to.match(/Left out: elsewhere \(only EC2 has it\)/)
        .and.to.match(/Not proven: 1 table could not be compared; 3 tables compared, 1 left out\.\n$/);
      expect(code).to.equal(1);
    });

    it('of an EC2 that is down names EC2, not local', async () => {
      network.refuse();
      const { code, stderr } = await stage.run(['compare', ...RANGE], behind);
      expect(stderr).to.match(/Error: the EC2 database at .* failed: .*ECONNREFUSED.*\nNext: .*EC2_DB_HOST/);
      expect(code).to.equal(3);
    });

    it('of an EC2 that does not answer names EC2, within the time it takes to connect', async () => {
      network.blackHole();
      const { code, stderr, stdout } = await stage.run(['compare', ...RANGE, '--json'], behind);
      expect(stderr).to.match(/Error: the EC2 database at .* failed: .*\nNext: .*EC2_DB_HOST/);
      expect(JSON.parse(stdout)).to.include({ exitCode: 3 });
      expect(code).to.equal(3);
    });

    it('of a local that refuses the password names local', async () => {
      const { code, stderr } = await stage.run(['compare', ...RANGE], { TIMESCALE_USER: 'nobody_here' });
      expect(stderr).to.match(/Error: the local database at .* failed: .*\nNext: check TIMESCALE_USER/);
      expect(code).to.equal(3);
    });
  });

  describe('a comparison that ends before its time', () => {
    /** A minute a digest, 500 a statement, over a slow network: 29 segments of half a second and more. */
    const SLOW = ['--all', '--bucket', '1m'];

    /** Starts a long comparison, does something once it has come some way, and returns how it ended. */
    async function cutOff(work: (pid: number) => Promise<void> | void): Promise<CliResult> {
      network.delay(DEAD_SLOW_MS);
      const running = await stage.start(['compare', ...SLOW], behind);
      await eventually('the comparison has saved how far it has come', async () => (await readFrontier()) !== null);
      await work(running.pid!);
      const result = await running.wait();
      await network.pass();
      return result;
    }

    async function readFrontier(): Promise<string | null> {
      const { rows } = await stage.local.query<{ frontier: string | null }>(
        `select progress #>> '{tables,${WATER},scan,frontier}' as frontier from sensorctl.comparison`,
      );
      return rows[0]?.frontier ?? null;
    }

    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      it(`by ${signal} ends with 130, and is resumed where it was: its verdict is that of one without a break`, async () => {
        await damage();
        const [expected] = await runJson(SLOW);
        await stage.local.query('truncate sensorctl.comparison');
        const { code, stdout, stderr } = await cutOff((pid) => void process.kill(pid, signal));
        expect({ code, stdout }).to.deep.equal({ code: 130, stdout: '' });
        expect(stderr).to.match(/Stopping: finishing what is in hand/);
        expect(stderr).to.match(
          /stopped before it had a verdict\nNext: the same command with --resume goes on from here/,
        );
        const [resumed, { code: resumedCode }] = await runJson([...SLOW, '--resume']);
        expect(resumedCode).to.equal(1);
        expect(resumed.resumedFrom).to.match(/^\d{4}-\d\d-\d\dT.*Z$/);
        expect({ ...resumed, resumedFrom: null }).to.deep.equal(expected);
      });
    }

    it('is resumed by one process at a time', async () => {
      await cutOff((pid) => void process.kill(pid, 'SIGKILL'));
      const holder = await stage.local.connect();
      await holder.query(`select pg_advisory_lock(hashtextextended('sensorctl.comparison ' || comparison_id, 0))
        from sensorctl.comparison where finished_at is null`);
      const { code, stderr } = await stage.run(['compare', ...SLOW, '--resume']);
      holder.release(true);
      expect(stderr).to.match(/another process works on this comparison\nNext: wait for it/);
      expect(code).to.equal(4);
    });

    it('by kill -9 is resumed too: what it had compared is not compared again', async () => {
      const { code } = await cutOff((pid) => void process.kill(pid, 'SIGKILL'));
      expect(code).to.equal(null);
      await damage(); // also after the newest row that there was when it began
      const [resumed] = await runJson([...SLOW, '--resume']);
      expect(resumed.differences.map(({ kind }) => kind)).to.deep.equal(['different']);
      const again = await stage.run(['compare', ...SLOW, '--resume']);
      expect(again.stderr).to.match(/no comparison of this range and these tables was interrupted in the last day\n/);
    });

    it('since EC2 went down names EC2, with exit code 3, and can be resumed', async () => {
      const { code, stderr } = await cutOff(() => network.refuse());
      expect(stderr).to.match(/Error: the EC2 database at .* failed: .*\nNext: /);
      expect(code).to.equal(3);
      const [resumed] = await runJson([...SLOW, '--resume']);
      expect(resumed.verdict).to.equal('identical');
    });

    it('is not resumed by one of another scope, nor once a later one of the same has ended', async () => {
      await cutOff((pid) => void process.kill(pid, 'SIGINT'));
      const other = await stage.run(['compare', ...RANGE, '--resume']);
      expect(other.stderr).to.match(/no comparison of this range and these tables was interrupted in the last day\n/);
      await runJson(['--all']);
      const stale = await stage.run(['compare', '--all', '--resume']);
      expect(stale.stderr).to.match(/no comparison of this range and these tables was interrupted in the last day\n/);
      expect([other.code, stale.code]).to.deep.equal([2, 2]);
    });

    it('with a window is resumed with that window', async () => {
      await stage.local.query(`update ${WATER} set time = now() - ('${TO}'::timestamptz - time) where true`);
      network.delay(DEAD_SLOW_MS);
      const args = ['--window', '10d', '--bucket', '1m'];
      const running = await stage.start(['compare', ...args], behind);
      await eventually('it has saved its window', async () => (await readFrontier()) !== null);
      running.kill('SIGINT');
      await running.wait();
      await network.pass();
      const { rows } = await stage.local.query<{ window: { from: number; to: number } }>(
        "select progress -> 'window' as window from sensorctl.comparison",
      );
      const [resumed] = await runJson([...args, '--resume']);
      expect(Date.parse(resumed.window.to!)).to.equal(Math.floor(rows[0]!.window.to / 1000));
    });
  });
});
