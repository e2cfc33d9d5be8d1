import { hostname } from 'node:os';
import type { Settings } from '../config.js';
import { asUnreachable } from '../db/database.js';
import type { Roles } from '../domain/migration.js';
import type { Logger } from '../logger.js';
import { MigratingRepository } from '../repository/migration/migrating-repository.js';
import { openSideInRole } from './sides.js';

export interface RepositoryOptions {
  readonly command: string;
  /** Rows a second that self-healing may repair; 0 switches it off. */
  readonly healRate: number;
  readonly logger: Logger;
  /** Told what will be written where, before it is. */
  readonly tell?: (line: string) => void;
}

/** Lends the repository that settings and recorded phase describe for the length of `work`, and closes it whatever happens. */
export async function withRepository<Result>(
  settings: Settings,
  { command, healRate, logger, tell }: RepositoryOptions,
  work: (repository: MigratingRepository) => Promise<Result>,
): Promise<Result> {
  const local = { side: 'local', connection: settings.local } as const;
  const repository = await MigratingRepository.open({
    openSide: (side, role) =>
      side === 'ec2' && settings.ec2 === null ? null : openSideInRole(side, role, { settings, command, logger }),
    dualWrite: settings.enableDualWrite,
    retry: { retries: settings.ec2Write.retries, delayMs: settings.ec2Write.retryDelayMs },
    healing: healRate === 0 ? null : { rowsPerSecond: healRate },
    consumer: { host: hostname(), pid: process.pid },
    logger,
    onRoles: (roles) => announce(roles, settings).forEach((line) => tell?.(line)),
  });
  try {
    return await work(repository);
  } catch (error) {
    throw asUnreachable(
      error,
      repository.primarySide === 'ec2' && settings.ec2 !== null ? { side: 'ec2', connection: settings.ec2 } : local,
    );
  } finally {
    await repository.close();
  }
}

/** The lines that operators know from the guide, and what is unwise about the settings that are used. */
function announce({ primary, secondary }: Roles, { warnings }: Settings): string[] {
  const used = primary === 'ec2' || secondary === 'ec2' ? warnings : [];
  const line =
    secondary === null ? '📝 Initializing single-write repository...' : '🔄 Initializing dual-write repository...';
  return [line, ...used.map((warning) => `Warning: ${warning}`)];
}
