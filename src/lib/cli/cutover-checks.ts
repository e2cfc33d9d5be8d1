import { withSides } from './open-sides.js';
import type { Settings } from '../config.js';
import type { TableSelection } from '../domain/table-patterns.js';
import type { Database } from '../db/database.js';
import type { Logger } from '../logger.js';
import type { BackfillSides } from '../operations/backfill/backfill-report.js';
import type { CompareRequest } from '../operations/compare/compare.js';
import type { TableReport } from '../operations/compare/compare-report.js';
import type { Checks } from '../operations/cutover/gates.js';
import type { ReportedGate } from '../operations/monitor/monitor-report.js';
import { USUAL_SOAK_SECONDS } from '../domain/migration.js';
import { adviseOn } from './advice.js';
import { readState } from '../repository/phase/state.js';

const LAST_HOUR: CompareRequest = {
  tables: [],
  from: null,
  to: null,
  windowMicros: 3_600_000_000,
  bucketMicros: null,
  settleMs: 10_000,
  jobs: 1,
  limit: 0,
  resume: false,
  recorded: false,
};

/** As a flag takes it. */
export const USUAL_SOAK = `${USUAL_SOAK_SECONDS / 3600}h`;

/** The checks by verify-schema and compare for the gates; loaded when a gate asks, since most runs only look. */
export function createChecks(sides: BackfillSides, selection: TableSelection, stop: AbortSignal): Checks {
  return {
    verifySchema: async () => {
      const { verifySchema } = await import('../operations/verify-schema/verify-schema.js');
      const { findings } = await verifySchema(sides, [], selection);
      const count = (weight: string): number => findings.filter((finding) => finding.weight === weight).length;
      return { blocking: count('blocks'), warning: count('warns') };
    },
    countForeignOnEc2: async () => {
      const tables = await compareLastHour(
        { primary: sides.local, secondary: sides.ec2 },
        { selection, tables: [] },
        stop,
      );
      // A row that local has deleted is on its way out of EC2.
      return tables.reduce(
        (sum, { missingOnLocal, pendingExtra, different }) => sum + missingOnLocal - pendingExtra + different,
        0,
      );
    },
    countForeignOnLocal: async (names) => {
      const wanted = { selection, tables: names };
      const tables = await compareLastHour({ primary: sides.ec2, secondary: sides.local }, wanted, stop);
      return tables.reduce((sum, { missingOnEc2 }) => sum + missingOnEc2, 0);
    },
  };
}

/** While consumers write, what is on its way is no difference: a comparison looks again, and leaves no trace. */
async function compareLastHour(
  sides: { readonly primary: Database; readonly secondary: Database },
  wanted: { readonly selection: TableSelection; readonly tables: readonly string[] },
  stop: AbortSignal,
): Promise<readonly TableReport[]> {
  const { compare } = await import('../operations/compare/compare.js');
  const { report } = await compare(
    sides,
    { ...LAST_HOUR, ...wanted, tables: [...wanted.tables] },
    { stop, onDifference: () => Promise.resolve(), onProgress: () => undefined },
  );
  return report.tables;
}

/**
 * The gates of phase 3 as they stand, for a report: measured, and nothing changed or recorded. Null where local does not
 * record phase 2, the only one from which phase 3 can be reached.
 */
export async function surveyGates(
  settings: Settings,
  logger: Logger,
  stop: AbortSignal,
): Promise<ReportedGate[] | null> {
  if (settings.ec2 === null) return null;
  return await withSides(settings, 'monitor', logger, async (sides) => {
    const state = await readState(sides.local.pool).catch(() => null);
    if (state?.phase !== 2) return null;
    const { measureGates } = await import('../operations/cutover/gates.js');
    const gates = await measureGates({
      sides,
      state,
      target: 3,
      minSoakMs: USUAL_SOAK_SECONDS * 1000,
      selection: settings.tables,
      checks: createChecks(sides, settings.tables, stop),
      dryRun: true,
      stop,
      onGate: () => undefined,
    });
    return gates.map(({ name, passed, detail, advice }) => {
      return { name, passed, detail, next: advice === null ? null : adviseOn(advice) };
    });
  });
}
