import type { Sandbox } from '../../sandbox/start-sandbox.js';
import { counted } from '../../domain/words.js';
import { startCommand, type CommandRunner, type RunningCommand, wait } from './run-command.js';
import type { TelemetryFiles } from './telemetry-files.js';

export interface StoryOptions {
  readonly runner: CommandRunner;
  readonly sandbox: Sandbox;
  readonly telemetry: TelemetryFiles;
  readonly settings: Readonly<Record<string, string>>;
  readonly tell: (line: string) => void;
  readonly stop: AbortSignal;
}

/** The figures of `consume --json`. */
export interface Consumed {
  readonly messages: number;
  readonly furtherReadings: number;
  readonly accepted: number;
  readonly refused: number;
  readonly quarantined: number;
}

const BEFORE_OUTAGE_MS = 5_000;
const OUTAGE_MS = 7_000;
const IN_PHASE_3_MS = 5_000;
/** The number of lines that are shown of a command's output. */
const LINES_TOLD = 4;
/** The frame of a table. */
const FRAME = /^[┌├└│]/;

/** The acts of the demo, each with the very commands that an operator types. */
export class Story {
  readonly #running: RunningCommand[] = [];
  #consumer: RunningCommand | undefined;

  constructor(private readonly options: StoryOptions) {}

  async prepare(): Promise<void> {
    this.#act('Phase 1: both sides get what is missing, and the consumer writes to both.');
    await this.#run('init');
    await this.#run('cutover --phase 1 --yes');
    // Consumers repair by themselves what EC2 missed; here an operator is to do it.
    this.#consumer = this.#start('consume --heal-rate 0 --json', '(runs until the end)');
  }

  /** Replays the telemetry meanwhile; answers how many messages were sent. */
  async send({ files, messages }: TelemetryFiles, loadSeconds: number): Promise<number> {
    const rate = Math.ceil(messages / loadSeconds);
    const replaying = this.#start(
      `replay ${files.join(' ')} --rate ${rate} --json`,
      `(${counted(messages, 'message')} meanwhile)`,
    );
    return (JSON.parse(await replaying.finished) as { sent: number }).sent;
  }

  async loseEc2(): Promise<void> {
    const { sandbox, stop } = this.options;
    await wait(BEFORE_OUTAGE_MS, stop);
    this.#act('✗ EC2 goes down. Local goes on; what EC2 misses is entered in the ledger.');
    await sandbox.ec2.stop('immediate');
    await wait(OUTAGE_MS, stop);
    this.#act('✓ EC2 is back. What does it lack?');
    await sandbox.ec2.start();
  }

  async repair(): Promise<void> {
    await this.#run('compare --all --limit 0');
    this.#act('It is known: bring it there, and prove it.');
    await this.#run('backfill');
    await this.#run('compare --all');
  }

  async cutOver(): Promise<void> {
    this.#act('Phase 2: production, behind gates. (The soak of 24 hours is cut to nothing for the demo.)');
    await this.#run('cutover --phase 2 --yes');
    await this.#run('compare --all');
    this.#act('Phase 3: EC2 becomes the primary. Ingestion pauses for a moment, the messages wait in SQS.');
    await this.#run('cutover --phase 3 --min-soak 0s --yes');
    await wait(IN_PHASE_3_MS, this.options.stop);
  }

  async rollBack(): Promise<void> {
    this.#act('The way back is open: local gets what EC2 received since, and is the primary again.');
    await this.#run('cutover --rollback --yes');
    await this.#run('compare --all');
  }

  /** Ends the consumer as an operator would. */
  async end(): Promise<Consumed> {
    this.#act('Stopping the consumer as an operator would (SIGTERM).');
    this.#consumer?.terminate();
    return JSON.parse((await this.#consumer?.finished) ?? '{}') as Consumed;
  }

  kill(): void {
    for (const command of this.#running) command.kill();
  }

  /** A "no" of a command is part of the story. */
  async #run(commandLine: string): Promise<void> {
    const output = await this.#start(commandLine).finished;
    const lines = output.split('\n').filter((line) => line.trim() !== '' && !FRAME.test(line));
    for (const line of lines.slice(-LINES_TOLD)) this.options.tell(`    ${line}`);
  }

  #start(commandLine: string, note = ''): RunningCommand {
    const { runner, settings, telemetry, tell } = this.options;
    tell(`$ sensorctl ${commandLine}  ${note}`.trimEnd());
    const command = startCommand(runner, commandLine.split(' '), { settings, directory: telemetry.directory });
    this.#running.push(command);
    return command;
  }

  #act(title: string): void {
    this.options.tell('');
    this.options.tell(title);
  }
}
