import pg from 'pg';
import { oneLine } from '../domain/printable.js';
import { AuthenticationError } from './authentication.js';

/**
 * What a failed database call means for the caller:
 * - `collision`: a deadlock or serialization failure; repeat the transaction at once.
 * - `unavailable`: the server, the network or a resource; the same call may succeed later.
 * - `rejected`: the data; the same rows will be rejected again.
 * - `misconfigured`: schema, rights or password; a person has to mend it.
 * - `fenced`: this side does not take batches as primary in this epoch; read where the migration stands.
 * - `defect`: an error in sensorctl.
 */
export type FaultKind = 'collision' | 'unavailable' | 'rejected' | 'misconfigured' | 'fenced' | 'defect';

/** A statement that never left this process: a value of it has no form in which it could be sent. */
export class UnsendableError extends Error {
  constructor(cause: unknown) {
    super(`cannot be sent to a database: ${describeFault(cause)}`, { cause });
    this.name = 'UnsendableError';
  }
}

/** Errors of the SQL text itself: sensorctl wrote it. */
const DEFECTS = new Set(['42601', '42702', '42803', '42P02', '42P18']);
/** Time, a limit of the settings, and locks: a statement over fewer chunks or rows may have enough. */
const TOO_MUCH = new Set(['57014', '53400', '53200']);
/** Connection, disk, number of connections, a lock of somebody else, a read-only or ending server: whatever is written. */
const NOT_OF_THE_DATA = new Set([
  '08',
  '53100',
  '53300',
  '55P03',
  '25006',
  '57P01',
  '57P02',
  '57P03',
  '57P04',
  '57P05',
  '58030',
]);
/** Classes of the server's own state. */
const OF_THE_SERVER = new Set(['08', '25', '40', '53', '55', '57', '58', 'XX']);
const COLLISION = new Set(['40P01', '40001']);
/** Raised by sensorctl.assert_primary. */
const FENCED_CLASS = 'SF';
const REJECTED_CLASSES = new Set(['21', '22', '23', '44', '54', 'P0']);
/** Rights, names and types of what a statement is about. */
const OF_A_TABLE = new Set(['0A', '42']);
const MISCONFIGURED_CLASSES = new Set(['0A', '28', '3D', '3F', '42']);

/** Decides what an error of a database call means, by SQLSTATE and by socket error; the one place that does. */
export function faultKind(error: unknown): FaultKind {
  if (error instanceof UnsendableError) return 'rejected';
  const sqlstate = sqlstateOf(error);
  if (error instanceof AuthenticationError) return 'misconfigured';
  if (sqlstate === undefined) return isProgrammingError(error) ? 'defect' : 'unavailable';
  if (COLLISION.has(sqlstate)) return 'collision';
  if (DEFECTS.has(sqlstate)) return 'defect';
  const stateClass = sqlstate.slice(0, 2);
  if (stateClass === FENCED_CLASS) return 'fenced';
  if (REJECTED_CLASSES.has(stateClass)) return 'rejected';
  return MISCONFIGURED_CLASSES.has(stateClass) ? 'misconfigured' : 'unavailable';
}

/** The SQLSTATE a server gave; undefined for errors of the socket, of TLS and of pg itself. */
export function sqlstateOf(error: unknown): string | undefined {
  return error instanceof pg.DatabaseError ? error.code : undefined;
}

/** True where the server ended the statement for taking too long, or more than a limit of its settings allows; also as the cause of the error. */
export function isTooMuch(error: unknown): boolean {
  return TOO_MUCH.has(sqlstateOf(causeOf(error)) ?? '');
}

/**
 * True where the data may be at fault though the server did not say so: it ran out of time or of memory for them, met a
 * limit of its settings, or gave a code that nobody foresaw (an operator's trigger may raise any). So it may be where
 * our own code met what it did not expect.
 */
export function isDoubtful(error: unknown): boolean {
  if (isProgrammingError(error)) return true;
  const sqlstate = sqlstateOf(error);
  if (sqlstate === undefined || faultKind(error) !== 'unavailable') return false;
  return !NOT_OF_THE_DATA.has(sqlstate) && !NOT_OF_THE_DATA.has(sqlstate.slice(0, 2));
}

/** True for a code that nobody foresaw, such as a trigger of the operator raises: it may be the data, and no resource lacks. */
export function isUnforeseen(error: unknown): boolean {
  const stateClass = sqlstateOf(error)?.slice(0, 2) ?? '';
  return isDoubtful(error) && !isProgrammingError(error) && !isTooMuch(error) && !OF_THE_SERVER.has(stateClass);
}

/** True where the same call may succeed when it is repeated, by the error or by its cause. */
export function isPassing(error: unknown): boolean {
  return ['unavailable', 'collision'].includes(faultKind(causeOf(error)));
}

/** True where a lock was not to be had in time: another session holds it. */
export function isLockTimeout(error: unknown): boolean {
  return sqlstateOf(error) === '55P03';
}

/** A foreign key has nothing to refer to. */
export function isParentMissing(error: unknown): boolean {
  return sqlstateOf(error) === '23503';
}

/** An object of that name exists: somebody else made it. */
export function isMadeAlready(error: unknown): boolean {
  return sqlstateOf(error) === '42710';
}

/** One line for logs, the ledger and the quarantine: SQLSTATE or socket code, and the message. */
export function describeFault(error: unknown): string {
  const { code, message } = error as { code?: unknown; message?: unknown };
  // A server's words are its own: they make no line where it is not looked for.
  const text = oneLine(errorText(error, message));
  return typeof code === 'string' && !text.includes(code) ? `${code}: ${text}` : text;
}

/**
 * True where a server refused something of one table, or ran out of time or of locks with it: others can be gone on with.
 * By the error or by its cause.
 */
export function isOfTheTable(error: unknown): boolean {
  const cause = causeOf(error);
  const stateClass = sqlstateOf(cause)?.slice(0, 2) ?? '';
  return isTooMuch(cause) || REJECTED_CLASSES.has(stateClass) || OF_A_TABLE.has(stateClass);
}

/** Returns the error that was wrapped to name a side. */
function causeOf(error: unknown): unknown {
  return error instanceof Error && error.cause !== undefined ? error.cause : error;
}

function errorText(error: unknown, message: unknown): string {
  // Node joins the failures of several addresses of one host into an AggregateError without a message of its own.
  if (error instanceof AggregateError && error.message === '') {
    return [...new Set(error.errors.map((each) => describeFault(each)))].join('; ');
  }
  return typeof message === 'string' ? message : String(error);
}

/** True for what our own code throws where it meets what it did not expect. */
export function isProgrammingError(error: unknown): boolean {
  return error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError;
}
