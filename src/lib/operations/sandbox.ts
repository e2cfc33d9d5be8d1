import { open, readFile } from 'node:fs/promises';
import { UsageError } from '../errors.js';
import { startSandbox } from '../sandbox/start-sandbox.js';

export interface SandboxOptions {
  /** Keeps the data of both servers; absent, it is discarded at the end. */
  readonly dataDir: string | undefined;
  /** File to write the settings to, readable by its owner only. */
  readonly envFile: string | undefined;
  /** Called once everything answers, with the settings by variable. */
  readonly onReady: (settings: Readonly<Record<string, string>>) => void;
  readonly stop: AbortSignal;
}

/** The first line of a file of settings: only such a file is overwritten. */
const MARK = '# written by sensorctl sandbox';

/** Runs two PostgreSQL servers and a queue until it is told to stop. Throws a UsageError for a file that is somebody else's. */
export async function runSandbox({ dataDir, envFile, onReady, stop }: SandboxOptions): Promise<void> {
  if (envFile !== undefined) await assertOwn(envFile);
  const sandbox = await startSandbox(dataDir === undefined ? {} : { dataDir });
  try {
    const settings = sandbox.settings();
    const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}\n`);
    if (envFile !== undefined) await writeOwn(envFile, `${MARK}\n${lines.join('')}`);
    onReady(settings);
    await aborted(stop);
  } finally {
    await sandbox.stop();
  }
}

/** Real settings, with their passwords, stand nowhere else. */
async function assertOwn(file: string): Promise<void> {
  const text = await readFile(file, 'utf8').catch(() => '');
  if (text.trim() === '' || text.startsWith(MARK)) return;
  throw new UsageError(`${file} exists, and no sandbox has written it`, {
    code: 'settings-file-foreign',
  });
}

/** For nobody else to read, from before the passwords are in it, also where the file was there and open to all. */
async function writeOwn(file: string, text: string): Promise<void> {
  const handle = await open(file, 'w', 0o600);
  try {
    await handle.chmod(0o600);
    await handle.writeFile(text);
  } finally {
    await handle.close();
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
