import type pg from 'pg';
import { randomUUID } from 'node:crypto';
import type { Database } from '../../db/database.js';
import { describeFault, faultKind, isParentMissing } from '../../db/sqlstate.js';
import { repeatCollisions, runTransaction, type Statement } from '../../db/transaction.js';
import type { TableSelection } from '../../domain/table-patterns.js';
import { backoff, withRetries } from '../../domain/retry.js';
import { sideTitle, sideTitleCapitalized, type Side } from '../../domain/side.js';
import { UnreachableError } from '../../errors.js';
import type { Logger } from '../../logger.js';
import type { RefusedKey, Refusal } from '../ledger/ledger.js';
import { countWritten, holdMarkers } from '../ledger/markers.js';
import { isKept, writableColumns } from '../tables/column-values.js';
import { hasUniqueKey } from '../tables/table.js';
import { WrittenTables, type SideTables } from '../tables/written-tables.js';
import { IN_REPLICA_ROLE } from '../writers/own-writes.js';
import { columnItems, countRows, halveRows, type AcceptedRows, type CommittedBatch } from './batch.js';
import { secondaryBatchSql, type Markers } from './batch-sql.js';
import type { Shape } from './check-rows.js';
import type { CircuitBreaker } from './circuit-breaker.js';
import type { SendOutcome, Settlement } from './settle.js';
import type { WriteMeter } from './write-meter.js';

export interface RetryPolicy {
  /** Attempts after the first one. */
  readonly retries: number;
  /** Pause before the first retry, in ms; doubles, with jitter. */
  readonly delayMs: number;
}

export interface SecondarySenderOptions {
  readonly writer: SecondaryWriter;
  readonly breaker: CircuitBreaker;
  readonly settlement: Settlement;
  readonly meter: WriteMeter;
  readonly retry: RetryPolicy;
  /** Batches sent side by side. */
  readonly concurrency: number;
  /** Memory for batches that wait, in bytes; beyond it a batch is entered as missed at once. */
  readonly maxBytes: number;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

/** Sends committed batches to the secondary outside the path to the acknowledgement, within bounds, and settles each. */
export class SecondarySender {
  #waiting: CommittedBatch[] = [];
  #waitingBytes = 0;
  #sending = new Set<Promise<void>>();

  constructor(private readonly options: SecondarySenderOptions) {}

  /** Takes a batch over; never blocks and never throws. Whatever becomes of the batch ends in the ledger. */
  enqueue(batch: CommittedBatch): void {
    if (batch.batchId === null) return;
    const { maxBytes, writer, settlement } = this.options;
    if (this.#waitingBytes + batch.bytes > maxBytes) {
      settlement.settle(batch, { confirmed: false, reason: `${sideTitle(writer.side)} is slower than ingestion` });
      return;
    }
    // The quarantined messages have been stored: only what is sent waits.
    this.#waiting.push({ ...batch, quarantined: [] });
    this.#waitingBytes += batch.bytes;
    this.#startNext();
  }

  /** Resolves when every batch taken over has been confirmed or entered as missed. */
  async idle(): Promise<void> {
    while (this.#sending.size > 0) await Promise.all(this.#sending);
    await this.options.settlement.idle();
  }

  #startNext(): void {
    while (this.#sending.size < this.options.concurrency) {
      const batch = this.#waiting.shift();
      if (batch === undefined) return;
      const sending = this.send(batch).then((outcome) => {
        this.options.settlement.settle(batch, outcome);
        this.#waitingBytes -= batch.bytes;
        this.#sending.delete(sending);
        this.#startNext();
      });
      this.#sending.add(sending);
    }
  }

  /** Tries until the secondary confirms, the retries are used up, or the breaker is open. Does not throw. */
  async send(batch: CommittedBatch): Promise<SendOutcome> {
    const { retry, signal } = this.options;
    if (batch.batchId === null) return { confirmed: true, refused: [] };
    const sent: SecondaryBatch = { ...batch, batchId: batch.batchId };
    const attempts = retry.retries + 1;
    try {
      return await withRetries((attempt) => this.#attempt(sent, batch.accepted, { attempt, attempts }), {
        attempts,
        pauseMs: backoff(retry.delayMs),
        retryIf: (error) => faultKind(error) === 'unavailable',
        signal,
      });
    } catch (error) {
      return { confirmed: false, reason: error === signal.reason ? STOPPED : describeFault(error) };
    }
  }

