import { Command } from '@oclif/core/command';
import { ExitError } from '@oclif/core/errors';
import * as Flags from '@oclif/core/flags';
import { loadSettings, type RequiredSettings, type Settings } from '../config.js';
import { mapTexts } from '../domain/printable.js';
import { EXIT_CODE, type ExitCode } from '../errors.js';
import { createLogger, type Logger } from '../logger.js';
import { adviseOn, CommandLineError } from './advice.js';
import { createErrorReport, describeCauses, renderErrorReport } from './error-report.js';
import { writeJson, writeNote, writeResult, writeScript, writeStyled, createRedactor } from './output.js';
import { trapSignals } from './signals.js';
import { asUsageError } from './oclif-internals.js';

/** Codes of the errors that writing the result can meet where stdout is a file. */
const DISK_FAULTS: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EFBIG', 'EIO']);

/** The base of every command: settings, a logger on stderr, signals, and exit codes. */
export abstract class BaseCommand extends Command {
  static override baseFlags = {
    verbose: Flags.boolean({
      description: 'log every step to stderr: settings, connections, causes of errors',
      helpGroup: 'GLOBAL',
    }),
  };

  #redact: (text: string) => string = (text) => text;

  protected override async init(): Promise<void> {
    await super.init();
    // The operator chose this Node; the SDK's advice about its own future versions is not for them.
    process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true';
    // An error that no promise hands to `catch`, such as an event that nobody listens to, is a defect like any other.
    process.on('uncaughtException', (error) => {
      if (!this.tolerates(error)) process.exit(this.#reportUncaught(error));
    });
    // That nobody reads the log any more (`2>&1 | head`) is no reason to stop.
    process.stderr.on('error', () => undefined);
  }

  /** Whether an error that nothing has caught ends nothing; then it is in the log. */
  protected readonly tolerates: (error: unknown) => boolean = () => false;

  /** Reads and checks all settings; prints what is valid but unwise. `required` are those this command needs. */
  protected settings(
    options: { required?: RequiredSettings; flags?: Record<string, string | undefined> } = {},
  ): Settings {
    const settings = loadSettings(
      { directory: process.cwd(), environment: process.env, ...(options.flags ? { flags: options.flags } : {}) },
      options.required,
    );
    this.#redact = createRedactor(settings.secrets);
    for (const warning of settings.sourceWarnings) this.note(`Warning: ${warning}`);
    this.#logSettings(settings);
    return settings;
  }

  /** Logs to stderr: with --verbose, which every command has, the steps between too. */
  protected logger(): Logger {
    return createLogger((line) => this.note(line), this.#verbose ? 'debug' : 'info', adviseOn);
  }

  /** Writes a line to stderr: log, progress, advice. */
  protected note(line: string): void {
    writeNote(this.#redact(line));
  }

  /** Writes what a renderer made, of any number of lines, to stderr: what a question is about. */
  protected noteLines(text: string): void {
    for (const line of text.split('\n')) this.note(line);
  }

  /** Aborts at the first Ctrl-C or SIGTERM; the second ends the process at once. */
  protected stopSignal(): AbortSignal {
    return trapSignals((message) => this.note(message));
  }

  /** Writes the result to stdout, for a person. */
  override log(message = ''): void {
    if (!this.jsonEnabled()) writeResult(this.#redact(message));
  }

  /** The same for what holds colours of ours, made of values that are printable already. */
  protected logStyled(text: string): void {
    if (!this.jsonEnabled()) writeStyled(this.#redact(text));
  }

  /** Writes a result that is a program of its own. */
  protected logScript(script: string): void {
    if (!this.jsonEnabled()) writeScript(this.#redact(script));
  }

  /** Writes what --json prints: the result, or the error. */
  protected override logJson(value: unknown, spaces = 2): void {
    writeJson(mapTexts(value, this.#redact), spaces);
  }

  /** Turns an error into what the operator reads and the exit code; the only place that does. */
  protected override catch(error: Error): Promise<never> {
    if (error instanceof ExitError) throw error;
    return this.exit(this.#report(error));
  }

  get #verbose(): boolean {
    return this.argv.includes('--verbose');
  }

  #reportUncaught(error: NodeJS.ErrnoException): ExitCode {
    if (!DISK_FAULTS.has(error.code ?? '')) return this.#report(error);
    const next = 'make room, or send stdout elsewhere; what the command did stands';
    return this.#report(new CommandLineError(`stdout cannot be written: ${error.message}`, next), false);
  }

  #report(thrown: Error, json = this.jsonEnabled()): ExitCode {
    const name = (this.id ?? '').replaceAll(':', ' ');
    const { flags, baseFlags, enableJsonFlag } = this.ctor;
    const known = [...Object.keys({ ...flags, ...baseFlags }), ...(enableJsonFlag ? ['json'] : [])];
    const error = asUsageError(thrown, { name, flags: known }) ?? thrown;
    const report = createErrorReport(error, `${this.config.bin} ${name} --help`);
    if (json) this.logJson(report);
    for (const line of renderErrorReport(report, error)) this.note(line);
    if (report.exitCode !== EXIT_CODE.usage) describeCauses(error).forEach((cause) => this.logger().debug(cause));
    return report.exitCode;
  }

  #logSettings({ local, ec2, queue }: Settings): void {
    const logger = this.logger();
    for (const [side, connection] of Object.entries({ local, ec2 })) {
      if (connection === null) continue;
      const { host, port, database, user, sslMode, poolMax } = connection;
      logger.debug(`settings of ${side}`, { host, port, database, user, sslMode, poolMax });
    }
    logger.debug('settings of the queue', { url: queue.queueUrl, region: queue.region, endpoint: queue.endpoint });
  }
}
