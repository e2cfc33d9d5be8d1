import { randomUUID } from 'node:crypto';
import type { Database } from '../../db/database.js';
import { describeFault, faultKind } from '../../db/sqlstate.js';
import { repeatCollisions, prepareStatement, runTransaction, type Statement } from '../../db/transaction.js';
import type { DeclaredTables } from '../../domain/row.js';
import { sideTitleCapitalized, type WriteMode } from '../../domain/side.js';
import type { Logger } from '../../logger.js';
import { countFaults, keepQuarantineRecords, rejectedUnit } from '../ledger/quarantine.js';
import { assertPrimary } from '../phase/fence.js';
import { countAll, planRows, type AcceptedRows, type CommittedBatch, type PlannedRows } from './batch.js';
import { primaryBatchSql, type BatchStatement } from './batch-sql.js';
import { CheckedTables, type CheckedView } from './checked-tables.js';
import type { ConsumerSession } from './consumer-session.js';
import { Division, mayBeTheData, type WriteRequest } from './divide-batch.js';
import { looksFitting } from './looks-fitting.js';
import type { WriteMeter } from './write-meter.js';

export interface PrimaryWriterOptions {
  readonly primary: Database;
  /** The tables of the decoder: what does not fit them is not the fault of a message. */
  readonly declared: DeclaredTables;
  readonly session: ConsumerSession;
  readonly writeMode: WriteMode;
  readonly meter: WriteMeter;
  readonly logger: Logger;
}

/** Why the ledger has what only the primary is to take. */
const MISSED_ON_PURPOSE: Readonly<Record<WriteMode, string | null>> = {
  'dual-write': null,
  'local-only': 'dual write was off',
  'ec2-only': 'local was not kept current',
  draining: null,
};

/** Commits batches on the primary, each with its ledger entry, for the consumer of the session. */
export class PrimaryWriter {
  readonly #options: PrimaryWriterOptions;
  readonly #tables: CheckedTables;
  #epoch: number;

  /** `epoch` is the one whose roles are followed; in any other the primary refuses the batch. */
  constructor(options: PrimaryWriterOptions, epoch: number) {
    this.#options = options;
    this.#tables = new CheckedTables(options.primary, options.declared);
    this.#epoch = epoch;
  }

  get database(): Database {
    return this.#options.primary;
  }

  /** Goes on in an epoch that has the same roles. */
  enterEpoch(epoch: number): void {
    this.#epoch = epoch;
  }

