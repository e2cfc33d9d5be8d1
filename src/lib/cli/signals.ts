import { EXIT_CODE } from '../errors.js';

/**
 * Returns a signal that aborts at the first SIGINT or SIGTERM. A second one ends the process at once: nothing is lost,
 * since everything not yet acknowledged or settled is known to the queue and to the ledger.
 */
export function trapSignals(tell: (message: string) => void): AbortSignal {
  const controller = new AbortController();
  const onSignal = (): void => {
    if (controller.signal.aborted) process.exit(EXIT_CODE.interrupted);
    tell('Stopping: finishing what is in hand. Once more to stop now.');
    controller.abort();
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  return controller.signal;
}
