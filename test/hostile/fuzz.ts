// Mutated messages through a real consumer, by the guide's decoder and by one of random shapes:
// npm run test:fuzz -- --messages 100000 --seed 1
import { parseArgs } from 'node:util';
import { Stage } from '../support/cli.js';
import { guideFuzz, runFuzz, shapesFuzz, type Fuzz } from '../support/fuzz.js';
import { mochaGlobalTeardown } from '../support/servers.js';

const { values } = parseArgs({
  options: { messages: { type: 'string', default: '100000' }, seed: { type: 'string', default: '1' } },
});
const [messages, seed] = [Number(values.messages), Number(values.seed)];
const print = (line: string): void => void process.stdout.write(`${line}\n`);

async function run(fuzz: Fuzz): Promise<boolean> {
  const stage = await Stage.open('fuzz');
  try {
    await stage.runJson(['init']);
    const { summary, rows, records, wrong } = await runFuzz(stage, fuzz, { messages, seed });
    print(
      `${fuzz.title}, seed ${seed}: ${messages} messages in ${summary.seconds} s; ${rows} rows, ${records} records in the quarantine, ${summary.empty} empty; ${wrong.length} wrong`,
    );
    for (const line of wrong.slice(0, 20)) print(`  ${line.slice(0, 300)}`);
    return wrong.length === 0;
  } finally {
    await stage.close();
  }
}

try {
  const sound = [await run(guideFuzz()), await run(shapesFuzz(seed))];
  process.exitCode = sound.every(Boolean) ? 0 : 1;
} finally {
  await mochaGlobalTeardown();
}
