import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';

const REPOSITORY = path.resolve(import.meta.dirname, '../..');
const OUTPUT_BYTES = 16 * 1024 * 1024;

/** Packs the repository and installs the package globally below `root`; returns the program's path. */
export async function installPackage(root: string): Promise<string> {
  const packed = await npm(['pack', '--json', '--pack-destination', root], REPOSITORY);
  // What the scripts of the package print comes before the JSON.
  const [{ filename }] = JSON.parse(packed.slice(packed.lastIndexOf('\n[') + 1)) as [{ filename: string }];
  const prefix = path.join(root, 'prefix');
  await npm(['install', '--global', '--prefix', prefix, path.join(root, filename)], root);
  return path.join(prefix, 'bin', 'sensorctl');
}

/** Installs a version of Node.js from npm below `root`; returns the path of its binary. */
export async function installNode(root: string, version: string): Promise<string> {
  const directory = path.join(root, `node-${version}`);
  await mkdir(directory);
  // The package `node` fetches this one by a script, which npm may be told not to run.
  const name = `node-${process.platform}-${process.arch}`;
  await npm(['install', '--prefix', directory, `${name}@${version}`], directory);
  return path.join(directory, 'node_modules', name, 'bin', 'node');
}

async function npm(args: readonly string[], cwd: string): Promise<string> {
  return (await promisify(execFile)('npm', args, { cwd, maxBuffer: OUTPUT_BYTES })).stdout;
}
