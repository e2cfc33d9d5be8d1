// Compares again and again while consumers write at full pace: npm run test:compare-load -- --runs 200 --seed 1
import { parseArgs } from 'node:util';

import { CompareLoad, describeReport, losses, REQUESTS } from './compare-load.js';
import { DAMAGES } from './damage.js';
import { startServers, stopServers } from './stage.js';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '200' },
    seed: { type: 'string', default: '1' },
    rate: { type: 'string', default: '200' },
    consumers: { type: 'string', default: '2' },
    slow: { type: 'string', default: '0' },
    keyless: { type: 'boolean', default: false },
  },
});

process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true';
const print = (line: string): void => void process.stdout.write(`${line}\n`);

const [runs, seed, slowMs] = [Number(values.runs), Number(values.seed), Number(values.slow)];
const servers = await startServers({ durable: false });
const load = await CompareLoad.start(servers, {
  ...{ seed, rate: Number(values.rate), consumers: Number(values.consumers), keyless: values.keyless },
});
load.stage.network.ec2.delay(slowMs);
const totals = { identical: 0, pending: 0, found: 0, failed: 0 };
const longest = { undamaged: 0, damaged: 0 };

/** Runs a comparison, and counts one that said what is not so. */
async function attempt(what: keyof typeof longest, title: string, compareOnce: () => Promise<void>): Promise<void> {
  const startedAt = performance.now();
  try {
    await compareOnce();
  } catch (error) {
    totals.failed += 1;
    print((error as Error).message);
  }
  const ms = Math.round(performance.now() - startedAt);
  longest[what] = Math.max(longest[what], ms);
  print(`${title}: ${ms} ms, ${load.messages} messages so far, ${await load.describeLag()}`);
}

for (let run = 0; run < runs; run += 1) {
  const request = REQUESTS[run % REQUESTS.length];
  await attempt('undamaged', `run ${run}`, async () => {
    const { report } = await load.compare(request);
    if (losses(report).length > 0 || report.verdict === 'different') throw new Error(describeReport(report));
    totals.identical += 1;
    totals.pending += report.tables.reduce((sum, { pending }) => sum + pending, 0);
  });
  const damage = DAMAGES[run % DAMAGES.length];
  if (damage === undefined) continue;
  await attempt('damaged', `run ${run}, ${damage.title}`, async () => {
    await load.compareDamaged(damage, request);
    totals.found += 1;
  });
}

print(
  `seed ${seed}: ${load.messages} messages, ${await load.rowsOnEc2()} rows on EC2; ${runs} comparisons, ` +
    `${totals.identical} identical with ${totals.pending} rows pending; ${totals.found} of ${runs} damages found; ` +
    `the longest took ${longest.undamaged} ms, with a damage ${longest.damaged} ms`,
);
await load.close();
await stopServers(servers);
process.exitCode = totals.failed === 0 ? 0 : 1;
