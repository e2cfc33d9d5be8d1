import { asUnreachable, type Database } from '../../db/database.js';
import { assertDistinctIfKnown } from '../../db/identity.js';
import { describeFault, isPassing } from '../../db/sqlstate.js';
import { isAborted, pause } from '../../domain/async.js';
import type { MigrationState } from '../../domain/migration.js';
import { backoff, repeatEvery, withRetries } from '../../domain/retry.js';
import { otherSide, sideTitle, type Side } from '../../domain/side.js';
import { SensorctlError } from '../../errors.js';
import type { Logger } from '../../logger.js';
import { assertBookkeeping } from '../../repository/ledger/bookkeeping-schema.js';
import { compactLedger } from '../../repository/ledger/ledger.js';
import { findDecidingState } from '../../repository/phase/deciding-state.js';
import { callOffOverdue } from '../../repository/phase/transition.js';
import { healUntilStopped, type HealedTurn } from '../../repository/repair/self-healing.js';
import { CircuitBreaker } from '../../repository/write/circuit-breaker.js';
import type { BackfillSides } from './backfill-report.js';

/** A turn that repaired something, as `backfill --follow --json` prints it. */
export interface FollowedTurn extends HealedTurn {
  /** The side that was written. */
  readonly target: Side;
}

export interface FollowOptions {
  /** Rows a second, at most; null: no limit. */
  readonly maxRate: number | null;
  readonly stop: AbortSignal;
  readonly logger: Logger;
  readonly onTurn: (turn: FollowedTurn) => void;
}

/** How often the record of the phase is read. */
const WATCH_MS = 1_000;
const COMPACTION_MS = 60_000;
const FAILURE_MS = 1_000;
const LONGEST_FAILURE_MS = 15_000;

/**
 * Repairs what other programs enter in the ledger of the primary, and whatever else is missed there, until `stop` aborts;
 * towards the other side when a switch exchanges the roles. Any number of these may run, and consumers beside them. Throws
 * where a side was never prepared, or both are one; a side that is away is waited for.
 */
export async function follow(sides: BackfillSides, options: FollowOptions): Promise<void> {
  await assertUsable(sides);
  let last: Side | null = null;
  while (!isAborted(options.stop)) {
    const primary = await findPrimary(sides, last, options);
    if (primary === null) continue;
    last = primary.side;
    await followEpoch(sides, primary, options);
  }
}

/** Of a side that is away it will turn out. */
async function assertUsable({ local, ec2 }: BackfillSides): Promise<void> {
  const assertPrepared = async (side: Database): Promise<void> => {
    try {
      await assertBookkeeping(side);
    } catch (error) {
      if (error instanceof SensorctlError || !isPassing(error)) throw asUnreachable(error, side);
    }
  };
  await Promise.all([local, ec2].map(assertPrepared));
  await assertDistinctIfKnown(local.pool, ec2.pool);
}

/** The side that decides; null while a change of that is under way, or where `stop` aborted. */
async function findPrimary(
  sides: BackfillSides,
  last: Side | null,
  { stop, logger }: FollowOptions,
): Promise<Database | null> {
  const told = new Set<string>();
  try {
    const { state, primary } = await withRetries(() => findDecidingState(sides, last, logger), {
      pauseMs: backoff(FAILURE_MS, LONGEST_FAILURE_MS),
      retryIf: isPassing,
      onFailedAttempt: ({ error }) => {
        if (told.size > 0) return;
        told.add('away');
        logger.warn('where the migration stands cannot be read; waiting', { error: describeFault(error) });
      },
      signal: stop,
    });
    if (told.size > 0) logger.info(`${sideTitle(primary.side)} answers again`);
    if (state.attempt === null) return primary;
    await endOverdue(primary, logger);
  } catch (error) {
    if (!isAborted(stop)) throw asUnreachable(error, sides[last ?? 'local']);
  }
  await pause(WATCH_MS, stop);
  return null;
}

/** The process that began a change may be dead; anyone who may ends it once its time is over. */
async function endOverdue(primary: Database, logger: Logger): Promise<void> {
  await callOffOverdue(primary, 'backfill --follow').catch((error: unknown) => {
    logger.debug('a change of phase could not be looked at', { error: describeFault(error) });
  });
}

/** Repairs until this side decides no more, or a change of that is under way: a switch drains the ledger itself. */
async function followEpoch(sides: BackfillSides, primary: Database, options: FollowOptions): Promise<void> {
  const { stop, logger, maxRate } = options;
  const secondary = sides[otherSide(primary.side)];
  const ended = new AbortController();
  const watch = repeatEvery(WATCH_MS, async () => {
    const state = await readStateOf(sides, primary, logger);
    if (state !== null && (state.primary !== primary.side || state.attempt !== null)) ended.abort();
  });
  const compaction = repeatEvery(COMPACTION_MS, async () => {
    await compactLedger(primary.pool).catch((error: unknown) => {
      logger.warn('the ledger could not be compacted', { error: describeFault(error) });
    });
  });
  logger.info(`repairing what ${sideTitle(secondary.side)} misses, until stopped`);
  await healUntilStopped({
    ...{ primary, secondary, logger, rowsPerSecond: maxRate ?? Infinity },
    breaker: new CircuitBreaker(),
    signal: AbortSignal.any([stop, ended.signal]),
    onTurn: (turn) => options.onTurn({ target: secondary.side, ...turn }),
  });
  await Promise.all([watch.stop(), compaction.stop()]);
}

/** Null where it cannot be read now. */
async function readStateOf(sides: BackfillSides, primary: Database, logger: Logger): Promise<MigrationState | null> {
  try {
    return (await findDecidingState(sides, primary.side, logger)).state;
  } catch (error) {
    logger.debug('where the migration stands could not be read', { error: describeFault(error) });
    return null;
  }
}
