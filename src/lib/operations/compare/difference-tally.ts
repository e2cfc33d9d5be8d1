import type { ComparedRange } from '../../repository/compare/comparison-record.js';
import { type TimeRange, without } from '../../domain/time-range.js';
import { formatInstant, formatInstantText } from '../../domain/time.js';
import type { TablePair } from '../../repository/tables/table-pair.js';
import type { DifferenceRecord, SideReport, Strip, TableReport } from './compare-report.js';
import type { Leaf, SideTotals } from '../../repository/compare/find-leaves.js';
import { placeOf } from '../../repository/compare/place-of-row.js';
import type { Difference } from '../../repository/compare/resolve.js';
import { isTimeAxis, microsOfPlace } from '../../repository/tables/axis.js';
import { shownValue } from '../../repository/compare/long-values.js';
import type { ComparedSides } from '../../repository/compare/sides.js';
import { keyColumns } from '../../repository/compare/slices.js';

const STRIP_CELLS = 54;

/** Counts the differences of one table. */
export class Tally {
  readonly #counts = { missing: 0, extra: 0, different: 0, pending: 0, 'known gap': 0, unexplained: 0 };
  #pendingExtra = 0;
  readonly #pending = new Set<TimeRange>();
  readonly #strip = new Array<number>(STRIP_CELLS).fill(0);

  readonly #leaves = new Set<Leaf>();

  constructor(
    readonly table: TablePair,
    readonly range: TimeRange | null,
    readonly sides: ComparedSides,
    /** All of the table is looked at. */
    private readonly isWhole = true,
  ) {}

  /** The parts in which rows differ. */
  get differing(): readonly Leaf[] {
    return [...this.#leaves];
  }

  add(difference: Difference): void {
    this.#leaves.add(difference.leaf);
    this.#counts[difference.kind] += 1;
    this.#counts[difference.class] += 1;
    if (difference.kind === 'extra' && difference.class === 'pending') this.#pendingExtra += 1;
    if (this.range === null) return;
    const { slice } = difference.leaf;
    if (difference.class === 'pending' && 'from' in slice) this.#pending.add(slice);
    const place = placeOf(this.table, difference);
    if (place === null) return;
    const cell = Math.floor(((place - this.range.from) / (this.range.to - this.range.from)) * STRIP_CELLS);
    this.#strip[cell] = (this.#strip[cell] ?? 0) + 1;
  }

  /** The ranges that an identical comparison proves: none near pending rows, among which a lost one would hide. */
  get proven(): ComparedRange[] {
    const { name: table, axis } = this.table;
    if (this.isWhole && this.#counts.pending === 0) return [{ table, from: null, to: null }];
    if (this.range === null || axis === null || !isTimeAxis(axis.primary)) return [];
    return without(this.range, this.#pending).map(({ from, to }) => {
      return { table, from: microsOfPlace(axis.primary, from), to: microsOfPlace(axis.primary, to) };
    });
  }

  get strip(): Strip | null {
    return this.range === null ? null : this.#strip;
  }

  report(primary: SideTotals, secondary: SideTotals): TableReport {
    const isLocal = this.sides.primary.side === 'local';
    const { missing, extra, different, pending, unexplained } = this.#counts;
    return {
      table: this.table.name,
      local: this.#sideReport(isLocal ? primary : secondary),
      ec2: this.#sideReport(isLocal ? secondary : primary),
      missingOnEc2: isLocal ? missing : extra,
      missingOnLocal: isLocal ? extra : missing,
      different,
      pending,
      pendingExtra: this.#pendingExtra,
      knownGap: this.#counts['known gap'],
      unexplained,
      whole: this.isWhole,
    };
  }

  #sideReport({ rows, newest }: SideTotals): SideReport {
    const { axis } = this.table;
    const micros = newest === null || axis === null ? null : microsOfPlace(axis.primary, newest);
    return { rows, maxTime: micros === null ? null : formatInstant(micros) };
  }

  record(difference: Difference): DifferenceRecord {
    const { primary, secondary } = this.sides;
    const lacking = difference.kind === 'missing' ? secondary.side : primary.side;
    return {
      table: this.table.name,
      kind: difference.kind === 'different' ? 'different' : `missing on ${lacking}`,
      class: difference.class,
      key: this.#keyOf(difference),
      columns: Object.fromEntries(
        difference.columns.map((column) => [
          column.name,
          {
            [primary.side]: this.#readable(column.name, column.primary),
            [secondary.side]: this.#readable(column.name, column.secondary),
          } as Record<'local' | 'ec2', string | null>,
        ]),
      ),
    };
  }

  #readable(column: string, value: string | null): string | null {
    return readable(value, this.table.columns.find(({ name }) => name === column)?.type ?? null);
  }

  #keyOf({ key }: Difference): Record<string, string | null> {
    const columns = keyColumns(this.table);
    const named = columns.length === 0 ? this.table.columns : columns;
    return Object.fromEntries(named.map(({ name, type }, index) => [name, readable(key[index] ?? null, type)]));
  }
}

/** Times as sensorctl writes them everywhere; of a long value its size and its digest. */
function readable(value: string | null, type: string | null): string | null {
  if (value !== null && type?.startsWith('timestamp') === true) return formatInstantText(value);
  return shownValue(value, type);
}
