import { adviseOn } from './advice.js';
import { oneLine } from './output.js';
import { formatCount, formatTime } from './quantities.js';
import { renderTable } from './table.js';
import { sideTitle } from '../domain/side.js';
import type { CutoverReport, Gate, Step } from '../operations/cutover/cutover-report.js';

/**
 * What a person reads: where the migration stands, the gates, the steps of the switch, and the next command. `again` is the
 * command that was asked for, without --dry-run; null where nothing was to be changed.
 */
export function renderCutover(report: CutoverReport, again: string | null): string {
  const { gates, steps, changed, pauseMs } = report;
  const failed = gates.filter(({ passed }) => !passed).map(({ name }) => name);
  const isMeasuredOnly = again !== null && !changed && gates.length > 0;
  const isRehearsed = isMeasuredOnly && failed.length === 0;
  return [
    ...(gates.length === 0 ? [] : [renderGates(gates)]),
    ...(steps.length === 0 ? [] : [renderSteps(steps)]),
    renderState(report),
    ...(pauseMs === null ? [] : [`Ingestion paused for ${formatCount(pauseMs)} ms.`]),
    ...(again === null && report.history.length > 0 ? [renderHistory(report)] : []),
    ...(isMeasuredOnly && !isRehearsed ? [`Not met: ${failed.join(', ')}. Nothing was changed.`] : []),
    ...(isRehearsed ? ['Every gate is met; nothing was changed.'] : []),
    `Next: ${isRehearsed ? again : nextStep(report)}`,
  ].join('\n');
}

/** The document of `cutover --json`: the report, with the next step for each gate that is not met. */
export type PrintedCutover = Omit<CutoverReport, 'gates'> & { readonly gates: readonly PrintedGate[] };

type PrintedGate = Omit<Gate, 'advice'> & { readonly next: string | null };

export function printCutover(report: CutoverReport): PrintedCutover {
  const gates = report.gates.map(({ name, passed, detail, advice, forcible }) => {
    return { name, passed, detail, next: advice === null ? null : adviseOn(advice), forcible };
  });
  return { ...report, gates };
}

export function renderGates(gates: readonly Gate[]): string {
  const rows = gates.map(({ name, passed, detail, advice }) => {
    return [name, passed ? 'met' : 'NOT MET', advice === null ? detail : [detail, `→ ${adviseOn(advice)}`]];
  });
  return renderTable(['gate', '', 'measured'], rows);
}

function renderSteps(steps: readonly Step[]): string {
  return renderTable(
    ['step', 'ms', 'what'],
    steps.map(({ name, ms, detail }) => [name, ms, detail]),
  );
}

function renderState({ phase, writeMode, epoch, primary, keepLocalCurrent, attempt, ...last }: CutoverReport): string {
  if (phase === null) return 'No phase is recorded: local is the primary, and flags decide where consumers write.';
  const kept = phase === 3 ? `, local ${keepLocalCurrent ? 'kept current' : 'kept as it was'}` : '';
  const why = last.reason === null ? '' : ` (${oneLine(last.reason)})`;
  const draining =
    attempt === null
      ? []
      : [`A change to phase ${attempt.targetPhase} is under way; called off at ${attempt.deadline}.`];
  return [
    `Phase ${phase}, ${writeMode ?? ''}, epoch ${epoch}: ${sideTitle(primary)} is the primary${kept}.`,
    `Since ${last.changedAt ?? '?'} by ${oneLine(last.changedBy ?? '?')}${why}.`,
    ...draining,
  ].join('\n');
}

function renderHistory({ history }: CutoverReport): string {
  return renderTable(
    ['epoch', 'phase', 'write mode', 'at (UTC)', 'by'],
    history.map(({ epoch, phase, writeMode, changedAt, changedBy, reason, overriddenGates }) => {
      const overridden = overriddenGates.length === 0 ? [] : [`overridden: ${overriddenGates.join(', ')}`];
      const who = [changedBy ?? '', ...(reason === null ? [] : [reason]), ...overridden];
      return [epoch, phase ?? '-', writeMode ?? '-', formatTime(changedAt).slice(0, 19), who];
    }),
  );
}

/** Returns the next command: forward by the gates, or back. */
function nextStep({ phase, gates, changed, attempt }: CutoverReport): string {
  if (attempt !== null) return 'wait for the change under way: sensorctl cutover';
  const failed = gates.find(({ passed }) => !passed);
  if (failed !== undefined && !changed) return failed.advice === null ? 'sensorctl cutover' : adviseOn(failed.advice);
  switch (phase) {
    case null:
      return 'sensorctl cutover --phase 1';
    case 1:
      return changed
        ? 'sensorctl consume    # dual write is on; then sensorctl compare --all'
        : 'sensorctl cutover --phase 2';
    case 2:
      return 'sensorctl monitor    # after the soak sensorctl cutover --phase 3; back: --rollback';
    case 3:
      return 'sensorctl monitor    # back: sensorctl cutover --rollback';
  }
}

/** Returns the question to the operator before a change. */
export function describeChange(
  to: number | 'back',
  { phase, primary }: Pick<CutoverReport, 'phase' | 'primary'>,
): string {
  const target = to === 'back' ? (phase ?? 2) - 1 : to;
  const moves = target === 3 || phase === 3;
  const what = moves
    ? `${sideTitle(primary)} stops being the primary; consumers pause meanwhile.`
    : 'No consumer pauses.';
  return `The migration goes from ${phase === null ? 'no phase' : `phase ${phase}`} to phase ${target}. ${what}`;
}
