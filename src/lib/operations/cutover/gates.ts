import { CLOCK_LIMIT_MS, readClock, readServerCatalog } from '../../repository/tables/server-catalog.js';
import { findRestoring, readDurability } from '../../repository/tables/durability.js';
import { asUnreachable, type Database } from '../../db/database.js';
import { readIdentity } from '../../db/identity.js';
import { describeFault, sqlstateOf } from '../../db/sqlstate.js';
import { onOneConnection } from '../../db/transaction.js';
import { READING_TABLES } from '../../domain/reading.js';
import { counted, listOf } from '../../domain/words.js';
import type { MigrationState, Phase } from '../../domain/migration.js';
import { otherSide, sideTitle, type Side } from '../../domain/side.js';
import { assertBookkeeping } from '../../repository/ledger/bookkeeping-schema.js';
import { readConsumers, readVerdicts, type Verdicts } from '../../repository/cutover/evidence.js';
import { readTableEvidence, type TableEvidence } from '../../repository/cutover/table-evidence.js';
import { readRecordedTables } from '../../repository/phase/recorded-tables.js';
import { planTables, type TablePlan } from '../../repository/compare/plan-tables.js';
import type { TableSelection } from '../../domain/table-patterns.js';
import { countLedger } from '../../repository/cutover/drain-ledger.js';
import { proveUnproven } from '../../repository/cutover/prove-unproven.js';
import { probeRoom, probeWrite } from '../../repository/phase/writable.js';
import { GUIDE_TABLES } from '../../decoders/guide-tables.js';
import { findObstacles } from '../../repository/tables/declared-tables.js';
import { holdsGuideTables } from '../../repository/tables/reading-tables.js';
import { readTracked } from '../../repository/tables/written-tables.js';
import { SensorctlError, type Problem } from '../../errors.js';
import type { Gate, Measured } from './cutover-report.js';
import { measureSequences } from './pass-sequences.js';
import { measureViews } from './refresh-views.js';
import type { PairTracking } from '../../repository/writers/pair-tracking.js';
import { measureSoak } from './soak-gate.js';
import { measureWriters } from './writers-gate.js';

/** The checks that other commands make for the gates. */
export interface Checks {
  /** How many findings of verify-schema block, and how many warn. */
  readonly verifySchema: () => Promise<{ readonly blocking: number; readonly warning: number }>;
  /** How many rows of the last hour EC2 alone holds, or holds otherwise than local does. */
  readonly countForeignOnEc2: () => Promise<number>;
  /** In phase 3, how many rows of the last hour local alone holds in these tables. */
  readonly countForeignOnLocal: (tables: readonly string[]) => Promise<number>;
}

export interface GateOptions {
  readonly sides: Readonly<Record<Side, Database>>;
  readonly state: MigrationState;
  readonly target: Phase;
  readonly minSoakMs: number;
  /** The tables of the migration. */
  readonly selection: TableSelection;
  readonly checks: Checks;
  /** Nothing that is proven on the way is recorded. */
  readonly dryRun: boolean;
  readonly stop: AbortSignal;
  /** Called with the names of the gates that are still being measured. */
  readonly onGate: (names: string) => void;
}

interface Condition {
  readonly name: string;
  readonly measure: () => Promise<Measured>;
}

/** Connections that are to stay free on EC2 for whoever else needs one. */
const SPARE_CONNECTIONS = 5;
/** A consumer whose lease ran out so long ago counts as gone. */
const GONE_SECONDS = 300;
/** Nothing but a comparison tells what other programs have changed in an untracked table: for the switch its is younger. */
const FRESH_SECONDS = 3_600;
/** Batches on their way may take so long to settle. */
const SETTLE_MS = 10_000;

/** Measures every gate of a change of phase, side by side; one that cannot be measured is not met. */
export async function measureGates(options: GateOptions): Promise<Gate[]> {
  const conditions = conditionsOf(options);
  const open = new Set(conditions.map(({ name }) => name));
  const tell = (): void => options.onGate([...open].join(', '));
  tell();
  return await Promise.all(
    conditions.map(async ({ name, measure }) => {
      const found = await measure().catch((error: unknown) => notMeasured(error, options.sides));
      open.delete(name);
      tell();
      const { passed, detail, advice = null, forcible = true } = found;
      return { name, passed, detail, advice: passed ? null : advice, forcible };
    }),
  );
}

