// Prints the test files that `npm test` hands to several processes, the longest first: one that begins last is waited for
// alone. The names are those of the files that took more than 15 s; the others follow as they are.
import { readdirSync } from 'node:fs';
import path from 'node:path';

const LONGEST = [
  'acceptance/advice-followed',
  'acceptance/advice-followed',
  'integration/own-names',
  'integration/long-values',
  'acceptance/faults',
  'integration/many-chunks',
  'acceptance/compare-command',
  'integration/sandbox',
  'acceptance/frozen-copy',
  'acceptance/backfill-command',
  'acceptance/hostile-messages',
  'integration/backfill',
  'acceptance/switch',
  'acceptance/chaos',
  'acceptance/compare-load',
  'acceptance/least-rights',
  'integration/rewritten-tables',
  'acceptance/cutover',
  'acceptance/visibility',
  'acceptance/control',
  'acceptance/crash',
  'integration/compare-attacks',
  'integration/repair',
  'acceptance/outside',
  'acceptance/monitor-command',
  'integration/timescaledb-aggregates',
  'acceptance/local-trouble',
  'integration/watchdog',
  'acceptance/probes',
  'integration/verify-schema',
  'acceptance/compressed',
];

const all = ['acceptance', 'integration', 'unit'].flatMap((directory) =>
  readdirSync(path.join(import.meta.dirname, directory))
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => `test/${directory}/${name}`),
);
const first = LONGEST.map((name) => `test/${name}.test.ts`);
const missing = first.filter((file) => !all.includes(file));
if (missing.length > 0) throw new Error(`test/longest-first.js names what is not there: ${missing.join(', ')}`);
process.stdout.write([...first, ...all.filter((file) => !first.includes(file))].join('\n'));
