// Prints the measures of src, of this checkout or of another: npm run house -- [directory]
import { existsSync } from 'node:fs';
import path from 'node:path';
import { findMutualFolders, findRetryLoops, readSources, type SourceFile } from './measure.js';

/** The files that a batch passes from the queue to the ledger, each with one that uses it; of today, and of before. */
const WAYS: readonly (readonly (readonly [file: string, usedBy: string | null])[])[] = [
  [
    ['lib/operations/consume/consume.ts', null],
    ['lib/repository/write/write-batch.ts', 'lib/operations/consume/consume.ts'],
    ['lib/repository/write/send-batch.ts', 'lib/operations/consume/consume.ts'],
    ['lib/repository/write/settle.ts', 'lib/repository/write/send-batch.ts'],
    ['lib/repository/ledger/ledger.ts', 'lib/repository/write/settle.ts'],
  ],
  [
    ['lib/operations/consume/consume.ts', null],
    ['intake.ts', 'lib/operations/consume/consume.ts'],
    ['batcher.ts', 'lib/operations/consume/consume.ts'],
    ['in-hand.ts', 'lib/operations/consume/consume.ts'],
    ['migrating-repository.ts', 'lib/operations/consume/consume.ts'],
    ['dual-write-repository.ts', 'migrating-repository.ts'],
    ['primary-writer.ts', 'dual-write-repository.ts'],
    ['acknowledger.ts', 'lib/operations/consume/consume.ts'],
    ['secondary-sender.ts', 'dual-write-repository.ts'],
    ['secondary-writer.ts', 'secondary-sender.ts'],
    ['settlement.ts', 'secondary-sender.ts'],
    ['lib/repository/ledger.ts', 'settlement.ts'],
  ],
];

const root = path.resolve(process.argv[2] ?? path.join(import.meta.dirname, '../..'), 'src');
if (!existsSync(root)) throw new Error(`${root} does not exist`);
const files = readSources(root);
const mutual = findMutualFolders(files);
const loops = findRetryLoops(files);
const largest = files.toSorted((one, other) => other.imports.length - one.imports.length)[0];
const lines = files.reduce((sum, { text }) => sum + text.split('\n').length - 1, 0);
const way = WAYS.map((each) => checkWay(each, files)).find((each) => typeof each === 'number');

print('files', files.length);
print('lines', lines);
print('folders that depend on each other both ways', mutual.length, mutual);
print('imports of the largest importer', largest?.imports.length ?? 0, largest === undefined ? [] : [largest.name]);
print(
  'loops that try again or wait',
  loops.length,
  loops.map(({ file, line }) => `${file}:${line}`),
);
print('files that a message passes', way ?? 'none of the ways that are known');

/** How many files a way has; a text where one of them is missing, or is not imported where it should be. */
function checkWay(
  steps: readonly (readonly [file: string, usedBy: string | null])[],
  known: readonly SourceFile[],
): number | string {
  for (const [name, usedBy] of steps) {
    const file = find(name, known);
    if (file === undefined) return `${name} is missing`;
    if (usedBy !== null && find(usedBy, known)?.imports.includes(file.name) !== true) return `${usedBy}: not ${name}`;
  }
  return steps.length;
}

/** By its path below src, or by its name alone where the rooms were others before. */
function find(name: string, known: readonly SourceFile[]): SourceFile | undefined {
  return known.find((file) => file.name === name || path.basename(file.name) === name);
}

function print(title: string, value: number | string, details: readonly string[] = []): void {
  const rest = details.map((detail) => `\n    ${detail}`).join('');
  process.stdout.write(`${title}: ${value}${rest}\n`);
}
