import type { SampleFigures } from '../../repository/monitor/samples.js';
import { leavesSecondaryOut, type Snapshot } from './snapshot.js';

/** One look in the figures that are recorded, and drawn over time. */
export function figuresOf(snapshot: Snapshot): SampleFigures {
  const { sides, gaps, ledger, rates, queue, consumers } = snapshot;
  const living = consumers?.filter(({ state }) => state !== 'lost');
  return {
    lagSeconds: snapshot.lagSeconds,
    gapRanges: gaps?.ranges ?? null,
    gapReadings: gaps?.readings ?? null,
    pending: ledger?.pending ?? null,
    missed: ledger?.missed ?? null,
    refused: ledger?.refused ?? null,
    inPerSecond: rates.in,
    toSecondaryPerSecond: rates.toSecondary,
    localP50Ms: sides.local.writeP50Ms,
    localP99Ms: sides.local.writeP99Ms,
    ec2P50Ms: sides.ec2.writeP50Ms,
    ec2P99Ms: sides.ec2.writeP99Ms,
    queued: queue?.visible ?? null,
    deadLetters: queue?.deadLetters ?? null,
    consumers: living?.length ?? null,
    openBreakers: living?.filter(leavesSecondaryOut).length ?? null,
  };
}
