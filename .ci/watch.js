// Runs a command, copies what it prints to a log, and ends it when it prints nothing for minutes.
// Usage: node .ci/watch.js LOG COMMAND ARGS…
import { spawn } from 'node:child_process';
import { createWriteStream, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { clearTimeout, setTimeout } from 'node:timers';
import { describeDescendants } from './descendants.js';

/** Longer than one test file may take, as mocha prints a file's results when it has ended. */
const SILENCE_SECONDS = Number(process.env.SENSORCTL_TEST_SILENCE_SECONDS ?? 420);

const [logFile, command, ...args] = process.argv.slice(2);
const statusDirectory = mkdtempSync(path.join(tmpdir(), 'sensorctl-status-'));
const log = createWriteStream(logFile);
const child = spawn(command, args, {
  detached: true, // a group of its own, which is ended as a whole; servers are in others, and ended by their keeper
  env: { ...process.env, SENSORCTL_TEST_STATUS: statusDirectory },
  stdio: ['ignore', 'pipe', 'pipe'],
});
let timer = setTimeout(strike, SILENCE_SECONDS * 1000);
for (const stream of [child.stdout, child.stderr]) {
  stream.on('data', (text) => {
    print(text);
    timer.refresh();
  });
}
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => killGroup(signal));
child.on('close', (code) => {
  clearTimeout(timer);
  rmSync(statusDirectory, { recursive: true, force: true });
  log.end(() => process.exit(code ?? 1));
});

function print(text) {
  process.stdout.write(text);
  log.write(text);
}

function strike() {
  const running = readdirSync(statusDirectory).map((pid) =>
    readFileSync(path.join(statusDirectory, pid), 'utf8').trim(),
  );
  print(`\nwatchdog: nothing was printed for ${SILENCE_SECONDS} s; the run is ended.\n`);
  for (const line of running) print(`watchdog: was running ${line}\n`);
  for (const line of describeDescendants(child.pid)) print(`watchdog: process ${line}\n`);
  killGroup('SIGKILL');
}

function killGroup(signal) {
  try {
    process.kill(-child.pid, signal);
  } catch {
    // it has ended by itself
  }
}