  /**
   * Commits rows, ledger entry and quarantine records in one transaction, and says what the primary accepted. Rows that no
   * table takes are for the quarantine.
   * Where it fails for what the request holds it is divided (`Division`), so that it may become several batches. Throws when
   * the primary is not available, or (fault kind `fenced`) not the primary in this epoch: then acknowledge nothing.
   */
  async write(request: WriteRequest): Promise<CommittedBatch[]> {
    const { session, primary, meter, logger } = this.#options;
    session.assertFit();
    const { side } = primary;
    const startedAt = performance.now();
    const batches = await this.#checkAndCommit(request).catch((error: unknown) => {
      if (faultKind(error) !== 'fenced') meter.failed(side, describeFault(error));
      throw error;
    });
    const tookMs = performance.now() - startedAt;
    const readings = batches.reduce((sum, { accepted }) => sum + accepted, 0);
    meter.written(side, tookMs, readings, true);
    for (const { batchId, accepted, duplicates, quarantined } of batches) {
      logger.info(`${sideTitleCapitalized(side)} write successful`, {
        batch: batchId ?? undefined,
        readings: accepted,
        refused: duplicates,
        quarantined: countFaults(quarantined),
        ms: Math.round(tookMs),
      });
    }
    return batches;
  }

  async #checkAndCommit(request: WriteRequest): Promise<CommittedBatch[]> {
    const { units, unfit, view } = await this.#tables.check(request.units);
    const { side } = this.#options.primary;
    const rejects = unfit.map(({ unit, reason }) => rejectedUnit(unit, { side, reason, sqlstate: null }));
    return await this.#commitOrDivide({ ...request, units, rejects: [...request.rejects, ...rejects] }, view);
  }

  async #commitOrDivide(request: WriteRequest, view: CheckedView): Promise<CommittedBatch[]> {
    const commitPart = (part: WriteRequest): Promise<CommittedBatch> =>
      repeatCollisions(() => this.#commit(part, view));
    try {
      return [await commitPart(request)];
    } catch (error) {
      if (!mayBeTheData(error)) throw error;
      const { side } = this.#options.primary;
      const division = new Division(request, {
        ...{ side, commitPart, assertSendable: () => this.#assertSendable() },
        looksFitting: (unit) => looksFitting(unit, view.tables),
      });
      try {
        return await division.run(error);
      } catch (laterError) {
        // The caller will never hear of what was committed: nobody holds it, and `markUnclaimed` enters it as missed.
        for (const { batchId } of division.batches) this.#options.session.inFlight.delete(batchId ?? '');
        throw laterError;
      }
    }
  }

  async #commit(request: WriteRequest, view: CheckedView): Promise<CommittedBatch> {
    const { primary, session, writeMode } = this.#options;
    const { units, rejects } = request;
    const batch = { batchId: randomUUID(), consumerId: session.consumerId, writeMode };
    session.inFlight.add(batch.batchId);
    try {
      const planned = planRows(units, view);
      const sql = planned.length === 0 ? null : view.statementOf(planned, primaryBatchSql);
      const fence = assertPrimary(primary.side, this.#epoch);
      const results = await runTransaction(primary.pool, [
        ...fence,
        ...(sql === null ? [] : [insertRows(batch, planned, sql)]),
        ...(rejects.length === 0 ? [] : [keepQuarantineRecords(rejects)]),
      ]);
      const answers = sql === null ? [] : (results[fence.length]?.rows ?? []);
      const rows = answers.flatMap((row) => (sql === null ? [] : acceptedRows(row, planned, sql)));
      const kept = rejects.length === 0 ? [] : (results.at(-1)?.rows ?? []);
      const quarantinedAnew = kept.filter(({ anew }) => anew === true).length;
      const committed = committedBatch(batch, request, { rows, quarantinedAnew });
      if (committed.batchId === null) session.inFlight.delete(batch.batchId);
      return committed;
    } catch (error) {
      // Did it commit? If its answer was lost, the ledger holds an entry that nobody holds: `markUnclaimed` finds it.
      session.inFlight.delete(batch.batchId);
      if (faultKind(error) === 'misconfigured') this.#tables.forget();
      throw error;
    }
  }

  /** Throws where not even a batch without rows could be sent: then the fault is ours, not that of any row. */
  #assertSendable(): void {
    const { session, writeMode } = this.#options;
    const batch = { batchId: randomUUID(), consumerId: session.consumerId, writeMode };
    prepareStatement({ text: '', values: batchValues(batch, []) });
  }
}

/** The names of a batch in the ledger. */
interface BatchIdentity {
  readonly batchId: string;
  readonly consumerId: string;
  readonly writeMode: WriteMode;
}

function insertRows(batch: BatchIdentity, planned: readonly PlannedRows[], sql: BatchStatement): Statement {
  return { name: sql.name, text: sql.text, values: batchValues(batch, planned) };
}

function batchValues({ batchId, consumerId, writeMode }: BatchIdentity, planned: readonly PlannedRows[]): unknown[] {
  const reason = MISSED_ON_PURPOSE[writeMode];
  const ledger = [reason === null ? 'pending' : 'missed', reason];
  return [batchId, consumerId, ...ledger, ...planned.flatMap(({ columns, units }) => [...columns, units])];
}

function acceptedRows(
  row: Record<string, unknown>,
  planned: readonly PlannedRows[],
  { answered }: BatchStatement,
): AcceptedRows[] {
  const place = row.shape as number;
  const [of, names] = [planned[place], answered[place]];
  const rows = row.rows as number;
  if (of === undefined || names === undefined || rows === 0) return [];
  return [{ shape: of.shape, names, rows, columns: names.map((_, index) => row[`column_${index}`] as string) }];
}

function committedBatch(
  { batchId, consumerId, writeMode }: BatchIdentity,
  request: WriteRequest,
  answer: { rows: readonly AcceptedRows[]; quarantinedAnew: number },
): CommittedBatch {
  const accepted = answer.rows.reduce((sum, { shape, rows }) => sum + (shape.rule === 'first' ? rows : 0), 0);
  // What is only kept newest is taken, whether or not it is.
  const alone = countAll(request.units.filter(({ rows }) => rows.every(({ write = 'first' }) => write !== 'first')));
  const rows = writeMode === 'dual-write' ? answer.rows : [];
  return {
    batchId: rows.length === 0 ? null : batchId,
    consumerId,
    accepted: accepted + alone,
    duplicates: countAll(request.units) - accepted - alone,
    quarantined: request.rejects,
    quarantinedAnew: answer.quarantinedAnew,
    rows,
    bytes: rows.reduce((sum, each) => sum + each.columns.reduce((size, column) => size + column.length, 0), 0),
  };
}
