import { hostname } from 'node:os';
import type { Settings } from '../config.js';
import { asUnreachable } from '../db/database.js';
import type { Logger } from '../logger.js';
import { DualWriteRepository } from '../repository/dual-write-repository.js';
import { openSide, withDatabases } from './sides.js';

export interface RepositoryOptions {
  readonly command: string;
  /** Rows a second that self-healing may repair; 0 switches it off. */
  readonly healRate: number;
  readonly logger: Logger;
}

/** Lends the repository that the settings describe for the length of `work`, and closes it whatever happens. */
export async function withRepository<Result>(
  settings: Settings,
  { command, healRate, logger }: RepositoryOptions,
  work: (repository: DualWriteRepository) => Promise<Result>,
): Promise<Result> {
  const primary = openSide('local', settings, command, logger);
  const secondary = settings.enableDualWrite === true ? openSide('ec2', settings, command, logger) : null;
  return await withDatabases(secondary === null ? [primary] : [primary, secondary], async () => {
    const repository = await DualWriteRepository.open({
      primary,
      secondary,
      retry: { retries: settings.ec2Write.retries, delayMs: settings.ec2Write.retryDelayMs },
      // One connection of the pool is left to the repair.
      concurrency: Math.max(1, (settings.ec2?.poolMax ?? 1) - 1),
      healing: healRate === 0 ? null : { rowsPerSecond: healRate },
      consumer: { host: hostname(), pid: process.pid },
      logger,
    }).catch((error: unknown) => {
      throw asUnreachable(error, primary);
    });
    try {
      return await work(repository);
    } catch (error) {
      throw asUnreachable(error, primary);
    } finally {
      await repository.close();
    }
  });
}
