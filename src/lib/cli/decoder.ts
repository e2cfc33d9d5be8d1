import { format } from 'node:util';
import { pathToFileURL } from 'node:url';
import * as Flags from '@oclif/core/flags';
import type { Settings } from '../config.js';
import { loadDecoder } from '../decoders/load-decoder.js';
import { describeThrown, type UsedDecoder } from '../decoders/run-decoder.js';
import { BaseCommand } from './base-command.js';

/** Which decoder, alike in every command that decodes. */
export const DECODER_FLAGS = {
  decoder: Flags.string({
    helpValue: 'FILE',
    description: "ES module that says what a message becomes; over TELEMETRY_DECODER [default: the guide's telemetry]",
  }),
};

/** The setting that the flag gives. */
export function decoderSetting(flags: { readonly decoder?: string | undefined }): Record<string, string | undefined> {
  return { TELEMETRY_DECODER: flags.decoder };
}

/** A line in so many ms, however many messages make a decoder throw. */
const QUIET_MS = 5_000;

/** The base of the commands that decode: a decoder runs in their process, and must end nothing that it does not answer. */
export abstract class DecodingCommand extends BaseCommand {
  #file: string | null = null;
  #strayErrors = 0;
  #toldAt = -Infinity;

  /** The decoder of the settings. Throws a UsageError where it does not load. What it prints goes to the log. */
  protected async openDecoder({ telemetry }: Settings): Promise<UsedDecoder> {
    this.#file = telemetry.decoder;
    if (telemetry.decoder !== null) {
      const print = (...values: unknown[]): void => this.note(`decoder: ${format(...values)}`);
      // eslint-disable-next-line no-console -- stdout carries the result alone
      for (const method of ['log', 'info', 'debug', 'warn', 'error'] as const) console[method] = print;
    }
    return await loadDecoder(telemetry.decoder, telemetry);
  }

  /** What a decoder throws once it has answered, as from a timer or in a promise: its message was answered for. */
  protected override readonly tolerates = (error: unknown): boolean => {
    if (this.#file === null || !isOfModule(error, this.#file)) return false;
    this.#strayErrors += 1;
    if (performance.now() - this.#toldAt < QUIET_MS) return true;
    const fields = { errors: this.#strayErrors, last: describeThrown(error), path: this.#file };
    this.logger().warn('the decoder threw after it had answered; that changes no message', fields);
    [this.#strayErrors, this.#toldAt] = [0, performance.now()];
    return true;
  };
}

/** By the places in its stack; sensorctl throws nothing but Errors, and Node wraps what else a promise rejects with. */
function isOfModule(error: unknown, path: string): boolean {
  if (!(error instanceof Error) || (error as NodeJS.ErrnoException).code === 'ERR_UNHANDLED_REJECTION') return true;
  return error.stack?.includes(pathToFileURL(path).href) === true;
}
