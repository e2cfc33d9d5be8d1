import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { READING_TABLES, REGISTRY } from '../../src/lib/domain/reading.js';
import {
  BOOKKEEPING_FUNCTIONS,
  BOOKKEEPING_RIGHTS,
  rightsOnTable,
} from '../../src/lib/repository/write/consume-rights.js';

const RIGHTS = readFileSync(path.resolve(import.meta.dirname, '../../docs/rights.md'), 'utf8');

describe('the rights that verify-schema looks for', () => {
  for (const side of ['local', 'ec2'] as const) {
    it(`are on ${side} those that docs/rights.md grants for consume`, () => {
      const tables = [REGISTRY, ...READING_TABLES].map((table) => [table, rightsOnTable(table, side)] as const);
      const bookkeeping = Object.entries(BOOKKEEPING_RIGHTS).map(
        ([relation, rights]) => [`sensorctl.${relation}`, rights] as const,
      );
      const functions = BOOKKEEPING_FUNCTIONS.map((name) => [`sensorctl.${name}`, ['execute']] as const);
      expect(Object.fromEntries([...bookkeeping, ...functions, ...tables])).to.deep.equal(grantsOf());
    });
  }
});

/** Each relation of the block for consume, and what is granted on it. */
function grantsOf(): Record<string, string[]> {
  const block = new RegExp(`\`\`\`sql\\n-- either side: consume\\n([^\`]+)\`\`\``).exec(RIGHTS)?.[1] ?? '';
  const grants = [...block.matchAll(/^grant ([a-z, ]+) on (?:function )?(?!schema)(.+) to sensorctl_consumer;$/gm)];
  return Object.fromEntries(
    grants.flatMap(([, rights = '', relations = '']) =>
      relations.split(', ').map((name) => [name, rights.split(', ')]),
    ),
  );
}
