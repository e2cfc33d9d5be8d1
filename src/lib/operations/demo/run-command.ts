import { spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { EXIT_CODE, InterruptedError, UnreachableError } from '../../errors.js';

/** How to start `sensorctl`: the program and the arguments before its own, and what every command inherits. */
export interface CommandRunner {
  readonly program: string;
  readonly arguments: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export interface RunningCommand {
  /** Resolves to the command's stdout once it has ended with a yes or a no; throws an UnreachableError with the end of its log where it failed. */
  readonly finished: Promise<string>;
  /** Asks it to finish what is in hand, as Ctrl-C does. */
  terminate(): void;
  kill(): void;
}

const LOG_TAIL = 2_000;

/** Starts a command of sensorctl as a process of its own, in a directory that holds no settings of anybody. */
export function startCommand(
  runner: CommandRunner,
  commandLine: readonly string[],
  { settings, directory }: { settings: Readonly<Record<string, string>>; directory: string },
): RunningCommand {
  const child = spawn(runner.program, [...runner.arguments, ...commandLine], {
    env: { ...runner.environment, ...settings },
    cwd: directory,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  let output = '';
  let log = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (log = (log + text).slice(-LOG_TAIL)));
  const finished = new Promise<string>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code === EXIT_CODE.yes || code === EXIT_CODE.no) resolve(output);
      else
        reject(
          new UnreachableError(`sensorctl ${commandLine.join(' ')} ended with ${code ?? signal ?? '?'}:\n${log}`, {
            code: 'demo-command-failed',
          }),
        );
    });
  });
  // A command that is killed on the way out has nobody left to tell.
  finished.catch(() => undefined);
  return { finished, terminate: () => void child.kill('SIGTERM'), kill: () => void child.kill('SIGKILL') };
}

/** Throws an InterruptedError as soon as the demo is told to stop. */
export async function wait(ms: number, stop: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal: stop }).catch(() => {
    throw new InterruptedError('the demo was stopped');
  });
}
