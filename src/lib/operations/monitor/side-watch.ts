import { type Answer, askTogether, type Question } from '../../db/ask-together.js';
import { asUnreachable, type Database } from '../../db/database.js';
import { describeFault, faultKind } from '../../db/sqlstate.js';
import { type MigrationState, NO_PHASE } from '../../domain/migration.js';
import { READING_TABLES, type ReadingTable } from '../../domain/reading.js';
import type { Side } from '../../domain/side.js';
import { type Problem, SensorctlError } from '../../errors.js';
import { KNOWN_CONSUMERS, type KnownConsumer } from '../../repository/monitor/consumer-list.js';
import { type ComparisonFigures, LAST_COMPARISON } from '../../repository/monitor/last-comparison.js';
import { LAG_SECONDS, LEDGER_FIGURES, type LedgerFigures } from '../../repository/monitor/ledger-figures.js';
import { OPEN_QUARANTINE } from '../../repository/monitor/open-quarantine.js';
import { type BackfillFigures, RUNNING_BACKFILL } from '../../repository/monitor/running-backfill.js';
import { RECORDED_STATE, SERVER_CLOCK } from '../../repository/phase/state.js';
import { touchedSince, type Touched, type TouchedRange } from '../../repository/monitor/touched-ranges.js';
import {
  WindowCounts,
  type BucketCounts,
  type CountedTable,
  type WindowFigures,
} from '../../repository/monitor/window-counts.js';
import { isTimeAxis } from '../../repository/tables/axis.js';
import { readTables } from '../../repository/tables/read-tables.js';
import { KNOWN_AXES } from '../../repository/tables/reading-tables.js';
import type { Table } from '../../repository/tables/table.js';

/** Puts the next step for a problem into words. */
export type Advise = (problem: Problem) => string;

/** Where a side is: who reads figures must be able to tell of which databases they are. */
export interface DatabaseAddress {
  readonly host: string;
  readonly port: number;
  readonly name: string;
}

/** What one side said when it was looked at; null is what it did not say, or was not asked yet. */
export interface SideLook {
  readonly side: Side;
  readonly database: DatabaseAddress;
  readonly answers: boolean;
  /** Why it does not answer, or what it refused to say, in words for the operator. */
  readonly problem: string | null;
  /** The server's clock in µs since 1970. */
  readonly now: number | null;
  /** The last that it told. */
  readonly state: MigrationState;
  readonly consumers: readonly KnownConsumer[] | null;
  readonly lagSeconds: number | null;
  readonly ledger: LedgerFigures | null;
  readonly quarantine: number | null;
  readonly comparison: ComparisonFigures | null;
  readonly backfill: BackfillFigures | null;
  readonly tables: ReadonlyMap<ReadingTable, WindowFigures>;
  /** What dual write touched since the look before. */
  readonly touched: readonly TouchedRange[];
  /** What counting each table has cost the server, in ms. */
  readonly countCosts: ReadonlyMap<ReadingTable, number>;
}

/** Asked with every look, for they cost next to nothing. */
const ALWAYS = { clock: SERVER_CLOCK, state: RECORDED_STATE, lag: LAG_SECONDS };
/** Asked as often as their cost allows. */
const PACED = { consumers: KNOWN_CONSUMERS, ledger: LEDGER_FIGURES, quarantine: OPEN_QUARANTINE } as const;
const COMPARISON = { comparison: LAST_COMPARISON, backfill: RUNNING_BACKFILL };
/** A slice of what is older is counted anew so seldom, for what nothing told of: a backfill of history, a deletion. */
const OLDER_EVERY_MS = 120_000;

type CountName = `${'recent' | 'older'} ${ReadingTable}`;

/** Looks at one side again and again, asking no more than its pace allows, and keeps what it said. */
export class SideWatch {
  readonly #pace: Pace;
  readonly #counts: ReadonlyMap<ReadingTable, WindowCounts>;
  readonly #olderAt = new Map<ReadingTable, number>();
  /** As the catalogs last said; read again once the side refuses a question about them. */
  #tables: ReadonlyMap<string, Table> = new Map();
  #known: Omit<SideLook, 'tables' | 'touched' | 'countCosts' | 'answers' | 'problem' | 'now'>;
  #touched: Touched | null = null;

