/** The rules of the protocol, each of which a test may break, and what else the model is asked to vary. */
export interface Rules {
  /** Writers hold the fence shared, for which who takes it exclusively waits. */
  readonly fence: boolean;
  /** The operator takes the fence before the ledger is drained. */
  readonly fenceBeforeDrain: boolean;
  /** The operator takes the fence once more, for the commit point. */
  readonly fenceAtCommit: boolean;
  /** The row is read in a statement after the one that takes the lock. */
  readonly readAfterLock: boolean;
  /** SF001: the row names another primary. */
  readonly refuseOtherPrimary: boolean;
  /** SF002: a change of the primary is under way. */
  readonly refuseDraining: boolean;
  /** SF003: the row has another epoch than the writer knows. */
  readonly refuseOtherEpoch: boolean;
  /** The ledger entry is written in the transaction that holds the reading. */
  readonly enterWithReading: boolean;
  /** What the ledger holds is brought to the other side before the commit point. */
  readonly drainLedger: boolean;
  /** At the commit point the row is still draining. */
  readonly drainingAtCommit: boolean;
  /** At the commit point the row holds this attempt's token. */
  readonly tokenAtCommit: boolean;
  /** At the commit point the deadline has not passed. */
  readonly deadlineAtCommit: boolean;
  /** Only a higher epoch changes the copy on the other side. */
  readonly epochsOnlyGrow: boolean;
  /** Anyone, not its operator alone, calls an attempt off that is overdue. */
  readonly anyoneCallsOff: boolean;
  /** Anyone, not its operator alone, completes a switch. */
  readonly anyoneCompletes: boolean;

  /** In phase 3 consumers write to local too; else the ledger on EC2 keeps what local missed. */
  readonly keepLocalCurrent: boolean;
  /** Both messages hold the same key with another value, as a device sends when it retransmits. */
  readonly sameKey: boolean;
  /**
   * A backfill makes rows of sensor_registry what the other side holds. Having locked them it asserts that the other side
   * is still the primary, or trusts that it is, as when it was started.
   */
  readonly registryRepair: 'none' | 'asserting' | 'trusting';
  /** How many changes of the primary are begun at most. */
  readonly attempts: number;
}

export const PROTOCOL: Rules = {
  fence: true,
  fenceBeforeDrain: true,
  fenceAtCommit: true,
  readAfterLock: true,
  refuseOtherPrimary: true,
  refuseDraining: true,
  refuseOtherEpoch: true,
  enterWithReading: true,
  drainLedger: true,
  drainingAtCommit: true,
  tokenAtCommit: true,
  deadlineAtCommit: true,
  epochsOnlyGrow: true,
  anyoneCallsOff: true,
  anyoneCompletes: true,
  keepLocalCurrent: false,
  sameKey: false,
  registryRepair: 'none',
  attempts: 3,
};
