import type { Database } from '../../db/database.js';
import type { DeclaredTables, Unit } from '../../domain/row.js';
import { sideTitle } from '../../domain/side.js';
import { UnreachableError } from '../../errors.js';
import type { Table } from '../tables/table.js';
import { WrittenTables, type SideTables } from '../tables/written-tables.js';
import type { PlannedRows } from './batch.js';
import type { BatchStatement } from './batch-sql.js';
import { Shapes, type Shape, type UnfitUnit } from './check-rows.js';

/** The statements of so many kinds of batches are kept; for more each is built anew. */
const MOST_STATEMENTS = 200;

/** What the catalogs said at one time, and what follows from it. */
export class CheckedView {
  readonly shapes: Shapes;
  readonly #statements = new Map<string, BatchStatement>();

  constructor(
    readonly on: SideTables,
    declared: DeclaredTables,
  ) {
    this.shapes = new Shapes(on.asked, declared);
  }

  get tables(): ReadonlyMap<string, Table> {
    return this.on.asked;
  }

  /** The statement for rows of these shapes. */
  statementOf(
    planned: readonly PlannedRows[],
    build: (shapes: readonly Shape[], on: SideTables) => BatchStatement,
  ): BatchStatement {
    const shapes = planned.map(({ shape }) => shape);
    const name = JSON.stringify(shapes);
    const known = this.#statements.get(name);
    if (known !== undefined) return known;
    const built = build(shapes, this.on);
    if (this.#statements.size < MOST_STATEMENTS) this.#statements.set(name, built);
    return built;
  }
}

/** Checks rows against the catalogs of a side before they are written. */
export class CheckedTables {
  readonly #tables: WrittenTables;
  readonly #views = new WeakMap<SideTables, CheckedView>();

  constructor(
    private readonly database: Database,
    private readonly declared: DeclaredTables,
  ) {
    this.#tables = new WrittenTables(database, Object.keys(declared));
  }

  forget(): void {
    this.#tables.forget();
  }

  /**
   * The units that tables take, and those that none does, with the reason. Throws where a table is not as the decoder
   * declares it: then it is not the fault of a message.
   */
  async check(units: readonly Unit[]): Promise<{ units: readonly Unit[]; unfit: UnfitUnit[]; view: CheckedView }> {
    const view = await this.#read(units);
    const unfit = findUnfit(units, view);
    if (unfit.length > 0 && this.#tables.forgetOld()) return await this.check(units);
    for (const each of unfit) this.#assertNotDeclared(each);
    if (unfit.length === 0) return { units, unfit, view };
    const unfitUnits = new Set(unfit.map(({ unit }) => unit));
    return { units: units.filter((unit) => !unfitUnits.has(unit)), unfit, view };
  }

  async #read(units: readonly Unit[]): Promise<CheckedView> {
    const names = new Set(units.flatMap(({ rows }) => rows.map(({ table }) => table)));
    const on = await this.#tables.read(names);
    const view = this.#views.get(on) ?? new CheckedView(on, this.declared);
    this.#views.set(on, view);
    return view;
  }

  #assertNotDeclared({ row, reason, isOfTable }: UnfitUnit): void {
    const declared = this.declared[row.table];
    if (!isOfTable || declared === undefined) return;
    const isAsDeclared = Object.keys(row.values).every((name) => name in declared.columns);
    if (!isAsDeclared || declared.key?.every((name) => name in row.values) !== true) return;
    throw new UnreachableError(`${reason} on ${sideTitle(this.database.side)}`, { code: 'schema-differs' });
  }
}

function findUnfit(units: readonly Unit[], { shapes }: CheckedView): UnfitUnit[] {
  return units.flatMap((unit) => shapes.findUnfit(unit) ?? []);
}
