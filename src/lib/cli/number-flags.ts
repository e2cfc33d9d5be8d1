import * as Flags from '@oclif/core/flags';
import type { OptionFlag } from '@oclif/core/interfaces';
import { UsageError } from '../errors.js';

interface NumberOptions {
  readonly description: string;
  readonly min: number;
  readonly max?: number;
  readonly default?: number;
  readonly exclusive?: string[];
}

/** A flag that takes a whole number; its help and its error name the limits. */
export function numberFlag(options: NumberOptions & { readonly default: number }): OptionFlag<number>;
export function numberFlag(options: NumberOptions): OptionFlag<number | undefined>;
export function numberFlag(options: NumberOptions): OptionFlag<number> | OptionFlag<number | undefined> {
  const { description, min, max = Number.MAX_SAFE_INTEGER, ...rest } = options;
  const limits = options.max === undefined ? `${min} or more` : `${min} to ${max}`;
  const flag = Flags.custom<number>({
    ...rest,
    description: `${description} (${limits})`,
    parse: (text, _context, { name }) => {
      const value = /^\d{1,15}$/.test(text) ? Number(text) : NaN;
      if (value >= min && value <= max) return Promise.resolve(value);
      throw new UsageError(`--${name} should be a whole number, ${limits}, not ${text}`);
    },
  });
  return flag();
}
