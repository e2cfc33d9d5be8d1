import { readFile } from 'node:fs/promises';
import path from 'node:path';

/** The statements of the README's block for a side and a command, for a role of this name. */
export async function grantsOf(repository: string, block: string, role: string): Promise<string> {
  const readme = await readFile(path.join(repository, 'README.md'), 'utf8');
  const found = new RegExp(`\`\`\`sql\\n-- ${block}\\n([^\`]+)\`\`\``).exec(readme)?.[1];
  if (found === undefined) throw new Error(`the README has no block "-- ${block}"`);
  return found.replaceAll(/sensorctl_(consumer|reader|prover|backfill|operator|monitor)/g, role);
}
