import { faultKind, isTooMuch } from '../../db/sqlstate.js';
import { repairMissed, type Claim, type RepairOptions, type RepairOutcome, type Wanted } from './repair-missed.js';
import { ImpossibleTransferError } from './transfer.js';

/** What is too much for one repair is tried again in parts of this share. */
const SHARE = 4;

/**
 * Repairs missed entries, so many at once as the servers have the time for and take: fewer after a repair that was too much,
 * or in which a reading cannot be stored, so that one entry holds up no other; more again after each that succeeds.
 */
export class RepairInParts {
  #entries: number;
  #claim: Claim | null = null;

  constructor(
    private readonly sides: Pick<RepairOptions, 'primary' | 'secondary'>,
    /** Ledger entries in one repair, at most. */
    private readonly most: number,
  ) {
    this.#entries = most;
  }

  /** What the last repair had in its hands: after a failure, what cannot be repaired. */
  get claim(): Claim | null {
    return this.#claim;
  }

  /** Does one repair, and throws what `repairMissed` throws of as few entries as can be. */
  async repair(wanted: Wanted): Promise<RepairOutcome> {
    for (;;) {
      this.#claim = null;
      try {
        const onClaim = (claim: Claim): void => void (this.#claim = claim);
        const outcome = await repairMissed({ ...this.sides, ...wanted, entries: this.#entries, onClaim });
        if (outcome.entries > 0) this.#entries = Math.min(this.most, this.#entries * 2);
        return outcome;
      } catch (error) {
        const { length } = this.claim?.ids ?? [];
        if (culpritOf(error) !== 'entry' || length <= 1) throw error;
        this.#entries = Math.ceil(length / SHARE);
      }
    }
  }
}

/** What a failed repair says of what it claimed: the entry cannot be repaired, no entry of its table can, or (null) nothing. */
export function culpritOf(error: unknown): 'entry' | 'table' | null {
  const kind = faultKind(error);
  if (error instanceof ImpossibleTransferError || kind === 'misconfigured') return 'table';
  return isTooMuch(error) || kind === 'refused' ? 'entry' : null;
}
