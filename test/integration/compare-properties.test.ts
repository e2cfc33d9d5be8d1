import { expect } from 'chai';
import { createRandom } from '../../src/lib/domain/random.js';
import type { PostgresServer } from '../../src/lib/sandbox/postgres-server.js';
import { timescaleServers } from '../support/cli.js';
import { disagreements, insert, Pair, quote } from '../support/compared.js';
import { Dice, MOOD, randomTable, type RandomTable } from '../support/random-tables.js';
import { ec2Server, localServer } from '../support/servers.js';
import { seedOf } from '../support/seed.js';

/** SENSORCTL_TEST_SEED and SENSORCTL_TEST_ROUNDS take the place of these. */
const SEED = seedOf(20_250_701);
const ROUNDS = Number(process.env.SENSORCTL_TEST_ROUNDS ?? 40);
const TIMEOUT_MS = 60_000 + ROUNDS * 1_000;

const METHODS = ['hash_record_extended', 'md5'] as const;

describe('the verdict of compare', () => {
  for (const { title, open } of [
    {
      title: 'between two servers of one version',
      open: async () => ({ local: await localServer(), ec2: await ec2Server() }),
    },
    {
      title: 'between PostgreSQL 18 and the one that has TimescaleDB',
      open: async (hook: Mocha.Context): Promise<{ local: PostgresServer; ec2: PostgresServer }> => {
        const { ec2 } = await timescaleServers(hook);
        return { local: await localServer(), ec2 };
      },
    },
  ]) {
    describe(title, () => {
      let pair: Pair | undefined;

      before(async function () {
        pair = await Pair.open('compare properties', await open(this));
        await pair.query(MOOD);
        // A database may have its own ways to write values.
        await pair.ec2.query(`do $$ begin
          execute format('alter database %I set intervalstyle = iso_8601', current_database());
          execute format('alter database %I set bytea_output = escape', current_database());
        end $$`);
      });

      after(() => pair?.close());

      it('names the rows that a comparison without digests names, whatever the table and the damage', async () => {
        for (let round = 0; round < ROUNDS; round += 1) await judge(pair!, SEED + round);
      }).timeout(TIMEOUT_MS);
    });
  }
});

/** Makes the tables of a seed, compares them by both methods, and asks for a second opinion. */
async function judge(pair: Pair, seed: number): Promise<void> {
  const dice = new Dice(createRandom(seed));
  const table = randomTable(dice);
  const { judged, rows, columns, window, isFar } = table;
  // Centuries are not cut into seconds.
  const bucketMicros = isFar ? null : dice.pick([null, null, 1_000_000, 60_000_000, 3_600_000_001]);
  const jobs = dice.pick([1, 4]);
  const about = `SENSORCTL_TEST_SEED=${seed} SENSORCTL_TEST_ROUNDS=1: ${describeTable(table)}, bucket ${bucketMicros ?? 'none'}`;
  const into = `${quote(judged.name)} (${columns.map(({ name }) => quote(name)).join(', ')})`;
  try {
    await Promise.all([pair.local.query(table.create.local), pair.ec2.query(table.create.ec2)]);
    await insert(pair.local, into, rows.local, 'on conflict do nothing');
    await insert(pair.ec2, into, rows.ec2, 'on conflict do nothing');
    for (const digest of METHODS) {
      const isTimed = columns.some(({ name }) => name === 'time');
      const tables = [isTimed ? `${quote(judged.name)}=time` : judged.name];
      const request = { ...window, tables, bucketMicros, jobs, digest };
      const { found, report } = await pair.compare(request);
      expect(await disagreements(pair, judged, found), `${digest}, ${about}`).to.deep.equal([]);
      expect(report.digest).to.equal(digest);
      expect(report.verdict, `${digest}, ${about}`).to.equal(found.length === 0 ? 'identical' : 'different');
      const [counts] = report.tables;
      expect(counts, about).to.include({
        missingOnEc2: found.filter(({ kind }) => kind === 'missing on ec2').length,
        missingOnLocal: found.filter(({ kind }) => kind === 'missing on local').length,
        different: found.filter(({ kind }) => kind === 'different').length,
      });
      expect([counts!.local.rows, counts!.ec2.rows], about).to.deep.equal(await countRows(pair, judged));
    }
  } catch (error) {
    if (error instanceof Error && !error.message.includes(about)) error.message += `\n${about}`;
    throw error;
  } finally {
    await pair.query(`drop table if exists ${quote(judged.name)}`);
  }
}

async function countRows({ local, ec2 }: Pair, { name, where }: RandomTable['judged']): Promise<number[]> {
  const count = { text: `select count(*)::int as rows from ${quote(name)} where ${where}` };
  const answers = await Promise.all([local, ec2].map((pool) => pool.query<{ rows: number }>(count)));
  return answers.map(({ rows: [answer] }) => answer!.rows);
}

function describeTable({ create, damages, rows, judged }: RandomTable): string {
  return `${create.local}; on EC2: ${create.ec2}; ${rows.local.length} rows where ${judged.where}; ${damages.join(', ')}`;
}
