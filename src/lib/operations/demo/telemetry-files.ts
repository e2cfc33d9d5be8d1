import { createReadStream } from 'node:fs';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describeFileFault, UsageError } from '../../errors.js';
import { generateTelemetry } from '../../decoders/generate.js';

/** JSON-lines files, or how much to generate from which seed. */
export type TelemetrySource =
  { readonly files: readonly string[] } | { readonly messages: number; readonly seed: number };

export interface TelemetryFiles {
  /** Absolute paths. */
  readonly files: readonly string[];
  readonly messages: number;
  /** A directory of this demo's own, which nobody else can put a .env.local into. */
  readonly directory: string;
}

/** Runs `work` with the telemetry as files and the number of messages in them; generated files are removed afterwards. */
export async function withTelemetryFiles<Result>(
  source: TelemetrySource,
  work: (telemetry: TelemetryFiles) => Promise<Result>,
): Promise<Result> {
  const directory = await mkdtemp(join(tmpdir(), 'sensorctl-demo-'));
  try {
    return await work({ ...(await prepare(source, directory)), directory });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function prepare(source: TelemetrySource, directory: string): Promise<Omit<TelemetryFiles, 'directory'>> {
  if ('files' in source) {
    return { files: source.files.map((file) => resolve(file)), messages: await countLines(source.files) };
  }
  const file = join(directory, 'telemetry.jsonl');
  await writeGenerated(file, source);
  return { files: [file], messages: source.messages };
}

async function writeGenerated(file: string, { messages, seed }: { messages: number; seed: number }): Promise<void> {
  const handle = await open(file, 'w');
  try {
    const bodies = [...generateTelemetry({ seed, count: messages })];
    await handle.writeFile(`${bodies.join('\n')}\n`);
  } finally {
    await handle.close();
  }
}

async function countLines(files: readonly string[]): Promise<number> {
  let lines = 0;
  for (const file of files) {
    try {
      for await (const chunk of createReadStream(file)) lines += (chunk as Buffer).filter((byte) => byte === 10).length;
    } catch (error) {
      throw new UsageError(`${file} cannot be read: ${describeFileFault(error)}`, {
        code: 'telemetry-file-unreadable',
        cause: error,
      });
    }
  }
  return lines;
}
