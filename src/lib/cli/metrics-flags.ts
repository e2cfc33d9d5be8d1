import * as Flags from '@oclif/core/flags';
import type { Address } from '../http/serve.js';
import { numberFlag } from './number-flags.js';

/** Where to serve Prometheus metrics, alike in every command that does. */
export const METRICS_FLAGS = {
  'metrics-port': numberFlag({ min: 1, max: 65_535, description: 'port that answers /metrics for Prometheus' }),
  'metrics-host': Flags.string({ default: '127.0.0.1', description: 'address of the metrics port' }),
};

/** Null where no port was named. */
export function metricsAddress(flags: {
  readonly 'metrics-port'?: number | undefined;
  readonly 'metrics-host': string;
}): Address | null {
  const port = flags['metrics-port'];
  return port === undefined ? null : { host: flags['metrics-host'], port };
}
