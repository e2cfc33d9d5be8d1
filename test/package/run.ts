// `npm run test:package`: packs sensorctl, installs the package globally below a temporary prefix, and runs a migration with it,
// under this Node and under those that the npm package `node` brings.
// --node 22,24 (versions beside this one; empty for none), --demo (the whole demo, too), --keep (leaves the folder).
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { installPackage, installNode } from './install.js';
import { runDemo, runMigration } from './migration.js';

const { values } = parseArgs({
  options: {
    node: { type: 'string', default: '22,24' },
    demo: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
  },
});
const print = (line: string): void => void process.stdout.write(`${line}\n`);

const root = await mkdtemp(path.join(tmpdir(), 'sensorctl-package-'));
try {
  print('Packing and installing, as `npm install -g` does.');
  const program = await installPackage(root);
  const versions = values.node.split(',').filter((version) => version !== '');
  for (const node of [process.execPath, ...(await Promise.all(versions.map((each) => installNode(root, each))))]) {
    print(await runMigration({ node, program, root }));
  }
  if (values.demo) print(await runDemo({ node: process.execPath, program, root }));
  print('The package as packed installs and runs.');
} catch (error) {
  print((error as Error).message);
  process.exitCode = 1;
} finally {
  if (values.keep) print(`Left for you: ${root}`);
  else await rm(root, { recursive: true, force: true });
}
