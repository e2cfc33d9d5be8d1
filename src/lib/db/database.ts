import pg from 'pg';
import { withDeadline } from '../domain/retry.js';
import { sideTitle, type Side } from '../domain/side.js';
import { ConflictError, SensorctlError, UnreachableError, type CodeOfSide, type Problem } from '../errors.js';
import { guardedClient } from './authentication.js';
import { findConnectingProblem } from './connecting-advice.js';
import { describeConnection, tlsOptions, type ConnectionSettings } from './connection.js';
import { destroySocket, onConnectionError, type PoolConfig } from './pg-internals.js';
import { prepareSession } from './search-path.js';
import { findBroken, findUnfit, type SessionTimeouts } from './session-settings.js';
import { TIMES } from '../timing.js';
import { describeFault, faultKind, sqlstateOf } from './sqlstate.js';

export interface DatabaseOptions {
  readonly side: Side;
  readonly connection: ConnectionSettings;
  readonly poolMax: number;
  /** After this long, in ms, a call is given up and its connection destroyed; the server ends the statement before. */
  readonly callTimeoutMs: number;
  readonly applicationName: string;
  /** Catalogs alone are read: a session in which no row may be written or read serves, and what makes it so is told. */
  readonly catalogsOnly?: boolean;
  /** Called when an idle connection breaks; the pool replaces it by itself. */
  readonly onIdleError?: (error: Error) => void;
}

/** One side: a pool of connections whose sessions speak UTC, with timeouts on the server and on the client. */
export interface Database {
  readonly side: Side;
  readonly connection: ConnectionSettings;
  readonly pool: pg.Pool;
  /** Every connection that is open, idle or in use. */
  readonly connections: ReadonlySet<pg.ClientBase>;
  /** Opens a connection beside the pool, as `withSession` needs it; a pipelined one sends without waiting for answers. */
  readonly openSession: (kind?: 'pipelined') => Promise<pg.Client>;
}

/** A call that reads or moves much may take this long, in ms; still shorter than a consumer's lease. */
export const BULK_CALL_TIMEOUT_MS = TIMES.bulkCallMs;

/** A transaction's open client, or the pool for a statement that stands alone. */
export type Queryable = Pick<pg.Pool, 'query'>;

const CONNECT_TIMEOUT_MS = 10_000;
const CLOSE_TIMEOUT_MS = 2_000;
/** The server's limit as a share of the client's, so that the server has ended the statement when the client gives up. */
const SERVER_SHARE = 0.8;
/** Shorter still, so that a lock that somebody holds is told from a statement that takes long. */
const LOCK_SHARE = 0.5;
const BOOLEAN = 16;
const NUMBERS = new Set([20, 21, 23]);

/** Opens a side lazily: no connection is made before the first call. */
export function openDatabase(options: DatabaseOptions): Database {
  const connections = new Set<pg.ClientBase>();
  const config: PoolConfig = {
    ...clientConfig(options, options.callTimeoutMs),
    Client: clientOf(options),
    max: options.poolMax,
    pipeline: true,
    onConnect: async (client) => {
      connections.add(client);
      await prepareConnection(client, options, options.callTimeoutMs).catch((error: unknown) => {
        connections.delete(client);
        throw error;
      });
    },
  };
  const pool = new pg.Pool(config);
  pool.on('error', (error) => options.onIdleError?.(error));
  pool.on('remove', (client) => connections.delete(client));
  const openSession = (kind?: 'pipelined'): Promise<pg.Client> => connectSession(options, kind === 'pipelined');
  return { side: options.side, connection: options.connection, pool, connections, openSession };
}

/**
 * Calls `work` with a connection of its own, for COPY (which cannot share a pipelined one) and for locks that a session holds; the
 * connection is cut where the work fails, whatever it was doing.
 */
export async function withSession<Result>(
  { openSession }: Pick<Database, 'openSession'>,
  work: (session: pg.Client) => Promise<Result>,
): Promise<Result> {
  const session = await openSession();
  try {
    const result = await work(session);
    await endSession(session);
    return result;
  } catch (error) {
    destroySocket(session);
    throw error;
  }
}

/** A server that fell silent never answers the farewell: what was done stands, and the socket is cut. */
async function endSession(session: pg.Client): Promise<void> {
  await withDeadline(session.end(), CLOSE_TIMEOUT_MS, () => destroySocket(session));
}

async function connectSession(options: DatabaseOptions, pipeline: boolean): Promise<pg.Client> {
  const session = new (clientOf(options))({ ...clientConfig(options, BULK_CALL_TIMEOUT_MS), pipeline });
  // One that breaks fails its calls, and would end the process besides.
  session.on('error', () => undefined);
  try {
    await session.connect();
  } catch (error) {
    destroySocket(session);
    throw error;
  }
  await prepareConnection(session, options, BULK_CALL_TIMEOUT_MS);
  return session;
}

/** The password is the client's own business: it depends on who asks for it. */
function clientOf(options: DatabaseOptions): ReturnType<typeof guardedClient> {
  return guardedClient(options.connection, (client) => rememberOrigin(client, options));
}

/** Goes before anything else on a connection; one that cannot be prepared, or is not what was asked for, is cut. */
async function prepareConnection(
  client: pg.ClientBase,
  options: DatabaseOptions,
  callTimeoutMs: number,
): Promise<void> {
  // The pool listens only to idle clients.
  client.on('error', () => undefined);
  try {
    const { stranger, session } = await prepareSession(client, timeoutsOf(callTimeoutMs));
    const broken = findBroken(session, options);
    if (broken !== null) throw broken;
    if (stranger !== null) throw foreignSchema(stranger, options);
    const unfit = options.catalogsOnly === true ? null : findUnfit(session, options);
    if (unfit !== null) throw unfit;
  } catch (error) {
    destroySocket(client);
    throw error;
  }
}

