import { join } from 'node:path';
import { SETTING_NAMES } from '../config.js';
import type { CommandRunner } from '../operations/demo/run-command.js';

/** Runs this very sensorctl, with an environment from which the operator's own settings are taken out. */
export function commandRunner(root: string): CommandRunner {
  const environment = Object.entries(process.env).filter(([name]) => !SETTING_NAMES.includes(name));
  return {
    program: process.execPath,
    arguments: [join(root, 'bin', 'run.js')],
    environment: Object.fromEntries(environment),
  };
}