/** An error that a server gave names its side. */
function notMeasured(error: unknown, { local }: GateOptions['sides']): Measured {
  const named = sqlstateOf(error) === undefined ? error : asUnreachable(error, local);
  const advice = (named instanceof SensorctlError ? named.problem : null) ?? ({ code: 'gate-not-measured' } as const);
  return { passed: false, detail: `could not be measured: ${describeFault(named)}`, advice };
}

function conditionsOf(options: GateOptions): Condition[] {
  const { state, target } = options;
  const gates = new Gates(options);
  const prepared = { name: 'prepared', measure: () => gates.prepared() };
  const newPrimary = [
    { name: 'sequences', measure: () => gates.sequences() },
    { name: 'views', measure: () => gates.views() },
  ];
  if (state.phase === 3) {
    const wayBack = { name: 'way back', measure: () => gates.writable('local') };
    const writers = { name: 'other writers', measure: () => gates.strayWriters() };
    return [prepared, wayBack, writers, ...newPrimary];
  }
  if (target === 1) return state.phase === 2 ? [] : [prepared];
  const production = [
    prepared,
    { name: 'tables', measure: () => gates.tables() },
    { name: 'schema', measure: () => gates.schema() },
    { name: 'ledger', measure: () => gates.ledger() },
    { name: 'other writers', measure: () => gates.otherWriters() },
    { name: 'compare', measure: () => gates.compare() },
    { name: 'clock', measure: () => gates.clock() },
    { name: 'connections', measure: () => gates.connections() },
    { name: 'disk', measure: () => gates.disk() },
  ];
  if (target === 2) return production;
  return [
    ...production,
    { name: 'soak', measure: () => gates.soak() },
    { name: 'consumers', measure: () => gates.consumers() },
    { name: 'way back', measure: () => gates.wayBack() },
    ...newPrimary,
  ];
}

class Gates {
  readonly #primary: Database;
  readonly #secondary: Database;
  /** The identities of both; asked for once, by whichever gate comes first. */
  #between: Promise<string[]> | undefined;
  #plan: Promise<TablePlan> | undefined;
  #evidence: Promise<TableEvidence> | undefined;

  constructor(private readonly options: GateOptions) {
    const { sides, state } = options;
    this.#primary = sides[state.primary];
    this.#secondary = sides[otherSide(state.primary)];
  }