  /** Throws what may be tried again, or not. */
  async #attempt(
    batch: SecondaryBatch,
    readings: number,
    count: { readonly attempt: number; readonly attempts: number },
  ): Promise<SendOutcome> {
    const { writer, breaker, signal } = this.options;
    if (signal.aborted) return { confirmed: false, reason: STOPPED };
    if (!breaker.tryAcquire()) return { confirmed: false, reason: breaker.reason ?? 'the circuit breaker is open' };
    const startedAt = performance.now();
    try {
      const result = await writer.write(batch);
      if ('left' in result) {
        breaker.succeeded();
        return { confirmed: false, reason: result.left };
      }
      const written = { batch: batch.batchId, readings, refused: result.refused.length };
      this.#reportSuccess(written, performance.now() - startedAt);
      return { confirmed: true, refused: result.refused };
    } catch (error) {
      this.#reportFailure({ batch: batch.batchId, ...count, error: describeFault(error) });
      throw error;
    }
  }

  #reportSuccess(written: { batch: string; readings: number; refused: number }, tookMs: number): void {
    const { breaker, logger, meter, writer } = this.options;
    const { side } = writer;
    if (breaker.state !== 'closed') logger.info(`${sideTitle(side)} answers again`);
    breaker.succeeded();
    meter.written(side, tookMs, written.readings - written.refused);
    logger.info(`${sideTitleCapitalized(side)} write successful`, { ...written, ms: Math.round(tookMs) });
  }

  #reportFailure(failed: { batch: string; attempt: number; attempts: number; error: string }): void {
    const { breaker, logger, meter, writer } = this.options;
    const { side } = writer;
    const opened = breaker.failed(failed.error);
    meter.failed(side, failed.error);
    logger.warn(`${sideTitleCapitalized(side)} write failed`, { ...failed });
    if (opened) {
      logger.warn(`${sideTitle(side)} is left out until it answers again; batches go to the ledger`);
    }
  }
}

const STOPPED = 'the consumer was stopped';

/** Written, but for the refused readings; or left to a repair, with the reason. */
export type WriteResult = { readonly refused: readonly (Refusal | RefusedKey)[] } | { readonly left: string };

export interface SecondaryBatch {
  readonly batchId: string;
  readonly consumerId: string;
  readonly rows: readonly AcceptedRows[];
}

/** Writes to the secondary what the primary accepted, one attempt a call. */
export class SecondaryWriter {
  readonly #tables: WrittenTables;
  #unfit: Error | null = null;

  constructor(
    private readonly secondary: Database,
    selection?: TableSelection,
  ) {
    this.#tables = new WrittenTables(secondary, [], selection);
  }

  get side(): Side {
    return this.secondary.side;
  }

  /**
   * Inserts a batch in one round trip; what is there already stays. Where the secondary refuses a reading the batch is
   * halved until the culprit stands alone. Throws when anything else was not confirmed.
   */
  async write(batch: SecondaryBatch): Promise<WriteResult> {
    if (this.#unfit !== null) throw this.#unfit;
    const tables = [...new Set(batch.rows.map(({ shape }) => shape.table))];
    const on = await this.#tables.read(tables);
    const losing = tables.find((table) => on.get(table)?.hypertable?.losesRows === true);
    if (losing !== undefined) throw losingRows(losing, this.secondary);
    const unkeyed = new Set(batch.rows.filter(({ shape }) => needsMarker(shape, on)).map(({ shape }) => shape.table));
    const marked = tables.filter((table) => unkeyed.has(table) || on.isTracked(table));
    if (marked.length === 0) return await this.#writeUnmarked(batch.rows, on);
    const markers = new Map(marked.map((table) => [table, { isKeyed: !unkeyed.has(table) }] as const));
    return await this.#writeMarked(batch, on, markers);
  }

  /** Writes nothing any more, for this reason, until it is called with null: the batches go to the ledger. */
  refuse(unfit: Error | null): void {
    this.#unfit = unfit;
  }

  /** Forgets the catalogs, which are old by now: tables that lose rows are found, and not written. */
  forgetTables(): void {
    this.#tables.forget();
  }

  /** A row that came before its parent is left to a repair, which brings both; what is in by then stays. */
  async #writeUnmarked(rows: readonly AcceptedRows[], on: SideTables): Promise<WriteResult> {
    try {
      return { refused: await this.#insertOrHalve(rows, on) };
    } catch (error) {
      if (isBeforeItsParent(error, rows, on)) return { left: describeFault(error) };
      throw error;
    }
  }

  /** The batch is written as a whole or not at all: its marker stands for all of its rows. */
  async #writeMarked(batch: SecondaryBatch, on: SideTables, markers: Markers): Promise<WriteResult> {
    const { batchId, consumerId, rows } = batch;
    const { text, name, values } = insertInto(on, rows, markers);
    const insert: Statement = { name, text, values: [batchId, consumerId, ...values] };
    const isSilent = [...markers.keys()].some((table) => on.isSilent(table));
    const statements = [...(isSilent ? [{ text: IN_REPLICA_ROLE }] : []), holdMarkers(), insert, countWritten(batchId)];
    try {
      const results = await this.#run(statements);
      if (Number(results.at(-1)?.rows[0]?.written) === markers.size) return { refused: [] };
      return { left: `a repair on ${sideTitle(this.secondary.side)} has taken the batch over` };
    } catch (error) {
      if (faultKind(error) === 'rejected') return { left: describeFault(error) };
      throw error;
    }
  }

