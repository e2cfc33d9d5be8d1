// The thread of the watchdog: kills its own process when a test file has taken too long, and says what hung there.
// No TypeScript: what compiles it needs the main thread, which may not turn any more.
import { writeSync } from 'node:fs';
import { clearInterval, setInterval, setTimeout } from 'node:timers';
import { parentPort, workerData } from 'node:worker_threads';
import { describeDescendants } from '../../.ci/descendants.js';

const LIMIT_SECONDS = workerData;
const ANSWER_MS = 1_000;
const CHECK_MS = 250;
const STDERR = 2;

let watched = null;
let handles;

parentPort.on('message', (message) => {
  if (Array.isArray(message)) handles = message;
  else watched = message;
});

const timer = setInterval(() => {
  if (watched === null || Date.now() < watched.since + LIMIT_SECONDS * 1000) return;
  clearInterval(timer);
  const late = watched;
  parentPort.postMessage('what is open?');
  setTimeout(() => strike(late), ANSWER_MS);
}, CHECK_MS);

function strike({ file, test }) {
  const lines = [
    `watchdog: ${file} took more than ${LIMIT_SECONDS} s and is ended; it stood in: ${test}`,
    `  handles: ${handles?.join(', ') ?? 'not known: its event loop does not turn'}`,
    ...describeDescendants(process.pid).map((child) => `  process ${child}`),
  ];
  writeSync(STDERR, `\n${lines.join('\n')}\n`);
  process.kill(process.pid, 'SIGKILL');
}
