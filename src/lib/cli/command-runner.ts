import { join } from 'node:path';
import type { CommandRunner } from '../operations/demo/run-command.js';

/** The variables that every program needs; settings of databases and queues are passed to the command one by one. */
const NEEDED = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'LC_ALL', 'NO_COLOR', 'SystemRoot'];

/** Runs this very sensorctl, with nothing of the operator's environment but what every program needs. */
export function commandRunner(root: string): CommandRunner {
  const environment = Object.entries(process.env).filter(([name]) => NEEDED.includes(name));
  return {
    program: process.execPath,
    arguments: [join(root, 'bin', 'run.js')],
    environment: Object.fromEntries(environment),
  };
}
