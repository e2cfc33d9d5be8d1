import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';

import { forkEntry } from './fork.js';

/** What must not outlive this process: running servers, and data that nobody asked to keep. */
export interface Charges {
  readonly pids: readonly number[];
  readonly directories: readonly string[];
}

/** Holds a child process that stops servers and removes directories when this process ends before it did so itself. */
class Keeper {
  private readonly pids = new Set<number>();
  private readonly directories = new Set<string>();
  private child: Promise<ChildProcess> | undefined;

  /** Resolves once the keeper listens; only what is started after that is sure to be stopped. */
  async start(): Promise<void> {
    this.child ??= startKeeper(() => (this.child = undefined));
    const child = await this.child;
    child.send({ pids: [...this.pids], directories: [...this.directories] } satisfies Charges);
  }

  async watchServer(pid: number): Promise<void> {
    this.pids.add(pid);
    await this.start();
  }

  async releaseServer(pid: number): Promise<void> {
    this.pids.delete(pid);
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
