import { readFile } from 'node:fs/promises';
import path from 'node:path';

/** The statements of the block in docs/rights.md for a side and a command, for a role of this name. */
export async function grantsOf(repository: string, block: string, role: string): Promise<string> {
  const page = await readFile(path.join(repository, 'docs/rights.md'), 'utf8');
  const found = new RegExp(`\`\`\`sql\\n-- ${block}\\n([^\`]+)\`\`\``).exec(page)?.[1];
  if (found === undefined) throw new Error(`docs/rights.md has no block "-- ${block}"`);
  return found.replaceAll(/sensorctl_(consumer|reader|prover|backfill|operator|monitor)/g, role);
}