  /** Both sides hold sensorctl's schema and take its writes, which stay; from phase 2 on both need the keys. */
  async prepared(): Promise<Measured> {
    const { sides, target } = this.options;
    const both = [sides.local, sides.ec2];
    const found = await Promise.all(both.map(async (side) => findRestoring(side, await readDurability(side.pool))));
    for (const [place, restoring] of found.entries()) {
      if (restoring === null) continue;
      const advice: Problem = { code: 'restoring-mode', facts: { side: both[place]?.side ?? 'local' } };
      return { passed: false, detail: restoring.message, advice, forcible: false };
    }
    await Promise.all(both.map(assertBookkeeping));
    const needsKeys = target === 1 ? [sides.local] : both;
    const declared = (await holdsGuideTables(this.#primary)) ? GUIDE_TABLES : {};
    const [first] = (await Promise.all(needsKeys.map((side) => findObstacles(side, declared)))).flat();
    if (first === undefined) return { passed: true, detail: 'tables, keys and bookkeeping are there on both sides' };
    return { passed: false, detail: `${first.table} ${first.problem}`, advice: first.advice, forcible: false };
  }

  async schema(): Promise<Measured> {
    const { blocking, warning } = await this.options.checks.verifySchema();
    const detail = `${counted(blocking, 'finding blocks', 'findings block')}, ${counted(warning, 'warns', 'warn')}`;
    return { passed: blocking === 0, detail, advice: { code: 'schema-differs' } };
  }

  /** Pending entries settle while somebody waits for them; missed and refused ones do not. */
  async ledger(): Promise<Measured> {
    const { missed, refused } = await countLedger(this.#primary);
    if (refused > 0) {
      const detail = `${counted(refused, 'reading')} that ${this.#other} refuses, ${counted(missed, 'missed entry', 'missed entries')}`;
      return { passed: false, detail, advice: { code: 'readings-refused' } };
    }
    return {
      passed: missed === 0,
      detail: `${counted(missed, 'missed entry', 'missed entries')}, none refused`,
      advice: { code: 'readings-missed' },
    };
  }

  /** Each table can be moved, and is one of those that were recorded with the phase. */
  async tables(): Promise<Measured> {
    const { pairs, notHandled, leftOut } = await this.#planTables();
    const advice: Problem = { code: 'tables-unsettled' };
    const [first] = notHandled;
    if (first !== undefined) {
      const detail = `${counted(notHandled.length, 'table')} cannot be moved: ${first.table} ${first.reason}`;
      return { passed: false, detail, advice: first.advice ?? advice };
    }
    const recorded = await readRecordedTables(this.#primary.pool);
    const names = pairs.map(({ name }) => name);
    const added = recorded.length === 0 ? [] : names.filter((name) => !recorded.includes(name));
    const known = new Set([...names, ...leftOut.map(({ table }) => table)]);
    const gone = recorded.filter((name) => !known.has(name));
    if (gone.length > 0) {
      return { passed: false, detail: `recorded with the phase, and no longer there: ${listOf(gone)}`, advice };
    }
    const unproven = await this.#withoutProof(added);
    if (unproven.length > 0) {
      return { passed: false, detail: `new since the phase was recorded, and not proven: ${listOf(unproven)}`, advice };
    }
    const left = leftOut.map(({ table, reason }) => `${table} (${reason})`);
    return {
      passed: true,
      detail: `${counted(pairs.length, 'table')}${left.length === 0 ? '' : `; left out: ${listOf(left)}`}`,
    };
  }

  async #withoutProof(names: readonly string[]): Promise<readonly string[]> {
    if (names.length === 0) return [];
    const { proofs } = await this.#findEvidence();
    return names.filter((name) => !proofs.has(name));
  }

  /** Tracked tables have whole triggers; what an untracked table means is said. */
  async otherWriters(): Promise<Measured> {
    const { trackings, proofs } = await this.#findEvidence();
    return measureWriters(trackings, proofs);
  }

  /** In phase 3 local refuses other programs where its triggers are whole; elsewhere it holds nothing that EC2 lacks. */
  async strayWriters(): Promise<Measured> {
    const { trackings } = await this.#findEvidence();
    const open = trackings.filter(({ state }) => state !== 'tracked').map(({ table }) => table);
    if (open.length === 0) return { passed: true, detail: 'local has refused other programs' };
    const rows = await this.options.checks.countForeignOnLocal(open);
    return {
      passed: rows === 0,
      detail:
        rows === 0
          ? `local holds nothing of the last hour that EC2 lacks; what other programs wrote there before is not covered: ${listOf(open)}`
          : `local holds ${counted(rows, 'row')} of the last hour that EC2 lacks: another program still writes there`,
      advice: { code: 'local-has-more' },
    };
  }

  async #readEvidence(): Promise<TableEvidence> {
    const { pairs } = await this.#planTables();
    const databases = { primary: this.#primary, secondary: this.#secondary };
    return await readTableEvidence(databases, pairs, this.#identities());
  }

  async #findEvidence(): Promise<TableEvidence> {
    this.#evidence ??= this.#readEvidence();
    return await this.#evidence;
  }

  /** Each table was proven once, nothing was found different in it since, and what was written since is equal too. */
  async compare(): Promise<Measured> {
    const { pairs } = await this.#planTables();
    const { trackings, proofs } = await this.#findEvidence();
    const advice: Problem = { code: 'not-proven' };
    const unproven = pairs.filter(({ name }) => !proofs.has(name)).map(({ name }) => name);
    if (unproven.length > 0) {
      const detail = `no comparison of all of ${listOf(unproven)}, between these two databases, was identical since the migration began${this.#sinceTracked(trackings, unproven)}`;
      return { passed: false, detail, advice };
    }
    const known = pairs.flatMap(({ name }) => proofs.get(name) ?? []);
    const damaged = known.find(({ different }) => different !== null);
    if (damaged !== undefined) {
      const detail = `a comparison that ended at ${damaged.different} found differences in ${damaged.table}`;
      return { passed: false, detail, advice };
    }
    const [oldest] = known.toSorted((one, other) => other.ageSeconds - one.ageSeconds);
    const age = oldest === undefined ? '' : `, the oldest proof of ${oldest.proven} (${oldest.table})`;
    const tracked = new Set(trackings.filter(({ state }) => state === 'tracked').map(({ table }) => table));
    const stale = known.filter(({ table, ageSeconds }) => !tracked.has(table) && ageSeconds > FRESH_SECONDS);
    if (this.options.target === 3 && stale.length > 0) {
      const names = stale.map(({ table }) => table);
      const detail = `what other programs changed in the last hours is not proven${age}: ${listOf(names)}`;
      return { passed: false, detail, advice };
    }
    const { ranges, differing, verified } = await this.#proveWhatWasWritten();
    if (differing.length > 0) {
      const detail = `${differing.join(', ')} differ in what was written since the last proof`;
      return { passed: false, detail, advice: { code: 'rows-differ' } };
    }
    const excepted = pairs.flatMap(({ name, excepted: columns }) => columns.map((column) => `${name}.${column}`));
    const without = excepted.length === 0 ? '' : `; not covered: ${listOf(excepted)}`;
    const repaired =
      verified.length === 0 ? '' : `; verified as it was repaired: other programs' changes in ${listOf(verified)}`;
    return {
      passed: true,
      detail: `${counted(pairs.length, 'table')} identical${age}, and ${counted(ranges, 'range')} written since${repaired}${without}`,
    };
  }

  #sinceTracked(trackings: readonly PairTracking[], names: readonly string[]): string {
    const isTracked = trackings.some(({ table, trackedSeconds }) => trackedSeconds !== null && names.includes(table));
    return isTracked ? ', or since its triggers were made' : '';
  }

  /** Pending rows are no difference: rows that differ are looked at again, as compare does. */
  async #proveWhatWasWritten(): Promise<{ ranges: number; differing: string[]; verified: readonly string[] }> {
    const sides = { primary: this.#primary, secondary: this.#secondary };
    const { ranges, differing, verified } = await proveUnproven(sides, this.options.stop, {
      recorded: !this.options.dryRun,
      settleMs: SETTLE_MS,
    });
    return { ranges, differing: [...differing.keys()], verified };
  }

  async clock(): Promise<Measured> {
    const { sides } = this.options;
    const [local, ec2] = await Promise.all([
      onOneConnection(sides.local.pool, readClock),
      onOneConnection(sides.ec2.pool, readClock),
    ]);
    const apartMs = Math.abs(ec2.aheadMs - local.aheadMs);
    const toleranceMs = local.toleranceMs + ec2.toleranceMs;
    return {
      passed: apartMs - toleranceMs <= CLOCK_LIMIT_MS,
      detail: `${Math.round(apartMs)} ms apart, measured to ${Math.ceil(toleranceMs)} ms`,
      advice: { code: 'clocks-apart' },
    };
  }

  async connections(): Promise<Measured> {
    const { freeConnections } = await readServerCatalog(this.options.sides.ec2.pool);
    return {
      passed: freeConnections >= SPARE_CONNECTIONS,
      detail: `${freeConnections} free on EC2, ${SPARE_CONNECTIONS} wanted`,
      advice: { code: 'connections-few' },
    };
  }

  /** Free space cannot be seen in SQL: this finds a disk that is full, and what will fill one. */
  async disk(): Promise<Measured> {
    const { idleSlots, archivingFails, databaseBytes } = await probeRoom(this.options.sides.ec2);
    const size = `${(databaseBytes / 1e9).toFixed(1)} GB held; free space is seen on the host alone: df -h`;
    if (idleSlots > 0) {
      return {
        passed: false,
        detail: `${counted(idleSlots, 'replication slot that nobody reads keeps', 'replication slots that nobody reads keep')} WAL`,
        advice: { code: 'slots-idle' },
      };
    }
    if (archivingFails) {
      return { passed: false, detail: 'WAL archiving fails', advice: { code: 'archiving-fails' } };
    }
    return { passed: true, detail: `room for a write; ${size}` };
  }

  async soak(): Promise<Measured> {
    const { state, minSoakMs } = this.options;
    const { trackings } = await this.#findEvidence();
    const allTracked = trackings.length > 0 && trackings.every((each) => each.state === 'tracked');
    const options = { state, minSoakMs, allTracked };
    return await measureSoak(this.#primary, options, (since) => this.#verdictsSince(since));
  }

  async #verdictsSince(since: string): Promise<Verdicts> {
    return await readVerdicts(this.#primary.pool, { since, between: await this.#identities() });
  }

  async #identities(): Promise<string[]> {
    this.#between ??= Promise.all([this.#primary, this.#secondary].map(({ pool }) => readIdentity(pool)));
    return await this.#between;
  }

  async #planTables(): Promise<TablePlan> {
    const sides = { primary: this.#primary, secondary: this.#secondary };
    this.#plan ??= planTables(sides, { selection: this.options.selection, names: [] });
    return await this.#plan;
  }

  async consumers(): Promise<Measured> {
    const known = await readConsumers(this.#primary.pool);
    const alive = known.filter(({ silentSeconds }) => silentSeconds < 0);
    const silent = known.find(({ silentSeconds }) => silentSeconds >= 0 && silentSeconds < GONE_SECONDS);
    if (silent !== undefined) {
      const detail = `the one on ${silent.host}, process ${silent.pid}, has been silent for ${Math.round(silent.silentSeconds)} s`;
      return { passed: false, detail, advice: { code: 'consumer-silent', facts: { goneSeconds: GONE_SECONDS } } };
    }
    const heldBack = alive.find(({ writeMode }) => writeMode !== 'dual-write');
    if (heldBack !== undefined) {
      const detail = `the one on ${heldBack.host}, process ${heldBack.pid}, writes to local only`;
      return { passed: false, detail, advice: { code: 'consumer-local-only' } };
    }
    return { passed: true, detail: `${alive.length} alive, all in dual write; ${known.length - alive.length} gone` };
  }

  /** A write to local is possible, and EC2 holds nothing that local lacks. */
  async wayBack(): Promise<Measured> {
    const writable = await this.writable('local');
    if (!writable.passed) return writable;
    const rows = await this.options.checks.countForeignOnEc2();
    return {
      passed: rows === 0,
      detail:
        rows === 0
          ? 'local takes writes; EC2 holds nothing of the last hour that local lacks'
          : `EC2 holds ${counted(rows, 'row')} of the last hour that local lacks, or holds otherwise`,
      advice: { code: 'ec2-has-more' },
    };
  }

  /** The side that becomes the primary can number rows from where both sides' numbers end. */
  async sequences(): Promise<Measured> {
    return await measureSequences({ from: this.#primary, to: this.#secondary });
  }

  /** Whatever becomes of them holds up no switch. */
  async views(): Promise<Measured> {
    return await measureViews(this.#secondary);
  }

  async writable(side: Side): Promise<Measured> {
    try {
      const database = this.options.sides[side];
      await probeWrite(database, [...READING_TABLES, ...(await readTracked(database.pool))]);
      return { passed: true, detail: `${sideTitle(side)} takes writes` };
    } catch (error) {
      return {
        passed: false,
        detail: `${sideTitle(side)} does not take writes: ${describeFault(error)}`,
        advice: { code: 'way-back-closed', facts: { side } },
      };
    }
  }

  get #other(): string {
    return sideTitle(this.#secondary.side);
  }
}
