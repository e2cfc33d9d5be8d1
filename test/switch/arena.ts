import { setTimeout as sleep } from 'node:timers/promises';
import { closeDatabase, type Database } from '../../src/lib/db/database.js';
import { describeFault } from '../../src/lib/db/sqlstate.js';
import type { MigrationState } from '../../src/lib/domain/migration.js';
import { otherSide, type Side } from '../../src/lib/domain/side.js';
import { silentLogger } from '../../src/lib/logger.js';
import type { StepName } from '../../src/lib/operations/cutover/cutover-report.js';
import { switchPrimary, type SwitchOutcome } from '../../src/lib/operations/cutover/switch.js';
import { copyRecord, findDecidingState } from '../../src/lib/repository/phase/deciding-state.js';
import { readRecordedState } from '../../src/lib/repository/phase/state.js';
import { changePhase, recordFirstPhase } from '../../src/lib/repository/phase/transition.js';
import { generateTelemetry } from '../../src/lib/decoders/generate.js';
import { account, accountOn, Observer, type Violations } from '../chaos/invariants.js';
import { Load } from '../chaos/load.js';
import { ChaosStage, startServers, stopServers, type Servers } from '../chaos/stage.js';
import { openTestSide } from '../support/backfilled.js';
import { eventually, type CliSettings, type RunningCli } from '../support/cli.js';
import { Operator } from './operator.js';
import { OtherWriters } from './other-writers.js';
import { Primaries } from './primaries.js';

const WHY = { by: 'a test', reason: null, overriddenGates: [] };
const DAY_MS = 86_400_000;
/** Longer than messages that a dead consumer held stay invisible. */
const SETTLED_WITHIN_MS = 60_000;

export interface ArenaOptions {
  readonly seed: number;
  readonly consumers: number;
  /** Messages a second. */
  readonly rate: number;
  /** Mean time between two readings, in ms. */
  readonly spacingMs?: number;
  /** Other programs write to tracked tables, on both sides, whoever is the primary. */
  readonly otherWriters?: boolean;
  /** Servers that others use too; absent: servers of its own. */
  readonly servers?: Servers;
}

/** Phase 2 or 3 under load: two servers of one's own, consumers as processes, and somebody who watches who is primary. */
export class Arena {
  readonly consumers: RunningCli[] = [];
  readonly #bodies: string[] = [];
  readonly #primaries: Primaries;
  readonly #telemetry: Iterator<string>;
  #load: { readonly load: Load; readonly over: AbortController; readonly running: Promise<void> } | null = null;

  private constructor(
    readonly servers: Servers,
    readonly stage: ChaosStage,
    /** Past the network. */
    readonly sides: Readonly<Record<Side, Database>>,
    private readonly options: ArenaOptions,
    readonly writers: OtherWriters | null,
  ) {
    const { seed, spacingMs = 1_000 } = options;
    const startMicros = (Date.now() - DAY_MS) * 1000;
    this.#telemetry = generateTelemetry({ seed, count: Infinity, startMicros, spacingMs });
    this.#primaries = new Primaries({ local: openSide(stage, 'local', 3_000), ec2: openSide(stage, 'ec2', 3_000) });
  }

  /** Both sides in phase 2, empty, and so many consumers that follow the phase. */
  static async open(options: ArenaOptions): Promise<Arena> {
    const servers = options.servers ?? (await startServers({ durable: false }));
    const stage = await ChaosStage.open(servers, { seed: options.seed });
    const sides = { local: openSide(stage, 'local'), ec2: openSide(stage, 'ec2') };
    const first = await recordFirstPhase(sides.local, WHY);
    await copyRecord(sides.ec2, await changePhase(sides.local, first, { ...WHY, phase: 2 }));
    const writers = options.otherWriters === true ? await OtherWriters.open(stage, options.seed) : null;
    const arena = new Arena(servers, stage, sides, options, writers);
    await Promise.all(Array.from({ length: options.consumers }, () => arena.addConsumer()));
    await arena.ready();
    return arena;
  }

