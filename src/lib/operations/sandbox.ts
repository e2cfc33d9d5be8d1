import { writeFile } from 'node:fs/promises';
import { startSandbox } from '../sandbox/sandbox.js';

export interface SandboxOptions {
  /** Keeps the data of both servers; absent, it is discarded at the end. */
  readonly dataDir: string | undefined;
  /** File to write the settings to, readable by its owner only. */
  readonly envFile: string | undefined;
  /** Told once everything answers, with the settings by variable. */
  readonly onReady: (settings: Readonly<Record<string, string>>) => void;
  readonly stop: AbortSignal;
}

/** Runs two PostgreSQL servers and a queue until it is told to stop. */
export async function runSandbox({ dataDir, envFile, onReady, stop }: SandboxOptions): Promise<void> {
  const sandbox = await startSandbox(dataDir === undefined ? {} : { dataDir });
  try {
    const settings = sandbox.settings();
    const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}\n`);
    if (envFile !== undefined) await writeFile(envFile, lines.join(''), { mode: 0o600 });
    onReady(settings);
    await aborted(stop);
  } finally {
    await sandbox.stop();
  }
}

async function aborted(signal: AbortSignal): Promise<void> {
  // A listener alone does not keep Node running; the timer does.
  const alive = setInterval(() => undefined, 60_000);
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
  clearInterval(alive);
}
