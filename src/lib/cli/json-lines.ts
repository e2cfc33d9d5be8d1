import { CommandLineError } from './advice.js';
import { once } from 'node:events';
import { createWriteStream, type WriteStream } from 'node:fs';
import { rename, stat } from 'node:fs/promises';
import { finished } from 'node:stream/promises';
import { printableJson } from '../domain/printable.js';
import type { UsageError } from '../errors.js';
import { describeFileFault } from '../errors.js';

/**
 * Runs `work` with a function that appends a value to a file as a line of JSON, or does nothing without a file. Throws a UsageError
 * where the file cannot be written.
 */
export async function withJsonLines<Result>(
  file: string | undefined,
  work: (write: (value: object) => Promise<void>) => Promise<Result>,
): Promise<Result> {
  if (file === undefined) return await work(() => Promise.resolve());
  // The former content of the file stays until the work is done.
  const partial = (await isReplaceable(file)) ? `${file}.partial` : file;
  const stream = createWriteStream(partial);
  stream.on('error', () => undefined); // looked for after each write
  const assertWritable = (): void => {
    if (stream.errored !== null) throw unwritable(file, stream.errored);
  };
  await once(stream, 'open').catch(() => undefined);
  assertWritable();
  const result = await work(async (value) => {
    if (!stream.write(`${printableJson(value)}\n`)) await once(stream, 'drain').catch(() => undefined);
    assertWritable();
  }).finally(() => close(stream));
  assertWritable();
  if (partial !== file)
    await rename(partial, file).catch((error: unknown) => {
      throw unwritable(file, error as Error);
    });
  return result;
}

/** A device or a pipe is written to as it is. */
async function isReplaceable(file: string): Promise<boolean> {
  return await stat(file).then(
    (found) => found.isFile(),
    () => true,
  );
}

async function close(stream: WriteStream): Promise<void> {
  stream.end();
  await finished(stream).catch(() => undefined);
}

function unwritable(file: string, error: Error): UsageError {
  return new CommandLineError(`${file} cannot be written: ${describeFileFault(error)}`, 'give --output another path');
}
