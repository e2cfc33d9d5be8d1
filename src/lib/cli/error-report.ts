import { EXIT_CODE, SensorctlError, type ExitCode } from '../errors.js';
import { nextStepFor, UnansweredError } from './advice.js';
import { ownMessage } from './oclif-internals.js';
import { terminalWidth, wrap } from './text-layout.js';

/** A failed command's message; with `--json` it is the document on stdout. */
export interface ErrorReport {
  readonly error: string;
  /** The next command or step to try. */
  readonly next: string;
  readonly exitCode: ExitCode;
}

const DEFECT_NEXT = 'report this defect of sensorctl with the lines above; the same command can be repeated';

/** A defect is whatever is not one of our own errors. */
export function createErrorReport(error: Error, usage: string): ErrorReport {
  if (!(error instanceof SensorctlError)) {
    return { error: error.message, next: DEFECT_NEXT, exitCode: EXIT_CODE.defect };
  }
  return { error: ownMessage(error), next: nextStepFor(error) ?? usage, exitCode: error.exitCode };
}

/**
 * The lines for stderr, of at most so many letters but for what is to be typed; those of a defect hold the stack, which is
 * of use to its developers.
 */
export function renderErrorReport(
  { error: message, next, exitCode }: ErrorReport,
  error: Error,
  width = terminalWidth(process.stderr),
): string[] {
  const frames =
    exitCode === EXIT_CODE.defect ? (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line)) : [];
  const kind = error instanceof UnansweredError ? '' : 'Error: ';
  // Further lines of a message are set in: none of them looks like the one that says what to do.
  return [...wrap(`${kind}${message.replaceAll(/\n(?! )/g, '\n  ')}`, width), ...frames, `Next: ${next}`];
}

/** The causes of an error, the nearest first; for --verbose. */
export function describeCauses({ cause }: Error): string[] {
  if (!(cause instanceof Error)) return [];
  const code = (cause as { code?: unknown }).code;
  const what = [...(typeof code === 'string' ? [code] : []), cause.message || cause.name].join(' ');
  return [`caused by ${what}`, ...describeCauses(cause)];
}
