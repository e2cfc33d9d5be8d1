// The tests of the tests: what hangs is ended and named, and what a suite started goes with it, however it ends.
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { expect } from 'chai';
import { isAlive } from '../../src/lib/sandbox/processes.js';
import { makeTemporaryDirectory, removeTemporaryDirectory } from '../../src/lib/sandbox/keeper.js';
import type { Left } from '../fixtures/leaves-servers.js';
import { eventually, REPOSITORY } from '../support/cli.js';
import { disposeAtEnd } from '../support/disposal.js';

/** Mocha itself: its program `mocha` is the parent of a process that runs the tests. */
const MOCHA = ['--import', 'tsx', path.join(REPOSITORY, 'node_modules', 'mocha', 'lib', 'cli', 'cli.js')];
const GONE_MS = 40_000;
const STARTED_MS = 90_000;

interface Ended {
  readonly output: string;
  readonly code: number | null;
}

describe('the watchdog of the tests', function () {
  this.timeout(90_000);

  it('ends a file that takes too long, names file, test and handles, counts it as failed, and goes on', async () => {
    const { output, code } = await runMocha(['hangs.ts', 'waits.ts', 'passes.ts'], {
      SENSORCTL_TEST_FILE_SECONDS: '1',
    });
    expect(code).to.not.equal(0);
    expect(output)
      .to.match(/watchdog: test\/fixtures\/hangs\.ts took more than 1 s .* a suite that hangs never returns/)
      .and.to.match(/handles: not known: its event loop does not turn/)
      .and.to.match(/watchdog: test\/fixtures\/waits\.ts took more than 1 s .* a suite that waits for ever waits/)
      .and.to.match(/handles: .*Timeout/)
      .and.to.match(/1 passing[^]* [12] failing[^]* 2\) Uncaught/);
  });

  it('ends a whole run that is silent, names what was running, and .ci/run still ends with the counts', async () => {
    const mocha = [process.execPath, ...MOCHA, ...['passes.ts', 'waits.ts'].map(fixture)];
    const { output, code } = await finish(
      start([path.join(REPOSITORY, '.ci', 'run'), ...mocha], { SENSORCTL_TEST_SILENCE_SECONDS: '4' }),
    );
    expect(code).to.not.equal(0);
    expect(output)
      .to.match(/watchdog: nothing was printed for 4 s/)
      .and.to.match(/watchdog: was running test\/fixtures\/waits\.ts: a suite that waits for ever waits for what never/)
      .and.to.match(/watchdog: process \d+: .*mocha/)
      .and.to.match(/\n1 passed, 1 failed, 0 skipped\n$/);
  });

  it('leaves the counts of a run that ends by itself as mocha says them', async () => {
    const { output, code } = await finish(
      start([path.join(REPOSITORY, '.ci', 'run'), process.execPath, ...MOCHA, fixture('passes.ts')]),
    );
    expect(output).to.match(/\n1 passed, 0 failed, 0 skipped\n$/);
    expect(code).to.equal(0);
  });
});

describe('the seed of a test that fails', function () {
  this.timeout(60_000);

  it('is said, and set by one variable', async () => {
    const [usual, given] = await Promise.all([
      runMocha(['unlucky.ts']),
      runMocha(['unlucky.ts'], { SENSORCTL_TEST_SEED: '77' }),
    ]);
    const title = 'a suite that draws lots fails';
    expect(usual.output).to.contain('with 5').and.to.contain(`SENSORCTL_TEST_SEED=5 repeats what failed in: ${title}`);
    expect(given.output)
      .to.contain('with 77')
      .and.to.contain(`SENSORCTL_TEST_SEED=77 repeats what failed in: ${title}`);
  });
});

describe('what a suite leaves', function () {
  this.timeout(180_000);

  it('ends after its file where its `before` failed, as mocha goes on with others', async () => {
    const { ended, left } = await leave({ FIXTURE_FAILS: 'yes' });
    expect((await ended).code).to.equal(1);
    expect((await ended).output).to.match(/the fixture fails/);
    expectGone(left);
  });

  it('ends with mocha where that is killed: server, queue, command, and their directories', async () => {
    const { mocha, left } = await leave({});
    for (const pid of left.pids) expect(isAlive(pid), String(pid)).to.equal(true);
    mocha.kill('SIGKILL');
    await eventually('all of it is gone', () => Promise.resolve(stillThere(left).length === 0), GONE_MS);
  });
});

async function leave(environment: Record<string, string>) {
  const directory = await makeTemporaryDirectory(path.join(tmpdir(), 'sensorctl-left-'));
  disposeAtEnd(() => removeTemporaryDirectory(directory));
  const report = path.join(directory, 'report.json');
  const mocha = start([process.execPath, ...MOCHA, fixture('leaves-servers.ts')], {
    ...environment,
    FIXTURE_REPORT: report,
  });
  const ended = finish(mocha);
  await eventually(
    'it tells what it started',
    () => Promise.resolve(isWritten(report) || mocha.exitCode !== null),
    STARTED_MS,
  );
  if (!isWritten(report)) throw new Error((await ended).output);
  return { mocha, ended, left: JSON.parse(readFileSync(report, 'utf8')) as Left };
}

function isWritten(file: string): boolean {
  return existsSync(file) && readFileSync(file, 'utf8').endsWith('}');
}

function expectGone(left: Left): void {
  expect(stillThere(left)).to.deep.equal([]);
}

/** What is still there. */
function stillThere({ pids, directories }: Left): (number | string)[] {
  return [...pids.filter(isAlive), ...directories.filter((directory) => existsSync(directory))];
}

function runMocha(files: readonly string[], environment: Record<string, string> = {}): Promise<Ended> {
  const args = ['--parallel', '--jobs', '2', ...files.map(fixture)];
  return finish(start([process.execPath, ...MOCHA, ...args], environment));
}

function fixture(file: string): string {
  return path.join('test', 'fixtures', file);
}

function start([program, ...args]: readonly string[], environment: Record<string, string> = {}): ChildProcess {
  const unset = {
    ...{ MOCHA_WORKER_ID: undefined, SENSORCTL_TEST_STATUS: undefined, SENSORCTL_TEST_SEED: undefined },
  };
  const child = spawn(program!, args, {
    cwd: REPOSITORY,
    env: { ...process.env, ...unset, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  disposeAtEnd(() => Promise.resolve(child.kill('SIGKILL')));
  return child;
}

async function finish(child: ChildProcess): Promise<Ended> {
  const closed = new Promise<number | null>((resolve) => child.once('close', resolve));
  const [stdout, stderr, code] = await Promise.all([text(child.stdout!), text(child.stderr!), closed]);
  return { output: stderr + stdout, code };
}
