import { closeDatabase, openDatabase, type Database } from '../../src/lib/db/database.js';
import type { Side } from '../../src/lib/domain/side.js';
import { compare, type CompareOutcome, type CompareRequest } from '../../src/lib/operations/compare/compare.js';
import type { CompareReport, DifferenceRecord } from '../../src/lib/operations/compare/compare-report.js';
import type { ComparedSides } from '../../src/lib/repository/compare/sides.js';
import { eventually } from '../support/cli.js';
import { busyTelemetry } from './busy-telemetry.js';
import type { Damage, Finding } from './damage.js';
import { Fleet } from './fleet.js';
import { Load } from './load.js';
import { ChaosStage, type Servers } from './stage.js';

/** Far longer than a write takes: what is given up on a machine short of breath is a gap, and no side's fault. */
const WRITE_TIMEOUT_MS = 10_000;
const HOUR_MICROS = 3_600_000_000;
const ROWS_AT_FIRST = 1_000;

export interface CompareLoadOptions {
  readonly seed: number;
  /** Messages a second. */
  readonly rate: number;
  readonly consumers: number;
  /** EC2 has no unique keys. */
  readonly keyless?: boolean;
  /** After which EC2 counts as silent. */
  readonly writeTimeoutMs?: number;
}

/** Compares everything, with the default time to settle. */
export const EVERYTHING: CompareRequest = {
  ...{ tables: [], from: null, to: null, windowMicros: null, bucketMicros: null },
  ...{ settleMs: 10_000, jobs: 1, limit: 1_000, resume: false },
};

/** Requests that the runs take in turn. */
export const REQUESTS: readonly CompareRequest[] = [
  EVERYTHING,
  { ...EVERYTHING, windowMicros: 48 * HOUR_MICROS, jobs: 2 },
  { ...EVERYTHING, windowMicros: 48 * HOUR_MICROS, bucketMicros: 60_000_000, settleMs: 30_000 },
  { ...EVERYTHING, tables: ['water_level_readings', 'sensor_registry'] },
];

/** Both sides while consumers write to them at full pace. The comparisons go past the network of the consumers. */
export class CompareLoad {
  readonly #over = new AbortController();
  readonly #fleet: Fleet;
  readonly #load: Load;
  readonly #sides: ComparedSides;
  #loading: Promise<void> = Promise.resolve();

  private constructor(
    readonly stage: ChaosStage,
    private readonly options: CompareLoadOptions,
  ) {
    const { seed, rate } = options;
    const startMicros = (Date.now() - 24 * 3_600_000) * 1000;
    this.#fleet = new Fleet(stage, () => this.#over.abort());
    this.#load = new Load(stage, { seed, rate, bodies: busyTelemetry({ seed, startMicros }) });
    this.#sides = { primary: openSide(stage, 'local'), secondary: openSide(stage, 'ec2') };
  }

  static async start(servers: Servers, options: CompareLoadOptions): Promise<CompareLoad> {
    const stage = await ChaosStage.open(servers, {
      seed: options.seed,
      visibilityTimeoutSeconds: 30,
      settings: { EC2_WRITE_TIMEOUT: String(options.writeTimeoutMs ?? WRITE_TIMEOUT_MS), EC2_RETRY_ATTEMPTS: '0' },
    });
    if (options.keyless === true) await stage.dropKeysOfEc2();
    const running = new CompareLoad(stage, options);
    await running.#begin();
    return running;
  }

  /** Messages sent so far. */
  get messages(): number {
    return this.#load.deliveries;
  }

  async #begin(): Promise<void> {
    const { consumers } = this.options;
    await Promise.all(Array.from({ length: consumers }, () => this.#fleet.add()));
    this.#loading = this.#load.run(this.#over.signal);
    await eventually('EC2 has rows', async () => (await this.rowsOnEc2()) > ROWS_AT_FIRST, 60_000);
  }

  async rowsOnEc2(): Promise<number> {
    const { rows } = await this.stage.ec2.query<{ rows: string }>('select count(*) as rows from water_level_readings');
    return Number(rows[0]?.rows);
  }

  /** What is on its way to EC2, and how long the oldest of it has been. */
  async describeLag(): Promise<string> {
    const { rows } = await this.stage.local.query<{ entries: string; ms: string | null }>(
      `select count(*) as entries, round(extract(epoch from clock_timestamp() - min(committed_at)) * 1000) as ms
       from sensorctl.ledger_state where state = 'pending'`,
    );
    return `lag ${rows[0]?.ms ?? 0} ms, ${rows[0]?.entries} entries`;
  }

  /** Compares once; throws when the consumers have failed meanwhile. */
  async compare(request: CompareRequest = EVERYTHING): Promise<CompareOutcome> {
    const outcome = await compare(this.#sides, request, {
      stop: new AbortController().signal,
      onDifference: () => Promise.resolve(),
      onProgress: () => undefined,
    });
    if (this.#fleet.violations.length > 0) throw new Error(this.#fleet.violations.join('\n'));
    return outcome;
  }

  /** Compares while the damage lasts; throws unless it is found, and nothing else. */
  async compareDamaged(damage: Damage, request: CompareRequest = EVERYTHING): Promise<CompareReport> {
    const { finding, mend } = await damage.inflict(this.stage);
    const { report } = await this.compare(request);
    await mend();
    const differences = losses(report);
    const [only] = differences;
    if (only === undefined || differences.length > 1 || report.verdict !== 'different' || !tells(only, finding)) {
      throw new Error(`${damage.title}: ${JSON.stringify(finding)} was to be found, not ${describeReport(report)}`);
    }
    return report;
  }

  async close(): Promise<void> {
    this.#over.abort();
    await this.#loading.catch(() => undefined);
    await this.#fleet.abandon();
    await Promise.all([this.#sides.primary, this.#sides.secondary].map((side) => closeDatabase(side)));
    await this.stage.close();
  }
}

/** Differences that are neither pending nor a known gap: each is a loss, or false alarm. */
export function losses({ differences }: CompareReport): readonly DifferenceRecord[] {
  return differences.filter((difference) => difference.class === 'unexplained');
}

/** What a failure is to tell. */
export function describeReport(report: CompareReport): string {
  const named = losses(report).slice(0, 20);
  return `${report.verdict}: ${JSON.stringify(report.tables)}\n${named.map((each) => JSON.stringify(each)).join('\n')}`;
}

function tells({ table, kind, class: found, key, columns }: DifferenceRecord, finding: Finding): boolean {
  const named = finding.column === undefined || finding.column in columns;
  const classed = found === 'unexplained';
  return table === finding.table && kind === finding.kind && key.sensor_id === finding.sensorId && named && classed;
}

/** Past the network. */
function openSide({ servers, settings }: ChaosStage, side: Side): Database {
  const { host, port, user, password } = servers[side];
  const database = settings[side === 'local' ? 'TIMESCALE_DB' : 'EC2_DB_NAME'] ?? '';
  return openDatabase({
    side,
    connection: { host, port, user, password, database, sslMode: 'disable', sslRootCert: undefined },
    poolMax: 10,
    callTimeoutMs: 28_000,
    applicationName: 'sensorctl compare',
  });
}
