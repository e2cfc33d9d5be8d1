// Sends random and hostile messages through a real consumer: npm run test:hostile -- --messages 100000 --seed 1
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { Stage } from '../support/cli.js';
import { hostileMessages, sendHostile } from '../support/hostile.js';
import { mochaGlobalTeardown } from '../support/servers.js';

const { values } = parseArgs({
  options: { messages: { type: 'string', default: '100000' }, seed: { type: 'string', default: '1' } },
});
const [messages, seed] = [Number(values.messages), Number(values.seed)];
/** The memory that docs/commands.md tells users to give a consumer. */
const MOST_MIB = 1024;
const DAY_MS = 86_400_000;
const print = (line: string): void => void process.stdout.write(`${line}\n`);

async function peakMib(pid: number | undefined): Promise<number> {
  const status = await readFile(`/proc/${String(pid)}/status`, 'utf8');
  return Math.round(Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) / 1024);
}

async function run(stage: Stage): Promise<string[]> {
  await stage.runJson(['init']);
  const consumer = await stage.start(['consume', '--dual-write'], {}, DAY_MS);
  const startedAt = performance.now();
  const expected = await sendHostile(stage.queue, hostileMessages(messages, seed));
  for (let empty = 0; empty < 3;) {
    if (consumer.hasEnded) throw new Error(`the consumer ended:\n${consumer.stderr.slice(-5000)}`);
    const { visible, inFlight } = await stage.queue.readState();
    empty = visible + inFlight === 0 ? empty + 1 : 0;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  const peak = await peakMib(consumer.pid);
  consumer.kill('SIGTERM');
  const { code } = await consumer.wait();
  if (code !== 0) throw new Error(`the consumer ended with ${String(code)}`);
  const wrong = await expected.findWrong(stage);
  for (const [kind, count] of [...expected.kinds].sort(([, one], [, two]) => two - one)) print(`${count} × ${kind}`);
  const { stored, quarantined } = expected.size;
  print(
    `seed ${seed}: ${messages} messages in ${seconds} s; ${stored} readings expected on both sides, ${quarantined} messages in the quarantine; peak memory of the consumer ${peak} MiB; ${wrong.length} wrong`,
  );
  return peak > MOST_MIB ? [...wrong, `memory: ${peak} MiB, more than ${MOST_MIB}`] : wrong;
}

const stage = await Stage.open('hostile');
try {
  const wrong = await run(stage);
  for (const line of wrong.slice(0, 20)) print(line.slice(0, 300));
  process.exitCode = wrong.length === 0 ? 0 : 1;
} finally {
  await stage.close();
  await mochaGlobalTeardown();
}