  async addConsumer(settings: CliSettings = {}): Promise<RunningCli> {
    const consumer = await this.stage.consume([], settings);
    this.consumers.push(consumer);
    return consumer;
  }

  /** Resolves once every consumer has taken up its work. */
  async ready(): Promise<void> {
    const initialized = (): boolean => this.consumers.every(({ stderr }) => stderr.includes('is the primary'));
    await eventually('every consumer has its role', () => Promise.resolve(initialized()), 90_000);
  }

  /** Sends so many messages, and returns them. */
  async send(count: number): Promise<string[]> {
    const bodies = Array.from({ length: count }, () => this.#telemetry.next().value as string);
    await this.stage.send(bodies);
    this.#bodies.push(...bodies);
    return bodies;
  }

  /** Kills a consumer with -9, and puts another in its place. */
  async replaceConsumer(index = 0): Promise<void> {
    const [killed] = this.consumers.splice(index, 1);
    killed?.kill('SIGKILL');
    await killed?.wait();
    await this.addConsumer();
    const expire = `update sensorctl.consumer set lease_until = clock_timestamp() where pid = $1 and ended_at is null`;
    const ends = Object.values(this.sides).map(({ pool }) => pool.query(expire, [killed?.pid]).catch(() => undefined));
    await Promise.all(ends);
  }

  /** Sends telemetry until `calm`. */
  startLoad(): void {
    if (this.#load !== null) return;
    const { seed, rate } = this.options;
    const over = new AbortController();
    const load = new Load(this.stage, { seed, rate, bodies: this.#telemetry });
    const running = load.run(over.signal);
    running.catch(() => undefined);
    this.#load = { load, over, running };
    this.writers?.start();
  }

  /** Ends the load and waits until all that was sent is stored, and settled as far as the phase asks for it. */
  async calm(): Promise<MigrationState> {
    if (this.#load !== null) {
      const { load, over, running } = this.#load;
      over.abort();
      await running;
      await this.writers?.pause();
      this.#bodies.push(...load.bodies);
      this.#load = null;
    }
    await eventually('the queue is empty', () => this.stage.isQueueEmpty(), SETTLED_WITHIN_MS);
    const state = await this.settledState();
    await eventually('the ledger is settled', () => this.#isLedgerSettled(state), SETTLED_WITHIN_MS);
    return state;
  }

  get messages(): number {
    return this.#bodies.length;
  }

  /** Resolves once no change is under way, and one side's own record makes it the primary; asks the records alone. */
  async settledState(): Promise<MigrationState> {
    let found: MigrationState | undefined;
    await eventually(
      'one side is the primary by its own record',
      async () => {
        const records = await this.readRecords().catch(() => null);
        if (records === null) return false;
        const own = (['local', 'ec2'] as const).filter((side) => records[side].primary === side);
        const [only] = own;
        found = only === undefined ? undefined : records[only];
        return own.length === 1 && found?.attempt === null;
      },
      SETTLED_WITHIN_MS,
    );
    return found!;
  }

  async readRecords(): Promise<Record<Side, MigrationState>> {
    const [local, ec2] = await Promise.all([
      readRecordedState(this.sides.local.pool),
      readRecordedState(this.sides.ec2.pool),
    ]);
    return { local, ec2 };
  }

  /** What is wrong with the data, in the phase that is recorded, once the load has calmed down. */
  async audit(state: MigrationState): Promise<Violations> {
    const { local, ec2 } = this.stage;
    const dead = this.consumers
      .filter(({ hasEnded }) => hasEnded)
      .map(({ pid, stderr }) => `consumer ${pid} ended by itself:\n${stderr.slice(-2_000)}`);
    dead.push(...((await this.writers?.audit(state.primary, state.primary === 'local')) ?? []));
    if (state.primary === 'local') return [...dead, ...(await account(this.stage, this.#bodies))];
    const exchanged = new Observer({ local: ec2, ec2: local });
    // The second look seeks what the first saw on local among the rows of EC2.
    const looks = [...(await exchanged.look()), ...(await exchanged.look())];
    return [...dead, ...looks, ...(await accountOn(ec2, [local, ec2], this.#bodies))];
  }

  /** Switches to the other side in this process; the hook is awaited before each step. */
  async switch(
    onStep: (name: StepName) => void | Promise<void> = () => undefined,
    { maxPauseMs = 20_000, keepLocalCurrent = false, sides = this.sides } = {},
  ): Promise<SwitchOutcome> {
    const { state, primary } = await findDecidingState(sides);
    return await switchPrimary({
      ...{ from: primary, to: sides[otherSide(primary.side)], state, maxPauseMs, force: false, why: WHY },
      ...{
        targetPhase: state.phase === 3 ? 2 : 3,
        keepLocalCurrent: state.phase === 2 && keepLocalCurrent,
        endWriters: false,
      },
      ...{ stop: new AbortController().signal, logger: silentLogger },
      onStep: async (name, detail) => {
        if (detail === '') await onStep(name);
      },
    });
  }

  /** Goes to the phase, if need be, and leaves nothing to do. */
  async goTo(phase: 2 | 3): Promise<void> {
    const { state } = await findDecidingState(this.sides);
    if (state.phase !== phase) await this.switch();
  }

  /** An operator's process, waiting before the step. */
  async operatorAt(step: StepName, maxPauseMs: number): Promise<Operator> {
    const straight = { TIMESCALE_PORT: String(this.servers.local.port), EC2_DB_PORT: String(this.servers.ec2.port) };
    const operator = new Operator({ waitAt: step, maxPauseMs }, { ...this.stage.settings, ...straight });
    await operator.reached(step);
    return operator;
  }

  /** Opens the sides as the consumers do, over the network; the caller closes them. */
  openOverNetwork(): Record<Side, Database> {
    return { local: openSide(this.stage, 'local', 28_000, true), ec2: openSide(this.stage, 'ec2', 28_000, true) };
  }

  /** What went wrong during all of it; empty where there never were two primaries. */
  async close(): Promise<string[]> {
    this.#load?.over.abort();
    await this.#load?.running.catch(() => undefined);
    await this.writers?.pause().catch(() => undefined);
    const violations = await this.#primaries.stop();
    await this.stage.close();
    await Promise.all(Object.values(this.sides).map((side) => closeDatabase(side)));
    if (this.options.servers === undefined) await stopServers(this.servers);
    return violations;
  }

  /** Where they stand, for a test that failed. */
  async describe(): Promise<string> {
    const records = await this.readRecords().catch((error: unknown) => describeFault(error));
    return `${JSON.stringify(records, null, 1)}\n${this.stage.readLogs()}\nseed ${this.options.seed}`;
  }

  async #isLedgerSettled({ primary, keepLocalCurrent, phase }: MigrationState): Promise<boolean> {
    const purposely =
      phase === 3 && !keepLocalCurrent
        ? "and batch_id is not null and reason is distinct from 'local was not kept current'"
        : '';
    const { rowCount } = await this.sides[primary].pool.query(
      `select from sensorctl.ledger where state <> 'refused' ${purposely}`,
    );
    return rowCount === 0;
  }
}

/** Resolves once the deadline of what is under way on the side is past by its clock, or nothing is. */
export async function deadlinePast({ pool }: Database): Promise<void> {
  await eventually('the deadline is past', async () => {
    const { rows } = await pool.query<{ under_way: boolean }>(
      'select coalesce(deadline > clock_timestamp(), false) as under_way from sensorctl.state',
    );
    return rows[0]?.under_way === false;
  });
}

/** Resolves after so long; for faults that have to outlast a deadline. */
export const outlast = (ms: number): Promise<void> => sleep(ms);

function openSide(
  { servers, network, settings }: ChaosStage,
  side: Side,
  callTimeoutMs = 28_000,
  overNetwork = false,
): Database {
  const { host, user, password } = servers[side];
  const { port } = overNetwork ? network[side] : servers[side];
  const database = settings[side === 'local' ? 'TIMESCALE_DB' : 'EC2_DB_NAME'] ?? '';
  return openTestSide(side, { host, port, user, password }, { database, callTimeoutMs });
}
