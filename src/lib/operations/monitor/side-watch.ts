import { type Answer, type Answers, askTogether } from '../../db/ask-together.js';
import { asUnreachable, type Database } from '../../db/database.js';
import { describeFault, faultKind, sqlstateOf } from '../../db/sqlstate.js';
import { type MigrationState, NO_PHASE } from '../../domain/migration.js';
import type { Side } from '../../domain/side.js';
import { SensorctlError } from '../../errors.js';
import { KNOWN_CONSUMERS, type KnownConsumer } from '../../repository/monitor/consumer-list.js';
import { type ComparisonFigures, LAST_COMPARISON } from '../../repository/monitor/last-comparison.js';
import { LAG_SECONDS, LEDGER_FIGURES, type LedgerFigures } from '../../repository/monitor/ledger-figures.js';
import { readSideCatalog, type SideCatalog } from '../../repository/monitor/side-catalog.js';
import { OPEN_QUARANTINE } from '../../repository/monitor/open-quarantine.js';
import { type BackfillFigures, RUNNING_BACKFILL } from '../../repository/monitor/running-backfill.js';
import { RECORDED_TABLES } from '../../repository/phase/recorded-tables.js';
import { RECORDED_STATE, SERVER_CLOCK } from '../../repository/phase/state.js';
import { touchedSince, type Touched, type TouchedRange } from '../../repository/monitor/touched-ranges.js';
import type { WindowFigures } from '../../repository/monitor/window-counts.js';
import type { Table } from '../../repository/tables/table.js';
import { readTracking, type Tracking } from '../../repository/writers/tracking.js';
import type { CountOutcome } from './count-schedule.js';
import { Pace } from './pace.js';
import { TableCounts, type TableCount } from './table-counts.js';
import type { Advise } from './watched-tables.js';

/** Where a side is: who reads figures must be able to tell of which databases they are. */
export interface DatabaseAddress {
  readonly host: string;
  readonly port: number;
  readonly name: string;
}

/** The answers of one side to one look; null for whatever it did not answer, or was not asked yet. */
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
  /** The tables that were recorded with the phase. */
  readonly recorded: readonly string[] | null;
  /** How each table that it was asked about is tracked on this side, by the name of the table. */
  readonly trackings: ReadonlyMap<string, Tracking> | null;
  /** Of the tables whose whole window was counted, by name. */
  readonly tables: ReadonlyMap<string, WindowFigures>;
  /** What consumers, other writers and repairs touched since the look before. */
  readonly touched: readonly TouchedRange[];
  /** What was counted with this look. */
  readonly counted: readonly CountOutcome[];
  /** What it cost the server to say how the tables are tracked, in ms; null where it was not asked. */
  readonly trackingCostMs: number | null;
}

/** What a look asks besides what it always does. */
export interface LookRequest {
  readonly counts: readonly TableCount[];
  /** The tables of this side by name, where it is to be asked how they are tracked. */
  readonly tracking: readonly (readonly [name: string, table: Table])[] | null;
}

/** Asked with every look, for they cost next to nothing. */
const ALWAYS = { clock: SERVER_CLOCK, state: RECORDED_STATE, lag: LAG_SECONDS };
/** Asked as often as their cost allows. */
const PACED = {
  consumers: KNOWN_CONSUMERS,
  ledger: LEDGER_FIGURES,
  quarantine: OPEN_QUARANTINE,
  recorded: RECORDED_TABLES,
  comparison: LAST_COMPARISON,
  backfill: RUNNING_BACKFILL,
} as const;

/** Looks at one side again and again, asking no more than its pace allows, and keeps what it said. */
export class SideWatch {
  readonly #pace: Pace;
  readonly counts: TableCounts;
  #catalog: SideCatalog | null = null;
  #known: Known;
  #touched: Touched | null = null;

  constructor(
    readonly database: Database,
    windowMicros: number,
    readonly advise: Advise = ({ code }) => code,
    now: () => number = () => performance.now(),
  ) {
    this.#pace = new Pace(now);
    this.counts = new TableCounts(database, windowMicros);
    this.#known = silentLook(database, NO_PHASE, '');
  }

  /** What the catalogs said last; null where the side never did. */
  get catalog(): SideCatalog | null {
    return this.#catalog;
  }

