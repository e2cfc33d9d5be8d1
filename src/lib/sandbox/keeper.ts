import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, rm } from 'node:fs/promises';
import { forkEntry } from './helper-process.js';

/** The things that must not outlive this process: servers, other children, and data that nobody asked to keep. */
export interface Charges {
  /** PostgreSQL servers, which are shut down. */
  readonly servers: readonly number[];
  /** Other processes, which are killed at once. */
  readonly processes: readonly number[];
  readonly directories: readonly string[];
}

/** Holds a child process that ends processes and removes directories when this process ends before it did so itself. */
class Keeper {
  private readonly servers = new Set<number>();
  private readonly processes = new Set<number>();
  private readonly directories = new Set<string>();
  private child: Promise<ChildProcess> | undefined;

  /** Resolves once the keeper listens; only what is started after that is sure to be stopped. */
  async start(): Promise<void> {
    this.child ??= startKeeper(() => (this.child = undefined));
    const child = await this.child;
    const { servers, processes, directories } = this;
    child.send({ servers: [...servers], processes: [...processes], directories: [...directories] } satisfies Charges);
  }

  async watchServer(pid: number): Promise<void> {
    this.servers.add(pid);
    await this.start();
  }

  async releaseServer(pid: number): Promise<void> {
    this.servers.delete(pid);
    await this.start();
  }

  async watchProcess(pid: number): Promise<void> {
    this.processes.add(pid);
    await this.start();
  }

  async releaseProcess(pid: number): Promise<void> {
    this.processes.delete(pid);
    await this.start();
  }

  async watchDirectory(directory: string): Promise<void> {
    this.directories.add(directory);
    await this.start();
  }

  async releaseDirectory(directory: string): Promise<void> {
    this.directories.delete(directory);
    await this.start();
  }
}

/** The one keeper of this process. */
export const keeper = new Keeper();

async function startKeeper(onExit: () => void): Promise<ChildProcess> {
  const child = forkEntry('keeper-process');
  child.once('exit', onExit);
  await once(child, 'message');
  child.unref();
  child.channel?.unref();
  return child;
}

/** Makes a directory of a name nobody else has; it is removed when this process ends, however it ends. */
export async function makeTemporaryDirectory(prefix: string): Promise<string> {
  const directory = `${prefix}${randomBytes(6).toString('hex')}`;
  await keeper.watchDirectory(directory); // before it exists: a kill between the two leaves nothing
  await mkdir(directory, { mode: 0o700 });
  return directory;
}

/** Removes a temporary directory now. */
export async function removeTemporaryDirectory(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true });
  await keeper.releaseDirectory(directory);
}
