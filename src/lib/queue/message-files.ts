import { open } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { describeFileFault, UsageError } from '../errors.js';

/** The body of a message, and the line that holds it. */
export interface FileLine {
  readonly file: string;
  readonly line: number;
  readonly body: string;
}

/**
 * The lines of JSON-lines files, one message body each; empty lines are left out. `-` is `input`. Throws a UsageError for a
 * file that cannot be read.
 */
export async function* readMessageFiles(paths: readonly string[], input: Readable): AsyncGenerator<FileLine> {
  for (const path of paths) {
    try {
      let line = 0;
      const lines = path === '-' ? createInterface({ input, crlfDelay: Infinity }) : (await open(path)).readLines();
      for await (const body of lines) {
        line += 1;
        if (body.trim() !== '') yield { file: path, line, body };
      }
    } catch (error) {
      throw new UsageError(`${path} cannot be read: ${describeFileFault(error)}`, {
        code: 'message-file-unreadable',
        cause: error,
      });
    }
  }
}

/** Their bodies alone. */
export async function* readBodies(paths: readonly string[], input: Readable): AsyncGenerator<string> {
  for await (const { body } of readMessageFiles(paths, input)) yield body;
}
