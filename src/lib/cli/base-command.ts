import { Command, Errors, Flags } from '@oclif/core';
import { loadSettings, type RequiredSettings, type Settings } from '../config.js';
import { EXIT_CODE, SensorctlError } from '../errors.js';
import { createLogger, type Logger } from '../logger.js';
import { createRedactor } from './redact.js';
import { trapSignals } from './signals.js';

/** What every command shares: settings, a logger on stderr, signals, and exit codes. */
export abstract class BaseCommand extends Command {
  static override baseFlags = {
    verbose: Flags.boolean({ description: 'log every step to stderr', helpGroup: 'GLOBAL' }),
  };

  protected override async init(): Promise<void> {
    await super.init();
    // The operator chose this Node; the SDK's advice about its own future versions is not for them.
    process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true';
  }

  #redact: (text: string) => string = (text) => text;

  /** Reads and checks all settings; prints what is valid but unwise. `required` are those this command needs. */
  protected settings(
    options: { required?: RequiredSettings; flags?: Record<string, string | undefined> } = {},
  ): Settings {
    const settings = loadSettings(
      { directory: process.cwd(), environment: process.env, ...(options.flags ? { flags: options.flags } : {}) },
      options.required,
    );
    this.#redact = createRedactor(settings.secrets);
    return settings;
  }

  protected logger(verbose = false): Logger {
    return createLogger((line) => this.note(line), verbose ? 'debug' : 'info');
  }

  /** Writes a line to stderr: log, progress, advice. */
  protected note(line: string): void {
    process.stderr.write(`${this.#redact(line)}\n`);
  }

  /** Aborts at the first Ctrl-C or SIGTERM; the second ends the process at once. */
  protected stopSignal(): AbortSignal {
    return trapSignals((message) => this.note(message));
  }

  override log(message = ''): void {
    if (!this.jsonEnabled()) process.stdout.write(`${this.#redact(message)}\n`);
  }

  /** Turns an error into what the operator reads and the exit code; the only place that does. */
  protected override catch(error: Error): Promise<never> {
    const exitCode = exitCodeOf(error);
    if (error instanceof Errors.ExitError) throw error;
    const message = error.message.replace(PARSER_ADVICE, '');
    if (this.jsonEnabled()) this.logJson({ error: this.#redact(message), exitCode });
    this.note(`Error: ${message}`);
    for (const line of adviceFor(error, this.config.bin, this.id)) this.note(line);
    return this.exit(exitCode);
  }
}

/** oclif's parser ends its errors so; our own advice names the command. */
const PARSER_ADVICE = /\nSee more help with --help$/;

function exitCodeOf(error: Error): number {
  if (error instanceof SensorctlError) return error.exitCode;
  return isUsageError(error) ? EXIT_CODE.usage : EXIT_CODE.defect;
}

/** oclif's parser throws its own errors for wrong flags and arguments. */
function isUsageError(error: Error): boolean {
  return error instanceof Errors.CLIError;
}

function adviceFor(error: Error, bin: string, command = ''): string[] {
  if (error instanceof SensorctlError) return error.next === undefined ? [] : [`Next: ${error.next}`];
  if (isUsageError(error)) return [`Next: ${bin} ${command.replaceAll(':', ' ')} --help`];
  return ['This is a defect in sensorctl. Nothing that was acknowledged is lost.', error.stack ?? ''];
}