function timeoutsOf(callTimeoutMs: number): SessionTimeouts {
  const serverTimeoutMs = Math.max(1, Math.floor(callTimeoutMs * SERVER_SHARE));
  return {
    statement_timeout: serverTimeoutMs,
    lock_timeout: Math.max(1, Math.floor(callTimeoutMs * LOCK_SHARE)),
    idle_in_transaction_session_timeout: serverTimeoutMs,
  };
}

function clientConfig({ connection, applicationName }: DatabaseOptions, callTimeoutMs: number): pg.ClientConfig {
  return {
    host: connection.host,
    port: connection.port,
    database: connection.database,
    user: connection.user,
    ssl: tlsOptions(connection),
    application_name: applicationName,
    connectionTimeoutMillis: Math.min(CONNECT_TIMEOUT_MS, callTimeoutMs),
    keepAlive: true,
    query_timeout: callTimeoutMs,
    types: { getTypeParser: (oid: number) => parserOf(oid) },
  };
}

/** Opens a connection of the pool that somebody will want soon. Whether it opens, whoever wants one is told. */
export function openAhead({ pool }: Database): void {
  pool.connect().then(
    (client) => client.release(),
    () => undefined,
  );
}

/** Ends the pool; connections that a silent server keeps open are cut after two seconds. */
export async function closeDatabase({ pool, connections }: Database): Promise<void> {
  const ended = new Promise<void>((resolve) => {
    const check = (): void => {
      if (connections.size === 0) resolve();
    };
    pool.on('remove', check);
    void pool.end().then(check);
  });
  await withDeadline(ended, CLOSE_TIMEOUT_MS, () => undefined);
  for (const connection of connections) destroySocket(connection);
}

/** Whoever owns the schema has what is called there run with the rights of whoever calls it. */
function foreignSchema(owner: string, { side, connection }: DatabaseOptions): ConflictError {
  const where = `the ${sideTitle(side)} database at ${describeConnection(connection)}`;
  return new ConflictError(
    `the schema sensorctl in ${where} belongs to ${owner}, and is not sensorctl's own; nothing was called there`,
    { code: 'schema-foreign', facts: { side } },
  );
}

type Origin = Pick<Database, 'side' | 'connection'>;

/** Which side an error came from, of its server or of the way there: it does not say so itself. */
const origins = new WeakMap<object, Origin>();

function rememberOrigin(client: pg.ClientBase, { side, connection }: Origin): void {
  onConnectionError(client, (error) => origins.set(error, { side, connection }));
}

/** Runs calls of a side; throws an error that names the side, and what to try next. */
export async function namingSide<Result>(database: Origin, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    throw asUnreachable(error, database);
  }
}

/**
 * Turns a failed call into an error that says where it happened and what to try next; one that says so already stays.
 * `otherwise` is the side of an error that no server gave.
 */
export function asUnreachable(error: unknown, otherwise: Origin): Error {
  if (error instanceof SensorctlError || faultKind(error) === 'defect') return error as Error;
  if (faultKind(error) === 'fenced') {
    return new ConflictError(describeFault(error), {
      code: 'phase-changed',
      cause: error,
    });
  }
  const { side, connection } = origins.get(error as object) ?? otherwise;
  const where = `the ${sideTitle(side)} database at ${describeConnection(connection)}`;
  return new UnreachableError(`${where} failed: ${describeFault(error)}`, {
    ...problemOf(error, { side, connection }),
    cause: error,
  });
}

/** Returns the side that an error without a server's answer came from: the first one, unless it answers. */
export async function findSilent(first: Database, other: Database): Promise<Database> {
  const answers = await first.pool.query('select').then(
    () => true,
    () => false,
  );
  return answers ? other : first;
}

/** The problem that a SQLSTATE means for an operator. */
const PROBLEMS: Readonly<Record<string, CodeOfSide>> = {
  // PostgreSQL takes what we send: PgBouncer gives this code for what it does not, and for a database it does not know.
  '08P01': 'pooler-refuses',
  '28P01': 'password-wrong',
  '3D000': 'database-missing',
  '42P01': 'not-prepared',
  '3F000': 'not-prepared',
  '55P03': 'lock-held',
  '57014': 'statement-ended',
  '42501': 'right-missing',
  '25006': 'server-read-only',
  '57P01': 'server-starting',
  '57P02': 'server-starting',
  '57P03': 'server-starting',
  '53400': 'limit-exceeded',
  '53300': 'connections-used-up',
  '53100': 'disk-full',
};

/** The problem that a failed call shows, by its SQLSTATE or by what failed on the way to the server. */
function problemOf(error: unknown, { side, connection }: Origin): Problem {
  const sqlstate = sqlstateOf(error);
  if (sqlstate === undefined) return { code: findConnectingProblem(error) ?? 'server-unreachable', facts: { side } };
  if (sqlstate === '28000') {
    return { code: 'sign-in-refused', facts: { side, isEncrypted: connection.sslMode !== 'disable' } };
  }
  if (sqlstate === '53200') return { code: 'locks-used-up' };
  return { code: PROBLEMS[sqlstate] ?? 'server-answered', facts: { side } };
}

/** Times, numerics and JSON stay text: a Date would lose the microseconds, a double the digits. */
function parserOf(oid: number): (value: string) => unknown {
  if (oid === BOOLEAN) return (value) => value === 't';
  return NUMBERS.has(oid) ? Number : (value) => value;
}
