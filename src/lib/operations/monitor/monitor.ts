import { pause } from '../../domain/async.js';
import { serveMetrics, type Address } from '../../http/serve.js';
import { createMonitorMetrics } from './monitor-metrics.js';
import type { Snapshot } from './monitor-snapshot.js';
import { Recorder } from './sample-recorder.js';
import { isUnsettled } from './table-troubles.js';
import { Watch, type WatchOptions } from './watch.js';

export interface MonitorOptions extends WatchOptions {
  /** Whether samples are kept on the primary as evidence. */
  readonly record: boolean;
  /** Where to answer /metrics; null for nowhere. */
  readonly metrics: Address | null;
  readonly onSnapshot: (snapshot: Snapshot) => void;
  /** Called with what hinders the monitor itself. */
  readonly onProblem: (problem: string) => void;
}

const LOOK_AGAIN_MS = 1_000;
/** Counts that are apart for a moment each time are shown as they are. */
const LOOK_AGAIN_FOR_MS = 30_000;

/** Looks at both sides and the queue until it is stopped, or once. Returns the last snapshot; null where it was stopped before. */
export async function monitor(options: MonitorOptions): Promise<Snapshot | null> {
  const { local, ec2, stop, once } = options;
  const watch = new Watch(options);
  const beganAt = performance.now();
  const recorder = options.record ? new Recorder(options.onProblem) : null;
  let last: Snapshot | null = null;
  const metrics =
    options.metrics === null
      ? null
      : await serveMetrics(
          options.metrics,
          createMonitorMetrics(() => last),
        );
  try {
    while (!stop.aborted) {
      const startedAt = performance.now();
      last = await watch.look();
      // One look alone cannot tell whether counts that are apart stay so.
      if (once && isUnsettled(last) && startedAt - beganAt < LOOK_AGAIN_FOR_MS) {
        await pause(LOOK_AGAIN_MS, stop);
        continue;
      }
      options.onSnapshot(last);
      recorder?.take(last, last.primary === 'ec2' && ec2 !== null ? ec2 : local);
      if (once) break;
      const pauseMs = Math.max(0, options.intervalMs - (performance.now() - startedAt));
      await pause(pauseMs, stop);
    }
    await recorder?.idle();
    return last;
  } finally {
    metrics?.close();
  }
}