  /** Reads the catalogs; answers what it cost, in ms. A side that does not answer says so when it is looked at. */
  async readCatalog(): Promise<number> {
    const startedAt = performance.now();
    try {
      this.#catalog = await readSideCatalog(this.database.pool);
    } catch (error) {
      if (faultKind(error) === 'defect') throw error;
    }
    return performance.now() - startedAt;
  }

  /**
   * Counts what is asked for, and asks what else is due. Never throws: a side that does not answer says so, and the last
   * known state stays known.
   */
  async look({ counts, tracking }: LookRequest): Promise<SideLook> {
    try {
      const due = Object.entries(PACED).filter(([name]) => this.#isDue(name));
      const answers = await askTogether(this.database, {
        ...ALWAYS,
        ...(Object.fromEntries(due) as Partial<typeof PACED>),
        touched: touchedSince(this.#touched),
      });
      for (const [name] of due) this.#pace.spent(name, answers[name as keyof typeof PACED]?.costMs ?? 0);
      const now = valueOf(answers.clock, null);
      const touched = valueOf(answers.touched, null);
      this.#touched = touched ?? this.#touched;
      this.#learn(answers);
      const counted = now === null ? [] : await this.counts.count(now, counts);
      const trackingCostMs = tracking === null ? null : await this.#readTracking(tracking);
      return {
        ...this.#known,
        answers: true,
        problem: firstRefusal([...Object.values(answers), ...counted.map(({ answer }) => answer)], this),
        now,
        tables: now === null ? new Map<string, WindowFigures>() : this.counts.figures(now),
        touched: touched?.ranges ?? [],
        counted,
        trackingCostMs,
      };
    } catch (error) {
      if (faultKind(error) === 'defect') throw error;
      return silentLook(this.database, this.#known.state, describeFault(error));
    }
  }

  /** What was not asked, or refused, stays as it was known; the lag is of now. */
  #learn(answers: Partial<Answers<typeof ALWAYS & typeof PACED>>): void {
    const known = this.#known;
    this.#known = {
      ...known,
      state: valueOf(answers.state, known.state),
      lagSeconds: valueOf(answers.lag, null),
      consumers: valueOf(answers.consumers, known.consumers),
      ledger: valueOf(answers.ledger, known.ledger),
      quarantine: valueOf(answers.quarantine, known.quarantine),
      comparison: valueOf(answers.comparison, known.comparison),
      backfill: valueOf(answers.backfill, known.backfill),
      recorded: valueOf(answers.recorded, known.recorded),
    };
  }

  /** A ledger that has become empty is known at once: gaps shown beside no lag would be yesterday's. */
  #isDue(name: string): boolean {
    const { lagSeconds, ledger } = this.#known;
    const isEmptied = lagSeconds === 0 && ledger !== null && ledger.entries.pending + ledger.entries.missed > 0;
    return this.#pace.isDue(name) || (name === 'ledger' && isEmptied);
  }

  /** What a side cannot say that is not prepared, it says of its bookkeeping. */
  async #readTracking(tables: readonly (readonly [name: string, table: Table])[]): Promise<number> {
    const startedAt = performance.now();
    try {
      const found = await readTracking(
        this.database,
        tables.map(([, table]) => table),
      );
      const trackings = tables.flatMap(([name], place) => {
        const tracking = found[place];
        return tracking === undefined ? [] : [[name, tracking] as const];
      });
      this.#known = { ...this.#known, trackings: new Map(trackings) };
    } catch (error) {
      if (sqlstateOf(error) === undefined) throw error;
      this.#known = { ...this.#known, trackings: null };
    }
    return performance.now() - startedAt;
  }
}

type Known = Omit<SideLook, 'tables' | 'touched' | 'counted' | 'trackingCostMs' | 'answers' | 'problem' | 'now'>;

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
    recorded: null,
    trackings: null,
    tables: new Map(),
    touched: [],
    counted: [],
    trackingCostMs: null,
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
  { database, advise }: { readonly database: Database; readonly advise: Advise },
): string | null {
  for (const answer of answers) {
    if (answer === undefined || 'value' in answer) continue;
    const error = asUnreachable(answer.refusal, database);
    const advice = error instanceof SensorctlError && error.problem !== null ? ` (${advise(error.problem)})` : '';
    return `${describeFault(answer.refusal)}${advice}`;
  }
  return null;
}
