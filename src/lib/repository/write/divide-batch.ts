import { describeFault, faultKind, isDoubtful, sqlstateOf, UnsendableError } from '../../db/sqlstate.js';
import { READING_COLUMNS, type ColumnValue, type Reading, type ReadingTable } from '../../domain/reading.js';
import type { Side } from '../../domain/side.js';
import type { CommittedBatch } from './batch.js';
import { rejectedReading, type QuarantineRecord } from '../ledger/quarantine.js';

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
  /** Called at each such failure; the primary may be in trouble. */
  failed(error: unknown): void;
  /** Whether the primary stores other readings of the table now. */
  canStoreOthers(table: ReadingTable): Promise<boolean>;
  setAside(reading: Reading, error: unknown): void;
}

/** The calls on the primary by which a request is written in parts. */
export interface PartWriter {
  readonly side: Side;
  readonly commitPart: (part: WriteRequest) => Promise<CommittedBatch>;
  /** Throws where no reading of this table can be sent at all. */
  readonly assertSendable: (table: ReadingTable) => void;
}

/** Failures in a row, beyond those on the way down to one reading, after which it is asked whether the primary is at fault. */
const MORE_FAILURES = 8;

/**
 * True where the readings may be what an error comes from: the server rejected them, they cannot be sent, or nobody says.
 * Everything else (a lost connection, a full disk, a missing table) meets any readings alike.
 */
export function mayBeTheData(error: unknown): boolean {
  return faultKind(error) === 'rejected' || isDoubtful(error);
}

/**
 * Writes a request in parts, since it failed as a whole: halves, and halves of these, until the culprits stand alone.
 * What the primary rejects goes to the quarantine, one record a message, when all else is stored.
 */
export class Division {
  /** What was committed so far. */
  readonly batches: CommittedBatch[] = [];
  readonly #rejected: QuarantineRecord[] = [];
  readonly #doubtful: { readonly reading: Reading; readonly error: unknown }[] = [];
  readonly #failuresAtMost: number;
  #failures = 0;

  constructor(
    private readonly request: WriteRequest,
    private readonly primary: PartWriter,
  ) {
    this.#failuresAtMost = Math.ceil(Math.log2(request.readings.length + 1)) + MORE_FAILURES;
  }

  /** `error` is that of the whole request. Throws what is the primary's fault; parts of it may be committed by then. */
  async run(error: unknown): Promise<CommittedBatch[]> {
    const { readings, rejects } = this.request;
    if (rejects.length > 0) await this.#write(readings);
    else await this.#divide(readings, error);
    await this.#decideDoubts();
    await this.#keep([...rejects, ...this.#rejected]);
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
    else for (const part of splitByFit(readings)) await this.#write(part);
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
    this.#rejected.push(rejectedBy(this.primary.side, reading, error));
  }

  async #decideDoubts(): Promise<void> {
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
export function rejectedBy(side: Side, reading: Reading, error: unknown): QuarantineRecord {
  return rejectedReading(reading, { side, reason: describeFault(error), sqlstate: sqlstateOf(error) ?? null });
}

/** Sets those apart that look too large for their columns; where none or all of them do, halves. */
function splitByFit(readings: readonly Reading[]): [readonly Reading[], readonly Reading[]] {
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

const NUMERIC = /^numeric\((\d+),(\d+)\)/;
const INTEGER_LIMIT = 2 ** 31;
const SENSOR_ID_LENGTH = 255;

/**
 * Whether a reading fits the columns as sensorctl creates them. Only a guess at what a database will refuse, for an
 * existing table may be narrower or wider: the database decides.
 */
function fitsColumns({ table, sensorId, values }: Reading): boolean {
  if (sensorId.length > SENSOR_ID_LENGTH) return false;
  return Object.entries(READING_COLUMNS[table]).every(([column, type]) => fitsType(values[column] ?? null, type));
}

function fitsType(value: ColumnValue, type: string): boolean {
  if (value === null) return !type.endsWith('not null');
  if (type.startsWith('integer')) return Math.abs(Number(value)) < INTEGER_LIMIT;
  const [, precision, scale] = NUMERIC.exec(type) ?? [];
  return precision === undefined || Math.abs(Number(value)) < numericLimit(Number(precision), Number(scale));
}

/** PostgreSQL rounds to the scale first: from here on a number has a digit too many. */
function numericLimit(precision: number, scale: number): number {
  return 10 ** (precision - scale) - 0.5 * 10 ** -scale;
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
