import { expect } from 'chai';
import { createRandom } from '../../src/lib/domain/random.js';
import { PreparedPair } from '../support/backfilled.js';
import {
  randomDamage,
  randomSchema,
  readRows,
  TYPES,
  type KnownTable,
  type RandomSchema,
} from '../support/random-schemas.js';
import { Dice } from '../support/random-tables.js';
import { seedOf } from '../support/seed.js';

/** SENSORCTL_TEST_SEED and SENSORCTL_TEST_ROUNDS take the place of these. */
const SEED = seedOf(20_260_101);
const ROUNDS = Number(process.env.SENSORCTL_TEST_ROUNDS ?? 8);

describe('any tables, whatever they refer to', () => {
  it('are named by compare as a look at all rows names them, and equal after backfill --all', async () => {
    for (let round = 0; round < ROUNDS; round += 1) await judge(SEED + round);
  }).timeout(60_000 + ROUNDS * 30_000);
});

async function judge(seed: number): Promise<void> {
  const dice = new Dice(createRandom(seed));
  const schema = randomSchema(dice);
  const about = (what: string): string =>
    `${what}, SENSORCTL_TEST_SEED=${seed} SENSORCTL_TEST_ROUNDS=1:\n${[...schema.create, ...schema.fill].join(';\n')}`;
  const pair = await PreparedPair.open('tables');
  try {
    await pair.query(TYPES);
    await pair.query(schema.create.join(';\n'));
    for (const statement of schema.fill) await pair.here.query(statement);
    const full = await pair.backfill({ mode: 'full' });
    expect(full.failed, about('full')).to.deep.equal([]);
    expect(full.rowsRefused, about('full')).to.equal(0);
    expect(await differences(pair, schema), about('after --full')).to.deep.equal([]);
    const damages = randomDamage(dice, schema);
    await pair.there.query(
      ['set session_replication_role = replica', ...damages, 'reset session_replication_role'].join(';\n'),
    );
    const expected = await differences(pair, schema);
    const report = await pair.compare({ limit: 1_000_000 });
    expect(report.failed, about(damages.join(';\n'))).to.deep.equal([]);
    const found = report.differences.map(
      ({ table, kind, key }) => `${table} ${kind} ${JSON.stringify(Object.values(key))}`,
    );
    expect(found.sort(), about(damages.join(';\n'))).to.deep.equal(expected);
    expect(report.verdict).to.equal(expected.length === 0 ? 'identical' : 'different');
    const repaired = await pair.backfill({ prune: true });
    expect(repaired.failed, about(damages.join(';\n'))).to.deep.equal([]);
    expect(await differences(pair, schema), about(`after --all --prune of ${damages.join(';\n')}`)).to.deep.equal([]);
    expect((await pair.compare()).verdict).to.equal('identical');
  } finally {
    await pair.close();
  }
}

/** What a look at all rows of both sides names, in the words of compare. */
async function differences(pair: PreparedPair, { tables }: RandomSchema): Promise<string[]> {
  const found: string[] = [];
  for (const table of tables) {
    const [mine, theirs] = [await readRows(pair.here, table), await readRows(pair.there, table)];
    found.push(...(table.key.length === 0 ? byCopies(table, mine, theirs) : byKey(table, mine, theirs)));
  }
  return found.sort();
}

type Rows = readonly (readonly (string | null)[])[];

function byKey({ label, columns, key }: KnownTable, mine: Rows, theirs: Rows): string[] {
  const keyOf = (row: Rows[number]): string => JSON.stringify(key.map((name) => row[columns.indexOf(name)]));
  const here = new Map(mine.map((row) => [keyOf(row), JSON.stringify(row)]));
  const there = new Map(theirs.map((row) => [keyOf(row), JSON.stringify(row)]));
  return [...new Set([...here.keys(), ...there.keys()])].flatMap((name) => {
    if (!there.has(name)) return [`${label} missing on ec2 ${name}`];
    if (!here.has(name)) return [`${label} missing on local ${name}`];
    return here.get(name) === there.get(name) ? [] : [`${label} different ${name}`];
  });
}

function byCopies({ label }: KnownTable, mine: Rows, theirs: Rows): string[] {
  const counts = new Map<string, number>();
  const count = (rows: Rows, by: number): void => {
    for (const row of rows) counts.set(JSON.stringify(row), (counts.get(JSON.stringify(row)) ?? 0) + by);
  };
  count(mine, 1);
  count(theirs, -1);
  return [...counts].flatMap(([name, more]) =>
    Array.from({ length: Math.abs(more) }, () => `${label} missing on ${more > 0 ? 'ec2' : 'local'} ${name}`),
  );
}
