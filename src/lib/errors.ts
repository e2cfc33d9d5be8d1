import type { Side } from './domain/side.js';

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

interface OfSide {
  readonly side: Side;
}

/**
 * What can stand in the way, by name, with the facts that advice on it needs; null where it needs none. `cli/advice.ts`
 * holds the next step for each: below the command line nothing knows commands, flags or variables.
 */
export interface ProblemFacts {
  // Settings
  'settings-wrong': null;
  'settings-file-unreadable': { readonly path: string };
  'settings-file-wrong': { readonly path: string };
  'ec2-not-set': null;
  'sides-are-one': null;
  'port-taken': { readonly what: 'health' | 'metrics' | 'web' };
  // Connecting to a database
  'no-password': OfSide;
  'password-exposed': OfSide;
  'password-wrong': OfSide;
  'server-unproven': OfSide;
  'sign-in-refused': OfSide & { readonly isEncrypted: boolean };
  'tls-missing': OfSide;
  'certificate-unknown': OfSide;
  'certificate-expired': OfSide;
  'certificate-of-another-host': OfSide;
  'server-unreachable': OfSide;
  'pooler-refuses': OfSide;
  'session-shared': OfSide;
  'session-settings-lost': OfSide;
  'replication-role': OfSide & { readonly user: string };
  // A database that answers
  'server-starting': OfSide;
  'server-read-only': OfSide;
  'server-answered': OfSide;
  'server-too-old': null;
  'encoding-not-utf8': null;
  'database-missing': OfSide;
  'right-missing': OfSide;
  'connections-used-up': OfSide;
  'locks-used-up': null;
  'disk-full': OfSide;
  'lock-held': OfSide;
  'limit-exceeded': OfSide;
  'statement-ended': OfSide;
  // Schemas
  'not-prepared': OfSide;
  'schema-foreign': OfSide;
  'schema-holds-foreign': null;
  'schema-differs': null;
  'column-missing': { readonly statement: string };
  'key-missing': OfSide;
  'duplicates-compressed': { readonly table: string; readonly side: Side };
  'table-not-on-local': null;
  'replica-role': OfSide;
  'rows-hidden': { readonly table: string; readonly side: Side };
  // TimescaleDB
  'restoring-mode': OfSide;
  'timescaledb-too-old': null;
  'chunks-frozen': null;
  'chunks-compressed': { readonly statements: readonly string[] };
  'aggregate-too-slow': { readonly statement: string };
  'aggregates-not-owned': { readonly owners: readonly string[]; readonly user: string };
  'jobs-not-owned': {
    readonly statements: readonly string[];
    readonly owners: readonly string[];
    readonly user: string;
  };
  'policies-not-restored': null;
  // The queue and files of messages
  'queue-missing': null;
  'queue-credentials-refused': null;
  'queue-right-missing': { readonly action: string };
  'queue-is-fifo': null;
  'queue-call-refused': null;
  'queue-unreachable': null;
  'messages-refused': null;
  'message-file-unreadable': null;
  'decoder-unusable': { readonly path: string };
  'decoder-changed': null;
  'decoder-misfit': null;
  'sensors-unknown': { readonly fromMac: boolean | null };
  // Comparison and repair
  'tables-unknown': null;
  'no-tables': null;
  'table-rewritten': { readonly table: string };
  'digests-differ': null;
  'comparison-stopped': null;
  'comparison-lost': null;
  'comparison-held': null;
  'nothing-to-resume': null;
  'backfill-stopped': null;
  'record-unknown': null;
  // Phases
  'phase-changed': null;
  'phase-out-of-order': { readonly step: number | 'back' };
  'no-phase-before': null;
  'two-primaries': null;
  'record-restored': null;
  'held-back-from-ec2': null;
  'change-under-way': null;
  // Gates
  'gate-not-measured': null;
  'readings-refused': null;
  'readings-missed': null;
  'not-proven': null;
  'tables-unsettled': null;
  'rows-differ': null;
  'clocks-apart': null;
  'connections-few': null;
  'slots-idle': null;
  'archiving-fails': null;
  'soak-short': null;
  'soak-disturbed': { readonly hours: string };
  'soak-uncompared': null;
  'soak-unused': null;
  'soak-unwatched': null;
  'consumer-silent': { readonly goneSeconds: number };
  'consumer-local-only': null;
  'ec2-has-more': null;
  'local-has-more': null;
  'tracking-broken': null;
  'way-back-closed': OfSide;
  'sequences-stuck': OfSide;
  'sequence-right-missing': { readonly grants: readonly { readonly side: Side; readonly statement: string }[] };
  // The switch
  'cutover-ended': null;
  'readings-refused-in-switch': null;
  'writers-hang': { readonly statement: string };
  'other-writers-busy': null;
  'switch-unknown': OfSide;
  'switch-incomplete': OfSide;
  'view-not-refreshed': { readonly statement: string };
  // Monitor
  'no-side-answers': null;
  'figure-unknown': { readonly names: readonly string[] };
  'condition-malformed': { readonly operators: readonly string[] };
  'limit-malformed': { readonly figure: string; readonly operator: string; readonly isDuration: boolean };
  // Sandbox and demo
  'settings-file-foreign': null;
  'package-missing': null;
  'programs-broken': null;
  'no-account': null;
  'data-directory-closed': null;
  'data-directory-foreign': null;
  'cluster-not-made': null;
  'temporary-directory-closed': null;
  'temporary-directory-foreign': null;
  'sandbox-port-taken': null;
  'sandbox-server-failed': null;
  'processes-not-killed': null;
  'server-not-frozen': null;
  'sandbox-queue-refused': null;
  'sandbox-queue-not-started': null;
  'demo-command-failed': null;
  'telemetry-file-unreadable': null;
}

export type ProblemCode = keyof ProblemFacts;

/** The codes whose only fact is the side. */
export type CodeOfSide = {
  [Code in ProblemCode]: OfSide extends ProblemFacts[Code] ? Code : never;
}[ProblemCode];

type OtherCode = Exclude<ProblemCode, CodeOfSide>;

/** A problem with its facts. */
export type Problem =
  | { readonly code: CodeOfSide; readonly facts: OfSide }
  | {
      [Code in OtherCode]: ProblemFacts[Code] extends null
        ? { readonly code: Code; readonly facts?: undefined }
        : { readonly code: Code; readonly facts: ProblemFacts[Code] };
    }[OtherCode];

type ErrorDetails = (Problem | { readonly code?: undefined; readonly facts?: undefined }) & {
  readonly cause?: unknown;
};

/** An error that an operator can act on: what happened and where, and the problem for which there is advice. */
export abstract class SensorctlError extends Error {
  abstract readonly exitCode: ExitCode;
  /** Null where the usage of the command is all that can be advised. */
  readonly problem: Problem | null;

  constructor(message: string, { cause, code, facts }: ErrorDetails = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = new.target.name;
    this.problem = code === undefined ? null : ({ code, facts } as Problem);
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

/** A table's files were replaced while it was read, so that what the snapshot showed does not count. Repeating may succeed. */
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
