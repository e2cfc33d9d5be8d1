// Lets `mocha --parallel` go on after its processes were killed. workerpool 10 takes a process that has ended for one that
// is busy, and then waits for its exit, before it hands the next file out: once each was killed, mocha ended with code 0,
// and files were not run. test/integration/watchdog.test.ts holds it.
import type { ChildProcess } from 'node:child_process';
import { createRequire } from 'node:module';
import path from 'node:path';

interface WorkerHandler {
  worker: ChildProcess | null;
  processing: object;
  terminate: (this: WorkerHandler, ...args: unknown[]) => void;
}

const requireFromMocha = createRequire(createRequire(import.meta.url).resolve('mocha'));
const file = path.join(path.dirname(requireFromMocha.resolve('workerpool')), 'WorkerHandler.js');
const { prototype } = requireFromMocha(file) as { prototype: WorkerHandler };

export function reviveMochaPool(): void {
  const terminate = prototype.terminate;
  prototype.terminate = function (...args) {
    if (this.worker !== null && (this.worker.exitCode !== null || this.worker.signalCode !== null)) {
      this.worker = null;
      this.processing = {};
    }
    terminate.apply(this, args);
  };
}
