// Every name that sensorctl's own SQL makes up, as a column of the operator's tables.
import { unitsOf } from '../support/readings.js';
import { seedOf } from '../support/seed.js';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import type pg from 'pg';
import { addKeys, findSharedKeys } from '../../src/lib/repository/repair/add-keys.js';
import { PreparedPair, WATER_SENSORS, waterRows } from '../support/backfilled.js';

const SOURCE = path.resolve(import.meta.dirname, '../../src');
const WATER = 'water_level_readings';
const READINGS = [WATER, 'moisture_readings', 'sensor_readings'];
/** Columns of a registry: PostgreSQL passes no more than 100 values to a function. */
const REGISTRY_COLUMNS = 80;
/** Made of parts in the source, so that no pattern finds them whole. */
const COMPOSED = ['k0', 'k1', 'f0', 'c0', 'c1', 'column_0', 'unit', 'part_0'];
/** Aliases of tables and columns, with the columns they name; queries with a name; settings; temporary tables and columns. */
const NAMES: readonly RegExp[] = [
  /\bas\s+"?(?<name>[a-z_]\w*)"?/gi,
  /\bas\s+\w+\s*\((?<list>\w+(?:\s*,\s*\w+)*)\)/gi,
  /(?:\bwith(?:\s+recursive)?|,|\))\s+(?<name>[a-z_]\w*)\s+(?:\((?<list>[^()]*)\)\s+)?as\s+\(/gi,
  /\b(?:set_config|current_setting)\('(?:\w+\.)?(?<name>\w+)'/gi,
  /\bset(?:\s+local)?\s+(?:\w+\.)?(?<name>[a-z_]\w*)\s*(?:=|\bto\b)/gi,
  /\btemporary table(?: if not exists)?\s+(?<name>[a-z_]\w*)/gi,
  /\badd column\s+(?:if not exists\s+)?(?<name>[a-z_]\w*)/gi,
  /\bwindow\s+(?<name>[a-z_]\w*)\s+as\b/gi,
  /'(?<name>staged|stored|given|excluded)\.?'/g,
];
/** What the primary holds and EC2 does not, and the other way round. */
const DAMAGE = `
  delete from ${WATER} where sensor_id = 'AWD-4'; update ${WATER} set rssi = 1 where sensor_id = 'AWD-5';
  insert into ${WATER} (time, sensor_id, level_cm) values ('2025-07-01T00:00:01Z', 'AWD-1', 1), ('2025-07-01T00:10:01Z', 'AWD-2', 2)`;
const ROWS = 210;

function sourcesOf(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const full = path.join(folder, entry.name);
    if (entry.isDirectory()) return sourcesOf(full);
    return /\.(?:ts|sql)$/.test(entry.name) ? [readFileSync(full, 'utf8')] : [];
  });
}

/** More than there are, for the words of comments and imports are among them: that costs nothing. */
function ownNames(): string[] {
  const found = sourcesOf(SOURCE).flatMap((source) =>
    NAMES.flatMap((pattern) =>
      [...source.matchAll(pattern)].flatMap(({ groups }) =>
        [groups?.name ?? [], (groups?.list ?? '').split(',')].flat().map((name) => name.trim().toLowerCase()),
      ),
    ),
  );
  // What begins so is ours, and stands beside the operator's columns for that reason.
  const isName = (name: string): boolean => /^(?!sensorctl_)[a-z_][a-z_0-9]*$/.test(name);
  return [...new Set([...found.filter(isName), ...COMPOSED])].sort();
}

const SEED = seedOf(1);

const MET_BEFORE: readonly string[] = [
  ...['stored', 'staged', 'key', 'rows', 'extra', 'held', 'given', 'listed', 'place', 'time', 'kept', 'content'],
  ...['surplus', 'unit', 'range', 'newest', 'bin', 'buckets', 'since', 'until', 'own_path', 'slice', 'start'],
];

