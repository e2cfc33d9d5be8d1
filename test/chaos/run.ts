// The long fault suite: npm run test:chaos -- --seed 1 --minutes 5
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
    'without-pooler': { type: 'boolean', default: false },
  },
});

process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true';
const print = (line: string): void => void process.stdout.write(`${line}\n`);

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
    pooler,
    restMs: 300_000,
    tell: print,
  });
  const { seed, messages, deliveries, looks, restedAfterMs, survived } = report;
  print(
    `seed ${seed}: ${messages} messages in ${deliveries} deliveries, ${looks} looks, at rest after ${restedAfterMs} ms`,
  );
  print(`faults survived:\n${renderSurvived(survived)}`);
} catch (error) {
  print((error as Error).message);
  process.exitCode = 1;
}
