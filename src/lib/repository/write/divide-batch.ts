import { describeFault, faultKind, isDoubtful, sqlstateOf, UnsendableError } from '../../db/sqlstate.js';
import type { Unit } from '../../domain/row.js';
import type { Side } from '../../domain/side.js';
import type { CommittedBatch } from './batch.js';
import { rejectedUnit, type QuarantineRecord } from '../ledger/quarantine.js';

/** Rows to be stored, and what is known not to be storable. */
export interface WriteRequest {
  readonly units: readonly Unit[];
  readonly rejects: readonly QuarantineRecord[];
  /** What to do about units that may be at fault, or the primary; without it the error is thrown. */
  readonly doubt?: Doubt;
}

/**
 * A write failed for a reason that may be the primary's, such as time or memory that ran out, or a fault of ours. A unit that fails so alone
 * while others are stored is set aside, to be tried again by itself.
 */
export interface Doubt {
  /** Called at each such failure; the primary may be in trouble. */
  failed(error: unknown): void;
  /** Whether the primary stores other rows of the unit's tables now. */
  canStoreOthers(unit: Unit): Promise<boolean>;
  setAside(unit: Unit, error: unknown): void;
}

/** The calls on the primary by which a request is written in parts. */
export interface PartWriter {
  readonly side: Side;
  readonly commitPart: (part: WriteRequest) => Promise<CommittedBatch>;
  /** Throws where nothing can be sent at all. */
  readonly assertSendable: () => void;
  /** Only a guess at what the primary will refuse: the database decides. */
  readonly looksFitting: (unit: Unit) => boolean;
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
  /** The batches that were committed so far. */
  readonly batches: CommittedBatch[] = [];
  readonly #rejected: QuarantineRecord[] = [];
  readonly #doubtful: { readonly unit: Unit; readonly error: unknown }[] = [];
  readonly #failuresAtMost: number;
  #failures = 0;

  constructor(
    private readonly request: WriteRequest,
    private readonly primary: PartWriter,
  ) {
    this.#failuresAtMost = Math.ceil(Math.log2(request.units.length + 1)) + MORE_FAILURES;
  }

  /** `error` is that of the whole request. Throws what is the primary's fault; parts of it may be committed by then. */
  async run(error: unknown): Promise<CommittedBatch[]> {
    const { units, rejects } = this.request;
    if (rejects.length > 0) await this.#write(units);
    else await this.#divide(units, error);
    await this.#decideDoubts();
    await this.#keep([...rejects, ...this.#rejected]);
    return this.batches;
  }

  async #write(units: readonly Unit[]): Promise<void> {
    if (units.length === 0) return;
    try {
      this.batches.push(await this.primary.commitPart({ units, rejects: [] }));
    } catch (error) {
      await this.#divide(units, error);
      return;
    }
    this.#failures = 0;
  }

  async #divide(units: readonly Unit[], error: unknown): Promise<void> {
    if (!mayBeTheData(error)) throw error;
    const [only] = units;
    if (only === undefined) throw error;
    if (isDoubtful(error)) await this.#doubt(error, only);
    if (units.length === 1) this.#judge(only, error);
    else for (const part of splitByFit(units, this.primary.looksFitting)) await this.#write(part);
  }

  /** Goes on for as long as it is likely that the readings are at fault. */
  async #doubt(error: unknown, unit: Unit): Promise<void> {
    this.request.doubt?.failed(error);
    this.#failures += 1;
    if (this.#failures <= this.#failuresAtMost) return;
    if (!(await this.#isPrimaryFine(unit))) throw error;
    this.#failures = 0;
  }

  async #isPrimaryFine(unit: Unit): Promise<boolean> {
    if (this.request.doubt !== undefined) return await this.request.doubt.canStoreOthers(unit);
    return this.batches.length > 0;
  }

  #judge(unit: Unit, error: unknown): void {
    if (isDoubtful(error)) {
      this.#doubtful.push({ unit, error });
      return;
    }
    if (error instanceof UnsendableError) this.primary.assertSendable();
    this.#rejected.push(rejectedBy(this.primary.side, unit, error));
  }

  async #decideDoubts(): Promise<void> {
    const [first] = this.#doubtful;
    if (first === undefined) return;
    const { doubt } = this.request;
    if (doubt === undefined) throw first.error;
    if (this.batches.length === 0 && !(await this.#isPrimaryFine(first.unit))) throw first.error;
    for (const { unit, error } of this.#doubtful) doubt.setAside(unit, error);
  }

  async #keep(rejects: readonly QuarantineRecord[]): Promise<void> {
    if (rejects.length === 0) return;
    try {
      this.batches.push(await this.primary.commitPart({ units: [], rejects }));
    } catch (error) {
      if (!mayBeTheData(error)) throw error;
      const [only] = rejects;
      if (rejects.length > 1) for (const half of halve(rejects)) await this.#keep(half);
      else if (only !== undefined && !isAscii(only)) await this.#keep([inAscii(only)]);
      else throw error;
    }
  }
}

/** The record of a unit that a side will not store, with the error in words. */
export function rejectedBy(side: Side, unit: Unit, error: unknown): QuarantineRecord {
  return rejectedUnit(unit, { side, reason: describeFault(error), sqlstate: sqlstateOf(error) ?? null });
}

/** Sets those apart that look too large for their columns; where none or all of them do, halves. */
function splitByFit(units: readonly Unit[], looksFitting: (unit: Unit) => boolean): (readonly Unit[])[] {
  const fitting = units.filter(looksFitting);
  if (fitting.length > 0 && fitting.length < units.length) {
    return [fitting, units.filter((unit) => !looksFitting(unit))];
  }
  return halve(units);
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
