import { hostname } from 'node:os';
import { openSideInRole } from './open-sides.js';
import type { Settings } from '../config.js';
import { asUnreachable } from '../db/database.js';
import type { DeclaredTables } from '../domain/row.js';
import type { Roles } from '../domain/migration.js';
import type { Logger } from '../logger.js';
import { MigratingRepository } from '../repository/migrating-repository.js';

export interface RepositoryOptions {
  readonly command: string;
  /** Rows a second that self-healing may repair; 0 switches it off. */
  readonly healRate: number;
  /** The tables of the decoder. */
  readonly declared: DeclaredTables;
  readonly logger: Logger;
  /** Called with a line that says which databases will be written. */
  readonly tell?: (line: string) => void;
}

/** Opens the repository that settings and recorded phase describe, runs `work` with it, and closes it whatever happens. */
export async function withRepository<Result>(
  settings: Settings,
  { command, healRate, declared, logger, tell }: RepositoryOptions,
  work: (repository: MigratingRepository) => Promise<Result>,
): Promise<Result> {
  const local = { side: 'local', connection: settings.local } as const;
  const repository = await MigratingRepository.open({
    openSide: (side, role) =>
      side === 'ec2' && settings.ec2 === null ? null : openSideInRole(side, role, { settings, command, logger }),
    dualWrite: settings.enableDualWrite,
    declared,
    selection: settings.tables,
    retry: { retries: settings.ec2Write.retries, delayMs: settings.ec2Write.retryDelayMs },
    healing: healRate === 0 ? null : { rowsPerSecond: healRate },
    consumer: { host: hostname(), pid: process.pid },
    logger,
    onRoles: ({ secondary }) => tell?.(announce(secondary)),
  });
  try {
    return await work(repository);
  } catch (error) {
    throw asUnreachable(
      error,
      repository.roles.primary === 'ec2' && settings.ec2 !== null ? { side: 'ec2', connection: settings.ec2 } : local,
    );
  } finally {
    await repository.close();
  }
}

/** The line that operators know from the guide. */
function announce(secondary: Roles['secondary']): string {
  return secondary === null ? '📝 Initializing single-write repository...' : '🔄 Initializing dual-write repository...';
}
