// `npm run bench`: measures sensorctl beside its peers and limits, in the same run, and prints the ratios.
// --repeat N (3), --messages N (30000), --rows N (5000000), --only consume|compare|backfill|repair|cutover|distance|memory|startup, --many N (1000000), --not-durable (servers without
// fsync), --json.
// Exit code 1 when a target is missed.
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';

import { renderTable } from '../../src/lib/cli/table.js';
import { TcpProxy } from '../support/proxy.js';
import { openBlackHole } from './black-hole.js';
import { measureBackfill } from './backfill.js';
import { measureCompare } from './compare.js';
import { compareConsume, describeLoad, FAR_MS, measureConsume, type Drains } from './consume.js';
import { measureCutover } from './cutover.js';
import { measureDistance } from './distance.js';
import { measureMemory } from './memory.js';
import { measureRepair } from './repair.js';
import { conclude, renderResults, type Comparison } from './report.js';
import { Stage } from './stage.js';
import { measureStartup } from './startup.js';

const { values: flags } = parseArgs({
  options: {
    repeat: { type: 'string', default: '3' },
    messages: { type: 'string', default: '30000' },
    rows: { type: 'string', default: '5000000' },
    only: { type: 'string' },
    many: { type: 'string', default: '1000000' },
    'not-durable': { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true';
const repetitions = Number(flags.repeat);

const wanted = (part: string): boolean => flags.only === undefined || flags.only === part;

const startup = wanted('startup') ? [await measureStartup(repetitions)] : [];
const drains = wanted('consume') ? await drainAll() : null;
const comparisons = [
  ...(wanted('compare') ? await onStage(measureCompare) : []),
  ...(wanted('backfill') ? await onStage(measureBackfill) : []),
  ...(wanted('repair') ? await onStage(measureRepair) : []),
  ...(wanted('cutover') ? await onStage(async (measure) => [await measureCutover(measure)]) : []),
  ...(wanted('distance') ? await measureDistance({ durable: !flags['not-durable'], repetitions, onStep: note }) : []),
  ...(wanted('memory')
    ? await onStage(async (measure) => [await measureMemory({ ...measure, messages: Number(flags.many) })])
    : []),
];
const results = [...(drains === null ? [] : compareConsume(drains)), ...comparisons, ...startup].map(conclude);

if (flags.json) print(JSON.stringify({ repetitions, messages: Number(flags.messages), results, drains }, null, 2));
else {
  if (drains !== null) print(explain(drains));
  print(renderResults(results));
}
if (results.some((result) => !result.met)) process.exitCode = 1;

async function drainAll(): Promise<Drains> {
  const stage = await Stage.open({ durable: !flags['not-durable'] });
  const blackHole = await openBlackHole();
  const far = await TcpProxy.open(stage.servers.ec2);
  far.delay(FAR_MS / 2);
  try {
    const messages = Number(flags.messages);
    return await measureConsume({ stage, blackHole, far, messages, repetitions, onStep: note });
  } finally {
    blackHole.close();
    far.close();
    await stage.close();
  }
}

async function onStage(measure: typeof measureBackfill): Promise<Comparison[]> {
  const stage = await Stage.open({ durable: !flags['not-durable'] });
  try {
    return await measure({ stage, rows: Number(flags.rows), repetitions, onStep: note });
  } finally {
    await stage.close();
  }
}

function explain(drains: Drains): string {
  return [
    'Rates: messages from the first one taken to the last one deleted, by the queue’s own count (sampled every 25 ms), from a',
    'queue filled beforehand; start and end of the processes are left out. Medians; spread is the lowest and highest ratio of a',
    'repetition. Below, cores kept busy meanwhile: a Node program cannot use much more than one for its own work, and the queue',
    `is such a program too. This machine has ${availableParallelism()} cores, for the databases and whatever else runs as well.`,
    renderTable(
      ['draining', 'queue', 'consumer', 'whole machine', 'consumer’s µs a message', 'seconds'],
      describeLoad(drains),
    ),
  ].join('\n');
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

function note(text: string): void {
  process.stderr.write(`${text}\n`);
}