  constructor(
    readonly database: Database,
    windowMicros: number,
    private readonly advise: Advise = ({ code }) => code,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.#pace = new Pace(now);
    this.#counts = new Map(READING_TABLES.map((table) => [table, new WindowCounts(windowMicros)]));
    this.#known = silentLook(database, NO_PHASE, '');
  }

  /** Whether each table was counted through once; with a wide window this takes some looks. */
  get isCounted(): boolean {
    return [...this.#counts.values()].every((counts) => counts.isCounted);
  }

  /** Dual write touched these times: what is counted of them is old. */
  touch(ranges: readonly TouchedRange[]): void {
    for (const { table, range } of ranges) {
      const counts = this.#counts.get(table as ReadingTable);
      if (range === null) counts?.touchAll();
      else counts?.touch(range);
    }
  }

  /**
   * Counts the newest rows of these tables, and asks what else is due. Never throws: a side that does not answer says so,
   * and the last known state stays known.
   */
  async look(tables: readonly ReadingTable[]): Promise<SideLook> {
    try {
      const due = Object.entries({ ...PACED, ...COMPARISON }).filter(([name]) => this.#isDue(name));
      const answers = await askTogether(this.database, {
        ...ALWAYS,
        ...(Object.fromEntries(due) as Partial<typeof PACED & typeof COMPARISON>),
        touched: touchedSince(this.#touched),
      });
      for (const [name] of due) this.#pace.spent(name, answers[name as keyof typeof PACED]?.costMs ?? 0);
      const now = valueOf(answers.clock, null);
      const touched = valueOf(answers.touched, null);
      this.#touched = touched ?? this.#touched;
      this.#known = {
        side: this.database.side,
        database: addressOf(this.database),
        state: valueOf(answers.state, this.#known.state),
        lagSeconds: valueOf(answers.lag, null),
        consumers: valueOf(answers.consumers, this.#known.consumers),
        ledger: valueOf(answers.ledger, this.#known.ledger),
        quarantine: valueOf(answers.quarantine, this.#known.quarantine),
        comparison: valueOf(answers.comparison, this.#known.comparison),
        backfill: valueOf(answers.backfill, this.#known.backfill),
      };
      const counts = now === null ? new Map<CountName, Answer<BucketCounts>>() : await this.#count(now, tables);
      return {
        ...this.#known,
        answers: true,
        problem: firstRefusal([...Object.values(answers), ...counts.values()], {
          database: this.database,
          advise: this.advise,
        }),
        now,
        tables: now === null ? new Map<ReadingTable, WindowFigures>() : this.#figures(now),
        touched: touched?.ranges ?? [],
        countCosts: new Map(tables.map((table) => [table, counts.get(`recent ${table}`)?.costMs ?? 0])),
      };
    } catch (error) {
      if (faultKind(error) === 'defect') throw error;
      return silentLook(this.database, this.#known.state, describeFault(error));
    }
  }

  /** A ledger that has become empty is known at once: gaps shown beside no lag would be yesterday's. */
  #isDue(name: string): boolean {
    const { lagSeconds, ledger } = this.#known;
    const isEmptied = lagSeconds === 0 && ledger !== null && ledger.entries.pending + ledger.entries.missed > 0;
    return this.#pace.isDue(name) || (name === 'ledger' && isEmptied);
  }

  /** Counts what has to be counted now; everything else keeps its old figures. */
  async #count(now: number, tables: readonly ReadingTable[]): Promise<Map<CountName, Answer<BucketCounts>>> {
    const questions: Record<string, Question<unknown>> = {};
    if (this.#tables.size < this.#counts.size) this.#tables = await this.#readTables();
    for (const [name, counts] of this.#counts) {
      const table = withTime(this.#tables.get(name)) ?? missingTable(name);
      if (tables.includes(name)) questions[`recent ${name}`] = counts.recent(table, now);
      if (this.#isOlderDue(name, counts)) questions[`older ${name}`] = counts.older(table, now);
    }
    const { clock, ...answers } = await askTogether(this.database, { clock: SERVER_CLOCK, ...questions });
    const counted = new Map(Object.entries(answers)) as Map<CountName, Answer<BucketCounts>>;
    for (const [name, answer] of 'value' in clock ? counted : []) {
      const [kind, table] = name.split(' ') as ['recent' | 'older', ReadingTable];
      const counts = this.#counts.get(table);
      // The first round is not held back, slice by slice, but where the server refuses it.
      if (counts?.isCounted === true || 'refusal' in answer) this.#pace.spent(name, answer.costMs);
      if ('refusal' in answer) this.#tables = new Map();
      if (!('value' in answer)) continue;
      if (kind === 'recent') counts?.take(answer.value);
      else counts?.takeOlder(answer.value, now);
    }
    return counted;
  }

  async #readTables(): Promise<ReadonlyMap<string, Table>> {
    return await readTables(this.database.pool, READING_TABLES, KNOWN_AXES);
  }

  #isOlderDue(table: ReadingTable, { needsOlder }: WindowCounts): boolean {
    if (!this.#pace.isDue(`older ${table}`)) return false;
    const isDue = needsOlder || this.now() >= (this.#olderAt.get(table) ?? this.now()) + OLDER_EVERY_MS;
    if (isDue || !this.#olderAt.has(table)) this.#olderAt.set(table, this.now());
    return isDue;
  }

  #figures(now: number): Map<ReadingTable, WindowFigures> {
    const counted = [...this.#counts].filter(([, counts]) => counts.isCounted);
    return new Map(counted.map(([table, counts]) => [table, counts.figures(now)]));
  }
}

function withTime(table: Table | undefined): CountedTable | null {
  const axis = table?.axis ?? null;
  return table === undefined || axis === null || !isTimeAxis(axis.type) ? null : { ...table, axis };
}

/** A table that is not there: the server says so in its own words when it is asked. */
function missingTable(name: string): CountedTable {
  return {
    name: { schema: 'public', name },
    hasHeirs: false,
    axis: { column: 'time', type: 'timestamp with time zone' },
  };
}

/** A side that says nothing; the state that it last told is still known. */
export function silentLook(
  database: Pick<Database, 'side' | 'connection'>,
  state: MigrationState,
  problem: string,
): SideLook {
  return {
    side: database.side,
    database: addressOf(database),
    state,
    consumers: null,
    lagSeconds: null,
    ledger: null,
    quarantine: null,
    comparison: null,
    backfill: null,
    now: null,
    answers: false,
    problem,
    tables: new Map(),
    touched: [],
    countCosts: new Map(),
  };
}

/** Without the user: a password or a name that only the owner of the settings needs stands nowhere. */
export function addressOf({ connection }: Pick<Database, 'connection'>): DatabaseAddress {
  return { host: connection.host, port: connection.port, name: connection.database };
}

function valueOf<Value, Otherwise>(answer: Answer<Value> | undefined, otherwise: Otherwise): Value | Otherwise {
  return answer !== undefined && 'value' in answer ? answer.value : otherwise;
}

/** In words: where, and what to do about it. */
function firstRefusal(
  answers: readonly (Answer<unknown> | undefined)[],
  { database, advise }: { database: Database; advise: Advise },
): string | null {
  for (const answer of answers) {
    if (answer === undefined || 'value' in answer) continue;
    const error = asUnreachable(answer.refusal, database);
    const advice = error instanceof SensorctlError && error.problem !== null ? ` (${advise(error.problem)})` : '';
    return `${describeFault(answer.refusal)}${advice}`;
  }
  return null;
}

/** The share of one processor core of a server that any one question may take: 1 ms of work a second. */
const SHARE = 0.001;
const LONGEST_PAUSE_MS = 600_000;

/** Says when a question may be asked again: the more it costs the server, the more seldom, whatever the data's size. */
export class Pace {
  readonly #freeAt = new Map<string, number>();

  constructor(private readonly now: () => number = () => performance.now()) {}

  isDue(name: string): boolean {
    return this.now() >= (this.#freeAt.get(name) ?? 0);
  }

  spent(name: string, costMs: number): void {
    this.#freeAt.set(name, this.now() + Math.min(costMs / SHARE, LONGEST_PAUSE_MS));
  }
}
