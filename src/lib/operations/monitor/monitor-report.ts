import { asUnreachable, type Database } from '../../db/database.js';
import type { Phase } from '../../domain/migration.js';
import { formatInstantText } from '../../domain/time.js';
import { UnreachableError } from '../../errors.js';
import { otherSide, type Side } from '../../domain/side.js';
import type { TableSelection } from '../../domain/table-patterns.js';
import { describeFault, faultKind } from '../../db/sqlstate.js';
import type { LeftOutTable } from '../../repository/compare/plan-tables.js';
import { readReportedTables, type ReportedTable, type ReportedTables } from './reported-tables.js';
import { addressOf, type DatabaseAddress } from './side-watch.js';
import { findGapEpisodes, findIncidents, type GapEpisode, type Incident } from './incidents.js';
import { readTimeBefore } from '../../repository/cutover/evidence.js';
import { readComparisons } from '../../repository/monitor/comparison-list.js';
import type { ComparisonFigures } from '../../repository/monitor/last-comparison.js';
import { readSamples, readSoak, type Sample, type Soak } from '../../repository/monitor/samples.js';
import { readHistory, readState } from '../../repository/phase/state.js';

/** A gate of a change of phase, as `cutover` measures it. */
export interface ReportedGate {
  readonly name: string;
  readonly passed: boolean;
  readonly detail: string;
  /** What to do where it is not met, in words for the operator. */
  readonly next: string | null;
}

export interface ReportOptions {
  readonly local: Database;
  /** Null where EC2 is not configured. */
  readonly ec2: Database | null;
  readonly sinceMs: number;
  /** The tables of the migration. */
  readonly selection: TableSelection;
  /** Null where they were not measured. */
  readonly gates: readonly ReportedGate[] | null;
}

/** A change that was recorded: what a phase began with. */
export interface PhaseChange {
  readonly at: string | null;
  /** The phase before it; null where none was recorded. */
  readonly phaseBefore: Phase | null;
  /** Where it begins a change of the primary: the phase that this leads to. */
  readonly targetPhase: Phase | null;
  readonly phase: Phase | null;
  readonly writeMode: string | null;
  readonly epoch: number;
  readonly by: string | null;
  readonly reason: string | null;
  readonly overriddenGates: readonly string[];
}

/** The observations of monitors and comparisons: the evidence for a change ticket. */
export interface MonitorReport {
  /** UTC text. */
  readonly since: string;
  readonly until: string;
  /** Which databases it speaks of; null where EC2 is not configured. */
  readonly databases: Readonly<Record<Side, DatabaseAddress | null>>;
  readonly phase: Phase | null;
  readonly epoch: number;
  /** The soak, as the primary records it. */
  readonly soak: Soak;
  readonly incidents: readonly Incident[];
  readonly gaps: readonly GapEpisode[];
  readonly comparisons: readonly ComparisonFigures[];
  readonly changes: readonly PhaseChange[];
  readonly gates: readonly ReportedGate[] | null;
  /** Null where they could not be read, as when a side is away. */
  readonly tables: readonly ReportedTable[] | null;
  /** What does not belong to the migration, and why. */
  readonly leftOut: readonly LeftOutTable[];
  /** Sides that did not answer, and why: what they hold is not in here. */
  readonly notRead: readonly string[];
  readonly samples: readonly Sample[];
}

interface Evidence extends Pick<
  MonitorReport,
  'since' | 'until' | 'phase' | 'epoch' | 'soak' | 'comparisons' | 'changes'
> {
  readonly primary: Side;
  readonly side: Side;
  readonly samples: readonly Sample[];
}

const CHANGES_AT_MOST = 100;

/**
 * Reads the evidence of both sides, for the primary has changed with the phase. Throws an UnreachableError where neither
 * side answers.
 */
export async function readReport({ local, ec2, sinceMs, selection, gates }: ReportOptions): Promise<MonitorReport> {
  const sides = ec2 === null ? [local] : [local, ec2];
  const outcomes = await Promise.allSettled(sides.map((side) => readEvidence(side, sinceMs)));
  const found = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
  const failures = outcomes.flatMap((outcome, place) =>
    outcome.status === 'rejected' ? [asUnreachable(outcome.reason, sides[place] ?? local)] : [],
  );
  const isPrimary = ({ primary, side }: Evidence): boolean => primary === side;
  const lead = found.toSorted(
    (one, other) => other.epoch - one.epoch || Number(isPrimary(other)) - Number(isPrimary(one)),
  )[0];
  if (lead === undefined) {
    throw failures[0] ?? new UnreachableError('no side answers', { code: 'no-side-answers' });
  }
  const { since, until, phase, epoch, soak } = lead;
  const tables =
    ec2 === null || found.length < sides.length ? null : await reportTables({ local, ec2 }, lead.primary, selection);
  const samples = found
    .flatMap((each) => each.samples)
    .toSorted((one, other) => (one.takenAt < other.takenAt ? -1 : 1));
  return {
    since,
    until,
    databases: { local: addressOf(local), ec2: ec2 === null ? null : addressOf(ec2) },
    phase,
    epoch,
    soak,
    gates,
    incidents: findIncidents(samples, until),
    gaps: findGapEpisodes(samples),
    comparisons: found
      .flatMap(({ comparisons }) => comparisons)
      .toSorted((a, b) => (a.finishedAt < b.finishedAt ? 1 : -1)),
    changes: lead.changes.filter(({ at }) => at !== null && at >= since),
    tables: tables === null || 'problem' in tables ? null : tables.tables,
    leftOut: tables === null || 'problem' in tables ? [] : tables.leftOut,
    notRead: [
      ...failures.map(({ message }) => message),
      ...(tables !== null && 'problem' in tables ? [`how each table is proven: ${tables.problem}`] : []),
    ],
    samples,
  };
}

/** What a role may not read, or a side that is not prepared cannot say, leaves the rest of the report as it is. */
async function reportTables(
  sides: Readonly<Record<Side, Database>>,
  primary: Side,
  selection: TableSelection,
): Promise<ReportedTables | { readonly problem: string }> {
  try {
    const databases = { primary: sides[primary], secondary: sides[otherSide(primary)] };
    return await readReportedTables(databases, selection);
  } catch (error) {
    if (faultKind(error) === 'defect') throw error;
    return { problem: describeFault(error) };
  }
}

async function readEvidence({ pool, side }: Database, sinceMs: number): Promise<Evidence> {
  const since = formatInstantText(await readTimeBefore(pool, sinceMs));
  const until = formatInstantText(await readTimeBefore(pool, 0));
  const { phase, epoch, primary } = await readState(pool);
  const samples = await readSamples(pool, since);
  const history = await readHistory(pool, CHANGES_AT_MOST);
  return {
    since,
    until,
    phase,
    epoch,
    primary,
    side,
    soak: readableSoak(await readSoak({ pool }, since)),
    comparisons: await readComparisons(pool, since),
    changes: history.map((state, place) => ({
      at: state.changedAt,
      phaseBefore: history[place + 1]?.phase ?? null,
      targetPhase: state.attempt?.targetPhase ?? null,
      phase: state.phase,
      writeMode: state.writeMode,
      epoch: state.epoch,
      by: state.changedBy,
      reason: state.reason,
      overriddenGates: state.overriddenGates,
    })),
    samples: samples.map((sample) => ({ ...sample, takenAt: formatInstantText(sample.takenAt) })),
  };
}

function readableSoak(soak: Soak): Soak {
  const readable = (time: string | null): string | null => (time === null ? null : formatInstantText(time));
  return { ...soak, first: readable(soak.first), last: readable(soak.last) };
}
