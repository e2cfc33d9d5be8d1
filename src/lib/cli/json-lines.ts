import { once } from 'node:events';
import { createWriteStream, type WriteStream } from 'node:fs';
import { finished } from 'node:stream/promises';
import { UsageError } from '../errors.js';

/** Lends a function that appends a value to a file as a line of JSON; without a file it does nothing. */
export async function withJsonLines<Result>(
  file: string | undefined,
  work: (write: (value: object) => Promise<void>) => Promise<Result>,
): Promise<Result> {
  if (file === undefined) return await work(() => Promise.resolve());
  const stream = createWriteStream(file);
  await opened(stream, file);
  try {
    return await work(async (value) => {
      if (!stream.write(`${JSON.stringify(value)}\n`)) await once(stream, 'drain');
    });
  } finally {
    stream.end();
    await finished(stream);
  }
}

async function opened(stream: WriteStream, file: string): Promise<void> {
  try {
    await once(stream, 'open');
  } catch (error) {
    throw new UsageError(`${file} cannot be written: ${(error as Error).message}`, {
      next: 'give --output another path',
    });
  }
}
