import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import type { StepName } from '../../src/lib/operations/cutover/cutover-report.js';
import { eventually, REPOSITORY, type CliSettings } from '../support/cli.js';
import type { OperatorRequest } from './operator-process.js';

const PROGRAM = path.join(import.meta.dirname, 'operator-process.ts');

/** An operator's process, to be killed or frozen while it waits at a step. */
export class Operator {
  stdout = '';
  stderr = '';
  readonly #child;
  readonly #ended: Promise<unknown>;

  constructor(request: OperatorRequest, settings: CliSettings) {
    this.#child = spawn(process.execPath, ['--import', 'tsx', PROGRAM, JSON.stringify(request)], {
      cwd: REPOSITORY,
      env: { PATH: process.env.PATH, ...settings },
      stdio: 'pipe',
    });
    this.#child.stdin.on('error', () => undefined);
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => (this.stdout += text));
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    this.#ended = once(this.#child, 'close');
  }

  /** Resolves once it waits at the step; rejects when it ends before. */
  async reached(step: StepName): Promise<void> {
    await eventually(`the operator is at ${step}`, () => {
      if (this.#child.exitCode !== null) throw new Error(`the operator ended before ${step}:\n${this.#output}`);
      return Promise.resolve(this.stdout.includes(`step ${step}\n`));
    });
  }

  /** Lets it go on from where it waits. */
  go(): void {
    this.#child.stdin.write('go\n');
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Its exit code, null where a signal ended it. */
  async wait(): Promise<number | null> {
    await this.#ended;
    return this.#child.exitCode;
  }

  get #output(): string {
    return `${this.stdout}${this.stderr}`;
  }
}
