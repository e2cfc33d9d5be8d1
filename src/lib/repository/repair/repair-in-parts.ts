import { faultKind, isTooMuch, sqlstateOf } from '../../db/sqlstate.js';
import { withRetries } from '../../domain/retry.js';
import {
  repairMissed,
  type Claim,
  type RepairOptions,
  type RepairOutcome,
  type RepairSize,
  type Wanted,
} from './repair-missed.js';
import { ImpossibleTransferError, UnequalRowError } from './transfer.js';

/** What servers take in some seconds. */
const MOST_AT_ONCE: Required<RepairSize> = { entries: 20_000, rows: 50_000 };

/** A repair that fails as a whole is tried again in parts of this share. */
const SHARE = 4;
/** After a repair that was too much, the limit grows by this factor with each that succeeds. */
const LIMIT_GROWTH = 1.1;

/** Errors of a chunk, a page or a file: the rest of the table may be sound. 0A: a frozen or tiered chunk; 42P01: a dropped one. */
const PART_CLASSES = new Set(['0A', '55', '58', 'XX']);
const PART_DROPPED = '42P01';
const LOCK_TIMEOUT = '55P03';

/**
 * Repairs missed entries, so many at once as the servers have the time for and take: fewer after a repair that was too much,
 * or in which an entry cannot be repaired, so that it holds up no other; more again after each that succeeds.
 */
export class RepairInParts {
  readonly #rows: number;
  #entries = MOST_AT_ONCE.entries;
  #limit = MOST_AT_ONCE.entries;
  #claim: Claim | null = null;

  constructor(
    private readonly sides: Pick<RepairOptions, 'primary' | 'secondary'>,
    /** Rows that the entries of one repair name, at most. */
    rows = Infinity,
  ) {
    this.#rows = Math.max(1, Math.floor(Math.min(rows, MOST_AT_ONCE.rows)));
  }

  /** The claim of the last repair: after a failure, the entries that cannot be repaired. */
  get claim(): Claim | null {
    return this.#claim;
  }

  /** Does one repair, and throws what `repairMissed` throws of as few entries as can be, or had to be when `stop` aborted. */
  async repair(wanted: Wanted, stop: AbortSignal): Promise<RepairOutcome> {
    const onClaim = (claim: Claim): void => void (this.#claim = claim);
    const repairOnce = async (): Promise<RepairOutcome> => {
      this.#claim = null;
      // Not what else the caller's options hold: they may have a list of tables, too.
      const { primary, secondary } = this.sides;
      const size = { entries: this.#entries, rows: this.#rows };
      const outcome = await repairMissed({ primary, secondary, ...wanted, ...size, onClaim });
      if (outcome.entries > 0) this.#grow();
      return outcome;
    };
    return await withRetries(repairOnce, {
      pauseMs: 0,
      retryIf: (error) => culpritOf(error) === 'entry' && (this.#claim?.ids.length ?? 0) > 1 && !stop.aborted,
      onFailedAttempt: ({ error, pauseMs }) => {
        if (pauseMs !== null) this.#shrink(error);
      },
    });
  }

  #shrink(error: unknown): void {
    this.#entries = Math.ceil((this.#claim?.ids.length ?? 0) / SHARE);
    if (isTooMuch(error)) this.#limit = this.#entries;
  }

  #grow(): void {
    this.#limit = Math.min(MOST_AT_ONCE.entries, this.#limit * LIMIT_GROWTH);
    this.#entries = Math.floor(Math.min(this.#limit, this.#entries * 2));
  }
}

/** Returns what a failed repair says about its claim: an entry cannot be repaired, no entry of its table can, or (null) nothing. */
export function culpritOf(error: unknown): 'entry' | 'table' | null {
  if (error instanceof ImpossibleTransferError) return 'table';
  if (isTooMuch(error) || faultKind(error) === 'rejected' || error instanceof UnequalRowError) return 'entry';
  const sqlstate = sqlstateOf(error) ?? '';
  if (sqlstate === LOCK_TIMEOUT) return null;
  if (sqlstate === PART_DROPPED || PART_CLASSES.has(sqlstate.slice(0, 2))) return 'entry';
  return sqlstate.startsWith('42') && faultKind(error) === 'misconfigured' ? 'table' : null;
}
