import type { Settings } from '../config.js';
import { BULK_CALL_TIMEOUT_MS, closeDatabase, type Database, openDatabase } from '../db/database.js';
import { newerState } from '../domain/migration.js';
import type { Role, Side } from '../domain/side.js';
import { UsageError } from '../errors.js';
import type { Logger } from '../logger.js';
import { queryableOf } from '../repository/compare/sides.js';
import { readState } from '../repository/phase/state.js';
import { TIMES } from '../timing.js';

/** A call on the primary may take this long, in ms; shorter than a consumer's lease. */
const PRIMARY_CALL_TIMEOUT_MS = TIMES.primaryCallMs;

/** Opens a side by the settings; throws a UsageError where EC2 is asked for and not configured. */
export function openSide(side: Side, settings: Settings, command: string, logger: Logger): Database {
  return openSideInRole(side, side === 'local' ? 'primary' : 'secondary', { settings, command, logger });
}

/** The same for a role that does not follow from the side. */
export function openSideInRole(
  side: Side,
  role: Role,
  { settings, ...options }: { settings: Settings; command: string; logger: Logger },
): Database {
  const callTimeoutMs = role === 'primary' ? PRIMARY_CALL_TIMEOUT_MS : settings.ec2Write.timeoutMs;
  return open(side, settings, { ...options, callTimeoutMs });
}

interface OpenOptions {
  readonly command: string;
  readonly logger: Logger;
  readonly callTimeoutMs: number;
  readonly catalogsOnly?: boolean;
}

function open(
  side: Side,
  settings: Settings,
  { command, logger, callTimeoutMs, catalogsOnly = false }: OpenOptions,
): Database {
  const connection = side === 'local' ? settings.local : settings.ec2;
  if (connection === null) {
    throw new UsageError('EC2_DB_HOST is not set', { code: 'ec2-not-set' });
  }
  if (side === 'ec2') warnOnce(settings, logger);
  const { host, port, poolMax } = connection;
  const database = openDatabase({
    side,
    connection,
    poolMax,
    callTimeoutMs,
    catalogsOnly,
    applicationName: `sensorctl ${command}`,
    onIdleError: (error) => logger.debug(`an idle ${side} connection broke`, { error: error.message }),
  });
  const { pool } = database;
  pool.on('connect', () => logger.debug(`connected to ${side}`, { host, port, connections: pool.totalCount, poolMax }));
  return database;
}

const warned = new WeakSet<Settings>();

/** Logs once, however often EC2 is opened, what is unwise about the connection. */
function warnOnce(settings: Settings, logger: Logger): void {
  if (warned.has(settings)) return;
  warned.add(settings);
  for (const warning of settings.warnings) logger.warn(warning);
}

/** Which of both sides decides, by the newer of their records; changes nothing. */
export async function orientSides({
  local,
  ec2,
}: Readonly<Record<Side, Database>>): Promise<{ primary: Database; secondary: Database }> {
  const [here, there] = await Promise.all([readState(queryableOf(local)), readState(queryableOf(ec2))]);
  const { primary } = newerState(here, there);
  return primary === 'local' ? { primary: local, secondary: ec2 } : { primary: ec2, secondary: local };
}

/** Runs `work`, and closes the databases afterwards, whatever happens. */
export async function withDatabases<Result>(
  databases: readonly Database[],
  work: () => Promise<Result>,
): Promise<Result> {
  try {
    return await work();
  } finally {
    await Promise.all(databases.map((database) => closeDatabase(database)));
  }
}

/** Opens both sides for `work` whose statements read or move much, without EC2_WRITE_TIMEOUT, and closes them. */
export async function withSides<Result>(
  settings: Settings,
  command: string,
  logger: Logger,
  work: (sides: Readonly<Record<Side, Database>>) => Promise<Result>,
): Promise<Result> {
  const options = { command, logger, callTimeoutMs: BULK_CALL_TIMEOUT_MS };
  const [local, ec2] = [open('local', settings, options), open('ec2', settings, options)];
  return await withDatabases([local, ec2], () => work({ local, ec2 }));
}

/** The same for `work` that reads catalogs alone, and tells where a side is unfit for more. */
export async function withCatalogs<Result>(
  settings: Settings,
  command: string,
  logger: Logger,
  work: (sides: Readonly<Record<Side, Database>>) => Promise<Result>,
): Promise<Result> {
  const options = { command, logger, callTimeoutMs: BULK_CALL_TIMEOUT_MS, catalogsOnly: true };
  const [local, ec2] = [open('local', settings, options), open('ec2', settings, options)];
  return await withDatabases([local, ec2], () => work({ local, ec2 }));
}
