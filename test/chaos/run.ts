// The long fault suite: npm run test:chaos -- --seed 1 --minutes 5; with --writers 4 that many other programs write, too.
import { parseArgs } from 'node:util';

import { findPgBouncer } from '../support/pgbouncer.js';
import { renderSurvived, runChaos } from './chaos.js';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '5' },
    rate: { type: 'string', default: '100' },
    consumers: { type: 'string', default: '3' },
    keyless: { type: 'boolean', default: false },
    writers: { type: 'string', default: '0' },
    'bulk-rows': { type: 'string', default: '100000' },
    'without-pooler': { type: 'boolean', default: false },
  },
});

process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true';
const print = (line: string): void => void process.stdout.write(`${line}\n`);

const sessions = Number(values.writers);
const pooler = !values['without-pooler'] && (await findPgBouncer()) !== undefined;
print(pooler ? 'PgBouncer stands before EC2' : 'no PgBouncer before EC2');

try {
  const report = await runChaos({
    seed: Number(values.seed),
    seconds: Number(values.minutes) * 60,
    rate: Number(values.rate),
    consumers: Number(values.consumers),
    lookEveryMs: 2_000,
    calmMs: 1_500,
    powerCuts: true,
    keyless: values.keyless,
    ...(sessions === 0 ? {} : { writers: { sessions, bulkRows: Number(values['bulk-rows']), pauseMs: 200 } }),
    pooler,
    restMs: 300_000,
    tell: print,
  });
  const { seed, messages, deliveries, looks, written, restedAfterMs, survived } = report;
  print(
    `seed ${seed}: ${messages} messages in ${deliveries} deliveries, ${looks} looks, at rest after ${restedAfterMs} ms`,
  );
  if (sessions > 0) print(`${written.transactions} transactions of other programs, ${written.looks} looks at them`);
  print(`faults survived:\n${renderSurvived(survived)}`);
} catch (error) {
  print((error as Error).message);
  process.exitCode = 1;
}
