// Decoders of an operator's, as files: those of docs/telemetry.md, and any text.
import { readFileSync } from 'node:fs';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

const PAGE = path.resolve(import.meta.dirname, '../../docs/telemetry.md');

/** The example of this name in docs/telemetry.md. */
export function documentedDecoder(name: string): string {
  const text = readFileSync(PAGE, 'utf8');
  const found = new RegExp(`<!-- example: ${name} -->\\s+\`\`\`js\\n([\\s\\S]*?)\`\`\``).exec(text)?.[1];
  if (found === undefined) throw new Error(`docs/telemetry.md has no example ${name}`);
  return found;
}

/** Writes a decoder to a file of its own; returns its path. */
export async function writeDecoder(text: string, name = 'decoder.mjs'): Promise<string> {
  const file = path.join(await mkdtemp(path.join(tmpdir(), 'sensorctl-decoder-')), name);
  await writeFile(file, text);
  return file;
}