describe('a column of the operator that is named as something in the SQL of sensorctl', function () {
  this.timeout(120_000);
  const all = ownNames();
  // A sixth of them, another one by each seed, and those that have met names of ours before; all in `npm run test:names`.
  const names =
    process.env.SENSORCTL_TEST_ALL === 'true'
      ? all
      : all.filter((name, place) => place % 6 === SEED % 6 || MET_BEFORE.includes(name));
  let pair: PreparedPair;

  beforeEach(async () => {
    pair = await PreparedPair.open('own names');
    await Promise.all([pair.here, pair.there].map((pool) => addColumns(pool, READINGS, names)));
  });

  afterEach(() => pair.close());

  /** Text, so that it fits nothing that our SQL computes with. */
  async function addColumns(pool: pg.Pool, tables: readonly string[], wanted: readonly string[]): Promise<void> {
    for (const table of tables) {
      const { rows } = await pool.query<{ name: string }>(
        `select attname as name from pg_attribute where attrelid = $1::regclass`,
        [table],
      );
      const taken = new Set(rows.map(({ name }) => name));
      const added = wanted.filter((name) => !taken.has(name)).map((name) => `add column "${name}" text`);
      await pool.query(`alter table ${table} ${added.join(', ')}`);
    }
  }

  /** Each column holds its own name, so that one that stands for another shows. */
  async function fill(pool: pg.Pool, rows: number): Promise<void> {
    await pool.query(`${WATER_SENSORS}; ${waterRows(0, rows - 1)}`);
    const { rows: columns } = await pool.query<{ name: string }>(
      `select attname as name from pg_attribute where attrelid = $1::regclass and attname = any ($2) and atttypid = 'text'::regtype`,
      [WATER, names],
    );
    await pool.query(`update ${WATER} set ${columns.map(({ name }) => `"${name}" = '${name}'`).join(', ')}`);
  }

  async function expectEqual(): Promise<void> {
    const { local, ec2 } = await pair.contents();
    expect(ec2).to.deep.equal(local);
    expect((await pair.compare()).verdict).to.equal('identical');
  }

  it('is looked for under all the names that there are', () => {
    expect(all.length).to.be.greaterThan(200);
    expect(all).to.include.members([...MET_BEFORE]);
  });

  for (const [title, unguarded] of [
    ['with its key on both sides', []],
    ['without a key on EC2', ['there']],
    ['without a key on either side', ['here', 'there']],
  ] as const) {
    it(`holds up no backfill, no pruning and no comparison of a table ${title}`, async () => {
      for (const side of unguarded) await pair.dropKeys(pair[side]);
      await fill(pair.here, ROWS);
      await pair.backfill({ mode: 'full' });
      await expectEqual();
      await pair.there.query(DAMAGE);
      const report = await pair.compare();
      expect(report.tables.find(({ table }) => table === WATER)).to.include({ missingOnEc2: 30 });
      await pair.there.query(`alter table ${WATER} add constraint fine check (sensor_id <> 'AWD-4' or level_cm > 10)`);
      const refusing = await pair.backfill();
      expect(refusing.rowsRefused, 'divided until each stands alone').to.be.greaterThan(0);
      await pair.there.query(`alter table ${WATER} drop constraint fine`);
      await pair.backfill({ prune: true });
      await expectEqual();
      const kept = await pair.there.query<{ body: string; id: string | null }>(
        'select body, sensor_id as id from sensorctl.quarantine',
      );
      expect(kept.rowCount).to.be.greaterThan(2);
      for (const { body, id } of kept.rows)
        expect(JSON.parse(body) as object)
          .to.include.keys('stored', 'level_cm')
          .and.to.include({ sensor_id: id });
    });
  }

  const parts = Array.from({ length: Math.ceil(names.length / REGISTRY_COLUMNS) }, (_, place) =>
    names.slice(place * REGISTRY_COLUMNS, (place + 1) * REGISTRY_COLUMNS),
  );
  for (const part of parts) {
    const title = `${part[0]} to ${part.at(-1)}`;
    it(`holds up no dual write, no repair, no look at what is on its way, in sensor_registry too: ${title}`, async () => {
      await Promise.all([pair.here, pair.there].map((pool) => addColumns(pool, ['sensor_registry'], part)));
      await expectDualWrite();
    });
  }

  async function expectDualWrite(): Promise<void> {
    await pair.there.query(
      `alter table ${WATER} add constraint parent foreign key (sensor_id) references sensor_registry (sensor_id)`,
    );
    const repository = await pair.openRepository();
    const readings = ['S1', 'S2'].map((sensorId) => ({
      ...({ table: WATER, time: '2025-07-01T00:00:00.000001Z', sensorId, sensorType: 'water-level' } as const),
      values: { level_cm: 1, location_lat: 13.5, location_lng: 100.5 },
    }));
    const [batch] = await repository.primary.write({ units: unitsOf(readings), rejects: [] });
    // Its entry is pending: a comparison reads the ledger beside the rows and the registry.
    expect((await pair.compare()).verdict).to.equal('identical');
    repository.secondary?.enqueue(batch!);
    await repository.close();
    await expectEqual();
    await pair.here.query(`update sensor_registry set last_seen = '2025-07-01T00:00:00.000001Z'`);
    await pair.there.query(`delete from ${WATER}; delete from sensor_registry`);
    await pair.miss(WATER, '2025-07-01T00:00Z', '2025-07-01T01:00Z');
    expect(await pair.backfill({ mode: 'ledger' })).to.include({ rowsInserted: 2, remainingGaps: 0 });
    await pair.backfill();
    await expectEqual();
  }

  it('holds up no addition of a key, and the row that goes is kept whole', async () => {
    await pair.dropKeys(pair.here);
    await fill(pair.here, 20);
    await pair.here.query(`insert into ${WATER} select * from ${WATER} where sensor_id = 'AWD-1'`);
    await pair.here.query(
      `insert into ${WATER} (time, sensor_id, level_cm, stored) select time, sensor_id, 77, 'mine' from ${WATER} where sensor_id = 'AWD-2'`,
    );
    const [found] = await findSharedKeys(pair.local);
    expect(found).to.include({ keys: 6, duplicatesRemoved: 3, quarantined: 3 });
    const { added } = await addKeys(pair.local);
    expect(added[0]).to.include({ duplicatesRemoved: 3, quarantined: 3 });
    const { rows } = await pair.here.query<{ body: string }>('select body from sensorctl.quarantine');
    for (const { body } of rows) expect(JSON.parse(body) as object).to.include({ level_cm: 77, stored: 'mine' });
  });

  it('may be in the key of a table that is compared by name', async () => {
    const groups = Array.from({ length: Math.ceil(names.length / 16) }, (_, place) =>
      names.slice(place * 16, place * 16 + 16),
    );
    for (const [place, group] of groups.entries()) {
      const columns = group.map((name) => `"${name}"`);
      await pair.query(`create table other_${place} (${columns.map((name) => `${name} text`).join(', ')}, primary key (${columns.join(', ')}));
        insert into other_${place} values (${group.map((name) => `'${name}'`).join(', ')})`);
    }
    const tables = groups.map((_, place) => `other_${place}`);
    expect(await pair.compare({ tables })).to.include({ verdict: 'identical' });
    for (const table of tables) await pair.there.query(`delete from ${table}`);
    const { tables: counts } = await pair.compare({ tables });
    expect(counts.map(({ missingOnEc2 }) => missingOnEc2)).to.deep.equal(groups.map(() => 1));
  });
});
