// What the primary fills by itself in rows that are written to both sides.
import { expect } from 'chai';
import type pg from 'pg';
import { GUIDE_TABLES } from '../../src/lib/decoders/guide-tables.js';
import { closeDatabase } from '../../src/lib/db/database.js';
import { parseTablePattern } from '../../src/lib/domain/table-patterns.js';
import type { Row } from '../../src/lib/domain/row.js';
import { planRows } from '../../src/lib/repository/write/batch.js';
import { primaryBatchSql } from '../../src/lib/repository/write/batch-sql.js';
import { CheckedTables } from '../../src/lib/repository/write/checked-tables.js';
import { verifySchema } from '../../src/lib/operations/verify-schema/verify-schema.js';
import { REPOSITORY } from '../support/cli.js';
import { grantsOf } from '../support/documented-grants.js';
import { PreparedPair } from '../support/backfilled.js';
import { unitsOf } from '../support/readings.js';
import { openRepository } from '../support/tracked.js';

const AT = '2025-07-01T00:00:00.000001Z';

describe('columns that the primary fills', function () {
  this.timeout(60_000);
  let pair: PreparedPair;

  before(async () => {
    pair = await PreparedPair.open('filled columns');
  });

  after(() => pair.close());

  async function write(rows: readonly Row[], ...patterns: string[]): Promise<void> {
    const selection = { tables: patterns.map((text) => parseTablePattern(text)!), except: [] };
    const sides = { primary: pair.local, secondary: pair.ec2 };
    const repository = await openRepository(sides, { concurrency: 1, selection });
    try {
      const batches = await repository.primary.write({ units: rows.map((row) => ({ rows: [row] })), rejects: [] });
      for (const batch of batches) repository.secondary!.enqueue(batch);
      await repository.idle();
      expect(await pair.ledger(), 'what EC2 did not take').to.deep.equal([]);
    } finally {
      await repository.close();
    }
  }

  const rowsOf = async (pool: pg.Pool, columns: string, table: string): Promise<unknown[]> =>
    (await pool.query<{ row: string }>(`select (${columns})::text as row from ${table} order by 1`)).rows;

  async function expectAlike(columns: string, table: string): Promise<void> {
    expect(await rowsOf(pair.there, columns, table)).to.deep.equal(await rowsOf(pair.here, columns, table));
  }

  it('travel with rows that are inserted and with those that are kept newest, under a key of any spelling', async () => {
    await pair.query(`
      create collation loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
      create domain ticket as bigint default (random() * 1000000)::bigint;
      create table gauge (id bigint generated always as identity primary key, name text collate loose not null unique,
        seen timestamptz, level numeric, made timestamptz default clock_timestamp(), ticket ticket,
        kind text default 'weir', twice numeric generated always as (level * 2) stored)`);
    await pair.there.query("select setval('gauge_id_seq', 70); alter table gauge alter kind set default 'lock'");
    const gauge = (name: string, seen: number, level: number): Row => {
      return {
        table: 'gauge',
        values: { name, seen: `2025-07-01T00:0${seen}:00Z`, level },
        write: { newestBy: 'seen' },
      };
    };
    await write([gauge('A', 3, 1), gauge('a', 5, 2), gauge('b', 1, 3)]);
    await write([gauge('a', 4, 9), gauge('B', 7, 4), gauge('c', 1, 5)]);
    await expectAlike('id, name collate "C", seen, level, made, ticket, twice', 'gauge');
    expect(await rowsOf(pair.here, 'level', 'gauge')).to.deep.equal(['2', '4', '5'].map((row) => ({ row })));
  });

  it('stay each side’s own where TABLES excepts them, as far as EC2 fills them itself', async () => {
    await pair.query(`create table visit (id bigserial primary key, at timestamptz unique, made timestamptz default clock_timestamp(),
      by text not null default gen_random_uuid()::text, host text default inet_client_port()::text)`);
    await pair.there.query('alter table visit alter by drop default');
    await write([{ table: 'visit', values: { at: AT } }], 'visit-made-by');
    await expectAlike('id, at, by, host', 'visit');
    expect(await rowsOf(pair.there, 'made', 'visit')).not.to.deep.equal(await rowsOf(pair.here, 'made', 'visit'));
    await write([{ table: 'visit', values: { at: '2025-07-02T00:00:00Z' } }]);
    const [, last] = await rowsOf(pair.there, 'made', 'visit');
    expect(last).to.deep.equal((await rowsOf(pair.here, 'made', 'visit'))[1]);
  });

  it('need the right to ask their sequence: verify-schema says so of each side, with the grant', async () => {
    const role = 'filled_columns_consumer';
    await pair.query('alter table moisture_readings add id bigserial');
    for (const pool of [pair.here, pair.there])
      await pool.query(
        `create role ${role} login password 'x'; ${await grantsOf(REPOSITORY, 'either side: consume', role)}`,
      );
    const login = { user: role, password: 'x' };
    const sides = { local: pair.openSide('local', login), ec2: pair.openSide('ec2', login) };
    const lacking = async (): Promise<string[]> => {
      const { findings } = await verifySchema(sides, ['moisture_readings']);
      return findings.filter(({ weight }) => weight === 'blocks').map(({ subject }) => subject);
    };
    try {
      expect(await lacking()).to.deep.equal(['rights on sequences of local', 'rights on sequences of ec2']);
      await pair.query(`grant usage on sequence moisture_readings_id_seq to ${role}`);
      expect(await lacking()).to.deep.equal([]);
    } finally {
      await Promise.all([closeDatabase(sides.local), closeDatabase(sides.ec2)]);
      for (const pool of [pair.here, pair.there]) await pool.query(`drop owned by ${role}; drop role ${role}`);
    }
  });

  it('are none in the batches of the guide: the statement names the columns of its rows alone', async () => {
    const reading = { time: AT, sensorId: 's', sensorType: 'water-level' };
    const values = {
      location_lat: 1,
      location_lng: 2,
      level_cm: 1,
      voltage: 1,
      rssi: 1,
      temperature: 1,
      quality_score: 1,
    };
    const units = unitsOf([{ ...reading, table: 'water_level_readings', values }]);
    const { view } = await new CheckedTables(pair.local, GUIDE_TABLES).check(units);
    const { text, answered } = view.statementOf(planRows(units, view), primaryBatchSql);
    expect(text).not.to.match(/created_at|updated_at|is_active/);
    expect(answered.map((names) => names.length)).to.deep.equal([5, 9]);
  });
});
