/** The exit codes of the command line, by meaning (docs/commands.md, "Output and exit codes"). */
export const EXIT_CODE = {
  yes: 0,
  no: 1,
  usage: 2,
  unreachable: 3,
  conflict: 4,
  defect: 70,
  interrupted: 130,
} as const;

export type ExitCode = (typeof EXIT_CODE)[keyof typeof EXIT_CODE];

interface ErrorDetails {
  /** The next command or step to try, as the operator would type or do it. */
  next?: string;
  cause?: unknown;
}

/** An error that an operator can act on: what happened, where, and what to try next. */
export abstract class SensorctlError extends Error {
  abstract readonly exitCode: ExitCode;
  readonly next: string | undefined;

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.next = details.next;
  }
}

/** Wrong flags or settings. */
export class UsageError extends SensorctlError {
  readonly exitCode = EXIT_CODE.usage;
}

/** A change of phase that was not made: a gate was not met, or it went back. */
export class CutoverRefusedError extends SensorctlError {
  readonly exitCode = EXIT_CODE.no;
}

/** A database or the queue could not be reached, or failed. */
export class UnreachableError extends SensorctlError {
  readonly exitCode = EXIT_CODE.unreachable;
}

/** What a snapshot showed of a table does not count: its files were replaced meanwhile. The same work may succeed when repeated. */
export class RewrittenError extends UnreachableError {}

/** Someone else holds or changed the state. */
export class ConflictError extends SensorctlError {
  readonly exitCode = EXIT_CODE.conflict;
}

/** The second signal: stop now. */
export class InterruptedError extends SensorctlError {
  readonly exitCode = EXIT_CODE.interrupted;
}

/** `no such file or directory`: what the system says of a file, without the name of the call that failed. */
export function describeFileFault(error: unknown): string {
  return (error as Error).message.replace(/^E[A-Z]+: ([^,]+), .*$/s, '$1');
}
