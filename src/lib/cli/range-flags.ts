import { CommandLineError } from './advice.js';
import * as Flags from '@oclif/core/flags';
import type { WindowRequest } from '../repository/compare/window.js';
import { durationFlag, instantFlag } from './time-flags.js';

/** The flags that name a range of time, alike in every command that takes one. */
export const RANGE_FLAGS = {
  window: Flags.string({
    description: 'the last 15m, 1h, 2d, … up to now, or to --to',
    exclusive: ['from', 'all'],
    helpGroup: 'RANGE',
  }),
  from: Flags.string({ description: 'from this time on (ISO 8601, UTC where it names no zone)', helpGroup: 'RANGE' }),
  to: Flags.string({ description: 'up to this time, exclusive [default: everything newer]', helpGroup: 'RANGE' }),
  all: Flags.boolean({ description: 'everything', exclusive: ['from', 'to', 'window'], helpGroup: 'RANGE' }),
};

interface RangeValues {
  readonly window?: string | undefined;
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  readonly all: boolean;
}

/** The range that the flags name; null where they name none. Throws a UsageError for one that cannot be. */
export function parseRange({ window, from, to, all }: RangeValues): WindowRequest | null {
  if (window === undefined && from === undefined && to === undefined && !all) return null;
  const start = from === undefined ? null : instantFlag('from', from);
  const end = to === undefined ? null : instantFlag('to', to);
  if (start !== null && end !== null && start >= end) {
    throw new CommandLineError('--to is not after --from', 'ranges are [from, to): give a later --to');
  }
  return { from: start, to: end, windowMicros: window === undefined ? null : durationFlag('window', window) };
}
