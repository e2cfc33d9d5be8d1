// Ends a test file that takes too long, whatever it hangs in: .mocharc.json requires this file in every process of mocha.
// Mocha counts the file as failed, goes on with the others, and the keeper stops what the file had started.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { reviveMochaPool } from './mocha-pool.js';

/** What is watched: the file that runs, where it stands, and since when the file has run, in ms of `Date.now`. */
export interface Watched {
  readonly file: string;
  readonly test: string;
  readonly since: number;
}

/** One process of `mocha --parallel` runs one file at a time; without it a developer sits in front, who may well wait. */
const IS_WORKER = process.env.MOCHA_WORKER_ID !== undefined;
const LIMIT_SECONDS = Number(process.env.SENSORCTL_TEST_FILE_SECONDS ?? 300);
/** Where `.ci/run` looks for what was running when the whole run fell silent. */
const STATUS_DIRECTORY = process.env.SENSORCTL_TEST_STATUS;
/** Connections take seconds to close; whatever is still there then was forgotten. */
const LEFT_OVER_MS = 15_000;

if (!IS_WORKER) reviveMochaPool();

let watched: Watched | undefined;
let thread: Worker | undefined;

export const mochaHooks = {
  beforeAll(this: Mocha.Context): void {
    watch(fileOf(this.test?.parent), 'before the first test');
  },
  beforeEach(this: Mocha.Context): void {
    watch(this.currentTest?.file, this.currentTest?.fullTitle() ?? '');
  },
  afterAll(): void {
    watch(watched?.file, 'after the last test');
    setImmediate(() => {
      watched = undefined;
      tell();
    });
  },
};

/** Without `--parallel` nothing else would end a process that something keeps alive. */
export function mochaGlobalTeardown(): void {
  setTimeout(() => {
    const left = process.getActiveResourcesInfo().join(', ');
    process.stderr.write(`\nwatchdog: the tests are over, and the process is kept alive by: ${left}\n`);
    process.exit(1);
  }, LEFT_OVER_MS).unref();
}

function watch(file: string | undefined, test: string): void {
  const name = path.relative(process.cwd(), file ?? '');
  watched = { file: name, test, since: watched?.file === name ? watched.since : Date.now() };
  tell();
}

function tell(): void {
  if (STATUS_DIRECTORY !== undefined) writeStatus(STATUS_DIRECTORY);
  if (!IS_WORKER) return;
  thread ??= startThread();
  thread.postMessage(watched ?? null);
}

function writeStatus(directory: string): void {
  const file = path.join(directory, String(process.pid));
  mkdirSync(directory, { recursive: true });
  if (watched === undefined) rmSync(file, { force: true });
  else writeFileSync(file, `${watched.file}: ${watched.test}\n`);
}

/** A thread of its own: a test that never returns to the event loop holds up every timer of this one. */
function startThread(): Worker {
  const started = new Worker(new URL('./thread.js', import.meta.url), { workerData: LIMIT_SECONDS, execArgv: [] });
  started.unref();
  started.on('message', () => started.postMessage(process.getActiveResourcesInfo()));
  return started;
}

function fileOf(suite: Mocha.Suite | undefined): string | undefined {
  return suite?.file ?? suite?.suites.map(fileOf).find((file) => file !== undefined);
}
