import { type Answer, askTogether, type Question } from '../../db/ask-together.js';
import type { Database } from '../../db/database.js';
import type { TouchedRange } from '../../repository/monitor/touched-ranges.js';
import {
  WindowCounts,
  type BucketCounts,
  type CountedTable,
  type WindowFigures,
} from '../../repository/monitor/window-counts.js';
import { SERVER_CLOCK } from '../../repository/phase/state.js';
import type { CountKind, CountOutcome } from './count-schedule.js';

/** What is to be counted of a table of this side. */
export interface TableCount {
  readonly name: string;
  readonly table: CountedTable;
  readonly kinds: readonly CountKind[];
}

/** What became of it, and what the server said. */
export interface CountAnswer extends CountOutcome {
  readonly answer: Answer<BucketCounts>;
}

/** The rows of the window in the tables of one side. */
export class TableCounts {
  readonly #counts = new Map<string, WindowCounts>();

  constructor(
    private readonly database: Database,
    private readonly windowMicros: number,
  ) {}

  /** Whether the whole window of a table was counted through once; with a wide window this takes some looks. */
  isCounted(table: string): boolean {
    return this.#counts.get(table)?.isCounted === true;
  }

  /** Whether its older rows are to be counted before anything can be said of them. */
  needsOlder(table: string): boolean {
    return this.#counts.get(table)?.needsOlder !== false;
  }

  /** Somebody wrote these times: what is counted of them is old. */
  touch(ranges: readonly TouchedRange[]): void {
    for (const { table, range } of ranges) {
      const counts = this.#counts.get(table);
      if (range === null) counts?.touchAll();
      else counts?.touch(range);
    }
  }

  /** Counts what is asked for, all with one clock; everything else keeps its old figures. */
  async count(now: number, wanted: readonly TableCount[]): Promise<CountAnswer[]> {
    const asked = wanted.flatMap(({ name, table, kinds }) => {
      const counts = this.#countsOf(name);
      return kinds.map((kind) => ({ table: name, kind, counts, question: counts[kind](table, now) }));
    });
    const questions = asked.map(({ question }, place): [string, Question<BucketCounts>] => [String(place), question]);
    const { clock, ...answers } = await askTogether<Record<string, Question<unknown>>>(this.database, {
      clock: SERVER_CLOCK,
      ...Object.fromEntries(questions),
    });
    return asked.flatMap(({ table, kind, counts }, place) => {
      const answer = answers[place] as Answer<BucketCounts> | undefined;
      if (answer === undefined) return [];
      if ('value' in answer && clock !== undefined && 'value' in clock) takeInto(counts, { kind, answer, now });
      return [{ table, kind, answer, costMs: answer.costMs, isRefused: 'refusal' in answer }];
    });
  }

  /** Of the tables whose whole window was counted. */
  figures(now: number): Map<string, WindowFigures> {
    const counted = [...this.#counts].filter(([, counts]) => counts.isCounted);
    return new Map(counted.map(([table, counts]) => [table, counts.figures(now)]));
  }

  #countsOf(table: string): WindowCounts {
    const counts = this.#counts.get(table) ?? new WindowCounts(this.windowMicros);
    this.#counts.set(table, counts);
    return counts;
  }
}

function takeInto(
  counts: WindowCounts,
  { kind, answer, now }: { kind: CountKind; answer: { readonly value: BucketCounts }; now: number },
): void {
  if (kind === 'recent') counts.take(answer.value);
  else counts.takeOlder(answer.value, now);
}
