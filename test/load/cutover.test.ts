// The whole migration under load. Its pauses are the matter: nothing else runs meanwhile.
import { expect } from 'chai';
import type { CutoverReport } from '../../src/lib/operations/cutover/cutover-report.js';
import { generateTelemetry } from '../../src/lib/decoders/generate.js';
import { account, accountOn } from '../chaos/invariants.js';
import { Load } from '../chaos/load.js';
import { ChaosStage } from '../chaos/stage.js';
import { eventually, readContent, runCli, type CliResult, type RunningCli } from '../support/cli.js';
import { shareServers } from '../support/shared-servers.js';
import { seedOf } from '../support/seed.js';

const SEED = seedOf(20250701);
const RATE = 1_000;
/** Readings of the last minutes, as devices send them. */
const SPACING_MS = 2;
const BEFORE_MS = 600_000;
const PAUSE_LIMIT_MS = 2_000;
const NO_SOAK = ['--min-soak', '0s'];

type Json = Pick<CutoverReport, 'phase' | 'writeMode' | 'changed' | 'pauseMs' | 'primary'>;

describe('cutover, under load', function () {
  this.timeout(240_000);
  this.slow(60_000);
  const servers = shareServers();

  it(`1 → 2 → 3 → rollback → 3 at ${RATE} messages a second: nothing is lost, nothing is twice`, async () => {
    const stage = await ChaosStage.open(servers(), {
      ...{ seed: SEED, visibilityTimeoutSeconds: 30, settings: { EC2_WRITE_TIMEOUT: '20000' } },
    });
    const story = new Story(stage);
    try {
      await story.cutover('--phase', '1');
      for (let count = 0; count < 3; count += 1) await story.addConsumer();
      story.load();
      await story.compare('--all');
      expect(await story.cutover('--phase', '2')).to.include({ phase: 2, writeMode: 'dual-write', changed: true });
      await story.compare('--window', '1h');

      const three = await story.cutover('--phase', '3', ...NO_SOAK);
      expect(three).to.include({ phase: 3, writeMode: 'ec2-only', primary: 'ec2', changed: true });
      const kept = await readContent(stage.local);
      await story.calm();
      expect(await accountOn(stage.ec2, [stage.local, stage.ec2], story.bodies)).to.deep.equal([]);
      expect(await readContent(stage.local), 'local is kept as it was').to.deep.equal(kept);

      story.load();
      const back = await story.cutover('--rollback');
      expect(back).to.include({ phase: 2, writeMode: 'dual-write', primary: 'local', changed: true });
      await story.calm();
      expect(await account(stage, story.bodies), 'both sides after the rollback').to.deep.equal([]);

      story.load();
      await story.compare('--window', '1h');
      const again = await story.cutover('--phase', '3', '--keep-local-current', ...NO_SOAK);
      expect(again).to.include({ phase: 3, writeMode: 'dual-write', primary: 'ec2', changed: true });
      await story.calm();
      expect(await accountOn(stage.ec2, [stage.local, stage.ec2], story.bodies)).to.deep.equal([]);
      expect(await readContent(stage.local), 'local is kept current').to.deep.equal(await readContent(stage.ec2));

      expect(
        story.pauses.filter((ms) => ms > PAUSE_LIMIT_MS),
        `pauses: ${story.pauses.join()} ms`,
      ).to.deep.equal([]);
      expect(story.hasEnded, 'whether a consumer ended by itself').to.equal(false);
      process.stdout.write(
        `      ${story.bodies.length} messages; ingestion paused for ${story.pauses.join(', ')} ms\n`,
      );
    } catch (error) {
      (error as Error).message += `\nseed ${SEED}\n${stage.readLogs()}`;
      throw error;
    } finally {
      await story.end();
      await stage.close();
    }
  });
});

/** Three consumers under load, and the commands of an operator. */
class Story {
  readonly bodies: string[] = [];
  readonly pauses: number[] = [];
  readonly #consumers: RunningCli[] = [];
  readonly #telemetry = generateTelemetry({
    ...{ seed: SEED, count: Infinity, startMicros: (Date.now() - BEFORE_MS) * 1000, spacingMs: SPACING_MS },
  });
  #load: { readonly load: Load; readonly over: AbortController; readonly running: Promise<void> } | null = null;

  constructor(private readonly stage: ChaosStage) {}

  async addConsumer(): Promise<void> {
    this.#consumers.push(await this.stage.consumeAsIs([]));
  }

  load(): void {
    const over = new AbortController();
    const load = new Load(this.stage, { seed: SEED, rate: RATE, bodies: this.#telemetry });
    this.#load = { load, over, running: load.run(over.signal) };
    this.#load.running.catch(() => undefined);
  }

  /** Ends the load, and waits until everything is stored on the primary and settled. */
  async calm(): Promise<void> {
    await this.#endLoad();
    await eventually('the queue is empty', () => this.stage.isQueueEmpty(), 60_000);
    for (const pool of [this.stage.local, this.stage.ec2]) {
      const purposely = "reason is distinct from 'local was not kept current'";
      await eventually('the ledger is empty', async () => {
        const { rowCount } = await pool.query(`select from sensorctl.ledger where ${purposely}`);
        return rowCount === 0;
      });
    }
  }

  async compare(...range: string[]): Promise<void> {
    // What was missed on a machine that is short of breath is a known gap until it is repaired.
    const isIdentical = async (): Promise<boolean> => {
      const { code, stdout, stderr } = await this.#run(['compare', ...range]);
      expect(code, stdout + stderr).to.be.oneOf([0, 1]);
      return code === 0;
    };
    await eventually('both sides are identical', isIdentical, 60_000);
  }

  async cutover(...args: string[]): Promise<Json> {
    const { code, stdout, stderr } = await this.#run(['cutover', ...args, '--yes', '--json']);
    expect(code, stdout + stderr).to.equal(0);
    const report = JSON.parse(stdout) as Json;
    if (report.pauseMs !== null) this.pauses.push(report.pauseMs);
    return report;
  }

  get hasEnded(): boolean {
    return this.#consumers.some((consumer) => consumer.hasEnded);
  }

  async end(): Promise<void> {
    await this.#endLoad().catch(() => undefined);
  }

  async #endLoad(): Promise<void> {
    if (this.#load === null) return;
    const { load, over, running } = this.#load;
    this.#load = null;
    over.abort();
    await running;
    this.bodies.push(...load.bodies);
  }

  async #run(args: readonly string[]): Promise<CliResult> {
    return await runCli(args, { settings: this.stage.settings });
  }
}