  async #insertOrHalve(rows: readonly AcceptedRows[], on: SideTables): Promise<(Refusal | RefusedKey)[]> {
    try {
      await this.#run([insertInto(on, rows, new Map())]);
      return [];
    } catch (error) {
      if (faultKind(error) !== 'rejected' || isBeforeItsParent(error, rows, on)) throw error;
      if (countRows(rows) === 1) return rows.flatMap((only) => refusalsOf(only, describeFault(error)));
      const [first, second] = halveRows(rows);
      return [...(await this.#insertOrHalve(first, on)), ...(await this.#insertOrHalve(second, on))];
    }
  }

  /** Reads the catalogs again after an error that a changed table can explain. */
  async #run(statements: readonly Statement[]): Promise<pg.QueryResult<Record<string, unknown>>[]> {
    const [only] = statements;
    try {
      return await repeatCollisions(async () => {
        if (only === undefined || statements.length > 1) return await runTransaction(this.secondary.pool, statements);
        return [await this.secondary.pool.query({ ...only, values: [...(only.values ?? [])] })];
      });
    } catch (error) {
      if (faultKind(error) === 'misconfigured') this.#tables.forget();
      throw error;
    }
  }
}

function isBeforeItsParent(error: unknown, rows: readonly AcceptedRows[], on: SideTables): boolean {
  return isParentMissing(error) && rows.some(({ shape }) => on.hasTrackedParent(shape.table));
}

/** Without the unique key, markers keep rows from being stored twice; a missing table gives its own error. */
function needsMarker({ table: name, key, rule }: Shape, on: SideTables): boolean {
  const table = on.get(name);
  return rule === 'first' && table !== undefined && !hasUniqueKey(table, key);
}

function insertInto(
  on: SideTables,
  rows: readonly AcceptedRows[],
  markers: Markers,
): Statement & { readonly values: unknown[] } {
  const sent = rows.map((each) => ({ each, columns: columnsSent(each, on) }));
  const shapes = sent.map(({ each, columns }) => ({ ...each.shape, columns }));
  const { text, name } = secondaryBatchSql(shapes, on, markers);
  const values = sent.flatMap(({ each, columns }) => columns.map((column) => each.columns[each.names.indexOf(column)]));
  return { name, text, values };
}

/** Of what the primary filled by itself, those columns that the secondary has; what the decoder writes it needs to have. */
function columnsSent({ shape, names }: AcceptedRows, on: SideTables): readonly string[] {
  const table = on.get(shape.table);
  const writable = table === undefined ? shape.columns : writableColumns(table);
  const takes = (name: string): boolean => writable.includes(name) && (table === undefined || !isKept(table, name));
  return names.filter((name) => shape.columns.includes(name) || takes(name));
}

function losingRows(table: string, { side }: Database): Error {
  const message = `${table} on ${sideTitle(side)} is compressed by a TimescaleDB before 2.18.1, which would lose rows`;
  return new UnreachableError(message, { code: 'timescaledb-too-old' });
}

/** Names each of the rows as refused, for one reason: by its place on the axis and what else is of its key, or by its key. */
function refusalsOf(rows: AcceptedRows, reason: string): (Refusal | RefusedKey)[] {
  const { key, table, axis } = rows.shape;
  const times = axis === null ? [] : columnItems(rows, axis);
  const texts = key.map((name) => ({ name, items: columnItems(rows, name) }));
  return Array.from({ length: rows.rows }, (_, place) => {
    const time = times[place] ?? null;
    const textOf = ({ items }: { readonly items: readonly (string | null)[] }): string => items[place] ?? '';
    if (time === null || time.endsWith('infinity')) return { table, key: texts.map(textOf), reason };
    const sensorId = texts
      .filter(({ name }) => name !== axis)
      .map(textOf)
      .join(' ');
    return { entryId: randomUUID(), table, sensorId, time, reason };
  });
}
