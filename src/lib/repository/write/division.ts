import { describeFault, faultKind, isDoubtful, sqlstateOf, UnsendableError } from '../../db/sqlstate.js';
import type { Reading, ReadingTable } from '../../domain/reading.js';
import type { Side } from '../../domain/side.js';
import type { CommittedBatch } from './batch.js';
import { fitsColumns } from './column-limits.js';
import { refusedReading, type QuarantineRecord } from '../ledger/quarantine.js';

/** Readings to be stored, and what is known not to be storable. */
export interface WriteRequest {
  readonly readings: readonly Reading[];
  readonly rejects: readonly QuarantineRecord[];
  /** What to do about readings that may be at fault, or the primary; without it the error is thrown. */
  readonly doubt?: Doubt;
}

/**
 * A write failed for a reason that may be the primary's, such as time or memory that ran out, or a fault of ours. A reading that fails so alone
 * while others are stored is set aside, to be tried again by itself.
 */
export interface Doubt {
  /** Told at each such failure; the primary may be in trouble. */
  failed(error: unknown): void;
  /** Whether the primary stores other readings of the table now. */
  canStoreOthers(table: ReadingTable): Promise<boolean>;
  setAside(reading: Reading, error: unknown): void;
}

/** What a division needs of the primary. */
export interface Divided {
  readonly side: Side;
  readonly commitPart: (part: WriteRequest) => Promise<CommittedBatch>;
  /** Throws where no reading of this table can be sent at all. */
  readonly assertSendable: (table: ReadingTable) => void;
}

/** Failures in a row, beyond those on the way down to one reading, after which it is asked whether the primary is at fault. */
const MORE_FAILURES = 8;

/**
 * True where the readings may be what an error comes from: the server refused them, they cannot be sent, or nobody says.
 * Everything else (a lost connection, a full disk, a missing table) meets any readings alike.
 */
export function mayBeTheData(error: unknown): boolean {
  return faultKind(error) === 'refused' || isDoubtful(error);
}

/**
 * Writes a request in parts, since it failed as a whole: halves, and halves of these, until the culprits stand alone.
 * What is refused goes to the quarantine, one record a message, when all else is stored.
 */
export class Division {
  /** What was committed so far. */
  readonly batches: CommittedBatch[] = [];
  readonly #refused: QuarantineRecord[] = [];
  readonly #doubtful: { readonly reading: Reading; readonly error: unknown }[] = [];
  readonly #failuresAtMost: number;
  #failures = 0;

  constructor(
    private readonly request: WriteRequest,
    private readonly primary: Divided,
  ) {
    this.#failuresAtMost = Math.ceil(Math.log2(request.readings.length + 1)) + MORE_FAILURES;
  }

  /** `error` is that of the whole request. Throws what is the primary's fault; parts of it may be committed by then. */
  async run(error: unknown): Promise<CommittedBatch[]> {
    const { readings, rejects } = this.request;
    if (rejects.length > 0) await this.#write(readings);
    else await this.#divide(readings, error);
    await this.#settleDoubts();
    await this.#keep([...rejects, ...this.#refused]);
    return this.batches;
  }

  async #write(readings: readonly Reading[]): Promise<void> {
    if (readings.length === 0) return;
    try {
      this.batches.push(await this.primary.commitPart({ readings, rejects: [] }));
    } catch (error) {
      await this.#divide(readings, error);
      return;
    }
    this.#failures = 0;
  }

  async #divide(readings: readonly Reading[], error: unknown): Promise<void> {
    if (!mayBeTheData(error)) throw error;
    const [only] = readings;
    if (only === undefined) throw error;
    if (isDoubtful(error)) await this.#doubt(error, only.table);
    if (readings.length === 1) this.#judge(only, error);
    else for (const part of splitRefused(readings)) await this.#write(part);
  }

  /** Goes on for as long as it is likely that the readings are at fault. */
  async #doubt(error: unknown, table: ReadingTable): Promise<void> {
    this.request.doubt?.failed(error);
    this.#failures += 1;
    if (this.#failures <= this.#failuresAtMost) return;
    if (!(await this.#isPrimaryFine(table))) throw error;
    this.#failures = 0;
  }

  async #isPrimaryFine(table: ReadingTable): Promise<boolean> {
    if (this.request.doubt !== undefined) return await this.request.doubt.canStoreOthers(table);
    return this.batches.length > 0;
  }

  #judge(reading: Reading, error: unknown): void {
    if (isDoubtful(error)) {
      this.#doubtful.push({ reading, error });
      return;
    }
    if (error instanceof UnsendableError) this.primary.assertSendable(reading.table);
    this.#refused.push(refusedBy(this.primary.side, reading, error));
  }

  async #settleDoubts(): Promise<void> {
    const [first] = this.#doubtful;
    if (first === undefined) return;
    const { doubt } = this.request;
    if (doubt === undefined) throw first.error;
    if (this.batches.length === 0 && !(await this.#isPrimaryFine(first.reading.table))) throw first.error;
    for (const { reading, error } of this.#doubtful) doubt.setAside(reading, error);
  }

  async #keep(rejects: readonly QuarantineRecord[]): Promise<void> {
    if (rejects.length === 0) return;
    try {
      this.batches.push(await this.primary.commitPart({ readings: [], rejects }));
    } catch (error) {
      if (!mayBeTheData(error)) throw error;
      const [only] = rejects;
      if (rejects.length > 1) for (const half of halve(rejects)) await this.#keep(half);
      else if (only !== undefined && !isAscii(only)) await this.#keep([inAscii(only)]);
      else throw error;
    }
  }
}

/** The record of a reading that a side will not store, with the error in words. */
export function refusedBy(side: Side, reading: Reading, error: unknown): QuarantineRecord {
  return refusedReading(reading, { side, reason: describeFault(error), sqlstate: sqlstateOf(error) ?? null });
}

/** Sets those apart that look too large for their columns; where none or all of them do, halves. */
function splitRefused(readings: readonly Reading[]): [readonly Reading[], readonly Reading[]] {
  const fitting = readings.filter((reading) => fitsColumns(reading));
  if (fitting.length > 0 && fitting.length < readings.length) {
    return [fitting, readings.filter((reading) => !fitsColumns(reading))];
  }
  return halve(readings);
}

function halve<Item>(items: readonly Item[]): [readonly Item[], readonly Item[]] {
  const middle = items.length >> 1;
  return [items.slice(0, middle), items.slice(middle)];
}

const BEYOND_ASCII = /[^\n\r\t -~]/g;

function isAscii(record: QuarantineRecord): boolean {
  return JSON.stringify(record).search(BEYOND_ASCII) < 0;
}

/** For a database whose encoding lacks a character of the message: as JSON writes it, so that JSON stays the same. */
function inAscii(record: QuarantineRecord): QuarantineRecord {
  const escaped = (text: string): string =>
    text.replace(BEYOND_ASCII, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
  const faults = record.faults.map((fault) => ({
    ...fault,
    reason: escaped(fault.reason),
    sensorId: fault.sensorId === null ? null : escaped(fault.sensorId),
  }));
  return { ...record, body: escaped(record.body), faults };
}
