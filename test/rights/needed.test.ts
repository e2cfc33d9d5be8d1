// Each right that docs/rights.md grants is needed: without it something fails, and the failure names it.
import { expect } from 'chai';
import type pg from 'pg';
import { GUIDE_TABLES } from '../../src/lib/decoders/guide-tables.js';
import { closeDatabase, openDatabase, type Database } from '../../src/lib/db/database.js';
import { describeFault } from '../../src/lib/db/sqlstate.js';
import { silentLogger } from '../../src/lib/logger.js';
import { backfill } from '../../src/lib/operations/backfill/backfill.js';
import { compare } from '../../src/lib/operations/compare/compare.js';
import { unitsOf, type Reading } from '../support/readings.js';
import { assertBookkeeping } from '../../src/lib/repository/ledger/bookkeeping-schema.js';
import { DualWriteRepository } from '../../src/lib/repository/dual-write-repository.js';
import { findUnfinishedComparison } from '../../src/lib/repository/compare/comparison-record.js';
import {
  compactLedger,
  markMissed,
  markUnclaimed,
  readGaps,
  readNewestEntry,
} from '../../src/lib/repository/ledger/ledger.js';
import { buryConsumers } from '../../src/lib/repository/ledger/markers.js';
import { copyRecord } from '../../src/lib/repository/phase/deciding-state.js';
import { readState } from '../../src/lib/repository/phase/state.js';
import { callOffOverdue } from '../../src/lib/repository/phase/transition.js';
import { readSoak, recordSamples, thinSamples } from '../../src/lib/repository/monitor/samples.js';
import { repairMissed } from '../../src/lib/repository/repair/repair-missed.js';
import { PreparedPair, waterRows } from '../support/backfilled.js';
import { REPOSITORY } from '../support/cli.js';
import { grantsOf } from '../support/documented-grants.js';

const PASSWORD = 'only-for-this-test';
/** What is needed only where TimescaleDB is, or for sides in the other role: said, and not taken away here. */
const ELSEWHERE = new Set(['sensorctl.paused_job']);

interface Right {
  readonly privilege: string;
  readonly object: string;
}

interface Sides {
  readonly local: Database;
  readonly ec2: Database;
}

/** Each single right of a block: `grant a, b on c, d` are four. */
function rightsIn(grants: string): Right[] {
  const found = [...grants.matchAll(/^grant ([a-z, ]+?) on (schema |function )?(.+) to \w+;/gm)];
  return found.flatMap(([, privileges = '', kind = '', objects = '']) =>
    privileges
      .split(', ')
      .flatMap((privilege) => objects.split(', ').map((name) => ({ privilege, object: `${kind}${name}` }))),
  );
}

function readings(minute: number): Reading[] {
  const common = {
    time: `${new Date(Date.UTC(2025, 6, 1, 0, minute)).toISOString().slice(0, 19)}.000001Z`,
    sensorId: `s${minute % 3}`,
  };
  const place = { location_lat: 13.75 + minute, location_lng: 100.5 };
  return [
    {
      ...common,
      table: 'water_level_readings',
      sensorType: 'water-level',
      values: { level_cm: 1, quality_score: 0.7, ...place },
    },
    { ...common, table: 'moisture_readings', sensorType: 'moisture', values: { quality_score: 0.7, ...place } },
    {
      ...common,
      table: 'sensor_readings',
      sensorType: 'x',
      values: { sensor_type: 'x', value: '1', quality_score: 0.5, ...place },
    },
  ];
}

let minute = 0;

/** What a row of each table needs beside its key. */
const VALUES_OF: Readonly<Record<string, readonly [columns: string, values: string]>> = {
  water_level_readings: [', level_cm', ', 0'],
  moisture_readings: ['', ''],
  sensor_readings: [', sensor_type, value', ", 'x', '2'"],
};

/** Rows that a repair of the minute $1 has to correct. */
const DIFFERING = Object.entries(VALUES_OF)
  .map(
    ([table, [columns, values]]) => `insert into ${table} (time, sensor_id${columns})
      values ('2025-07-01T00:00:00.000001Z'::timestamptz + $1 * interval '1 minute', $2${values})`,
  )
  .join(';');

/** What `consume` does on both sides, EC2 without unique keys; throws what fails. */
async function consumeOnce({ local, ec2 }: Sides, superuser: pg.Pool): Promise<void> {
  await assertBookkeeping(local);
  await assertBookkeeping(ec2);
  const [state] = [await readState(local.pool), await callOffOverdue(local, 'a test')];
  const now = '2025-07-01T00:00:00.000000Z';
  await copyRecord(ec2, {
    ...state,
    phaseSince: now,
    changedAt: now,
    changedBy: 'a test',
    phase: 1,
    writeMode: 'dual-write',
    epoch: 1,
    primary: 'local',
  });
  const repository = await DualWriteRepository.open({
    declared: GUIDE_TABLES,
    ...{ primary: local, secondary: ec2, retry: { retries: 0, delayMs: 1 }, concurrency: 2 },
    consumer: { host: 'test', pid: 1 },
  });
  try {
    const reject = {
      side: 'local',
      messageId: null,
      body: String(minute),
      faults: [{ reason: `r${minute}`, sqlstate: null, table: null, sensorId: null, time: null }],
      furtherFaults: 0,
    } as const;
    minute += 1;
    const [sent] = await repository.primary.write({ units: unitsOf(readings(minute)), rejects: [reject] });
    minute += 1;
    const [missed] = await repository.primary.write({ units: unitsOf(readings(minute)), rejects: [] });
    const outcome = await repository.secondary!.send(sent!);
    if (!outcome.confirmed) throw new Error(JSON.stringify(outcome));
    await markMissed(local.pool, new Map([[missed!.batchId!, 'a test']]));
    await markUnclaimed(local.pool, missed!.consumerId, []);
    await superuser.query(DIFFERING.replaceAll('$1', String(minute)).replaceAll('$2', `'s${minute % 3}'`));
    for (;;) {
      const { entries } = await repairMissed({ primary: local, secondary: ec2, entries: 10, states: ['missed'] });
      if (entries === 0) break;
    }
    await readGaps(local.pool);
  } finally {
    await repository.close();
  }
  await buryConsumers(local, ec2);
  await compactLedger(local.pool);
  await local.pool.query("select sensorctl.take_turn(gen_random_uuid(), '1 second', true)");
}

/** A repair by the ledger, one of whose readings EC2 refuses, and a copy of everything that prunes. */
async function backfillOnce({ local, ec2 }: Sides, { here, there }: Record<'here' | 'there', pg.Pool>): Promise<void> {
  await here.query(ENTER_MISSED);
  await there.query(DAMAGE);
  const given = { from: null, to: null, windowMicros: null, tables: [], jobs: 1, maxRate: null };
  for (const [mode, prune] of [
    ['ledger', false],
    ['full', true],
  ] as const) {
    const { failed } = await backfill(
      { local, ec2 },
      { ...given, mode, prune, target: 'ec2', primary: 'local' },
      {
        ...{ stop: new AbortController().signal, logger: silentLogger },
        onPlan: () => undefined,
        onProgress: () => undefined,
      },
    );
    throwIfFailed(failed);
  }
}

/** What a server says of one table holds up no other: it is named in the result. */
function throwIfFailed(failed: readonly { readonly table: string; readonly reason: string }[]): void {
  if (failed.length > 0) throw new Error(failed.map(({ table, reason }) => `${table}: ${reason}`).join('; '));
}

const ENTER_MISSED = `
  delete from sensorctl.ledger;
  insert into sensorctl.ledger (batch_id, consumer_id, table_name, times, readings, state)
  select gen_random_uuid(), gen_random_uuid(), name, '{[2025-07-01, 2025-07-02)}', 1, 'missed'
  from unnest('{water_level_readings,moisture_readings,sensor_readings}'::text[]) as name`;

/** Rows that are missing, wrong, alone, and one of each table that EC2 refuses; nothing of an attempt before. */
const DAMAGE = `
  delete from sensorctl.backfill;
  delete from sensor_registry where sensor_id = 'AWD-1';
  update sensor_registry set is_active = false;
  ${['water_level_readings', 'moisture_readings', 'sensor_readings']
    .map(
      (table) => `
  alter table ${table} drop constraint if exists refuses;
  delete from ${table} where extract(minute from time) in (1, 2) or sensor_id = 'GHOST';
  update ${table} set quality_score = 0.1;
  alter table ${table} add constraint refuses check (extract(minute from time) <> 1) not valid;
  insert into ${table} (time, sensor_id${VALUES_OF[table]![0]}) values ('2025-07-01', 'GHOST'${VALUES_OF[table]![1]});`,
    )
    .join('')}
  insert into sensorctl.batch_marker select gen_random_uuid(), 'x', gen_random_uuid(), false`;

async function compareOnce({ local, ec2 }: Sides): Promise<void> {
  await readState(local.pool);
  await readNewestEntry(local.pool);
  await findUnfinishedComparison(local.pool, {});
  const { failed } = await compare(
    { primary: local, secondary: ec2 },
    {
      ...{ tables: [], from: null, to: null, windowMicros: null, bucketMicros: null, settleMs: 0 },
      ...{ jobs: 1, limit: 1, resume: false },
    },
    { stop: new AbortController().signal, onDifference: () => Promise.resolve(), onProgress: () => undefined },
  );
  throwIfFailed(failed);
}

async function recordOnce({ local }: Sides): Promise<void> {
  await recordSamples(local.pool, []);
  await thinSamples(local.pool);
  await readSoak(local, '2025-01-01');
}

describe('each right of docs/rights.md is needed', function () {
  this.timeout(240_000);
  let pair: PreparedPair;

  before(async () => {
    pair = await PreparedPair.open('rights needed');
    await pair.dropKeys();
  });

  after(() => pair.close());

  interface Case {
    readonly title: string;
    readonly role: string;
    readonly blocks: { readonly local: readonly string[]; readonly ec2: readonly string[] };
    readonly work: (sides: Sides, superuser: pg.Pool) => Promise<void>;
    /** Rights that this work does not need here. */
    readonly except?: readonly string[];
    /** Where nothing is thrown: whether the work was done with all that belongs to it. */
    readonly isWhole?: () => Promise<boolean>;
  }

  async function takeEachAway({ role, blocks, work, except = [], isWhole }: Case): Promise<void> {
    const pools = { local: pair.here, ec2: pair.there };
    for (const side of ['local', 'ec2'] as const) {
      await pools[side].query(`create role ${role} login password '${PASSWORD}'`);
      for (const block of blocks[side]) await pools[side].query(await grantsOf(REPOSITORY, block, role));
    }
    const attempt = async (): Promise<string> => {
      const open = (side: 'local' | 'ec2'): Database =>
        openDatabase({
          side,
          connection: { ...pair[side].connection, user: role, password: PASSWORD },
          poolMax: 4,
          callTimeoutMs: 10_000,
          applicationName: 'sensorctl test',
        });
      const sides = { local: open('local'), ec2: open('ec2') };
      try {
        await work(sides, pair.there);
        return isWhole === undefined || (await isWhole()) ? '' : 'not whole';
      } catch (error) {
        return describeFault(error);
      } finally {
        await Promise.all([closeDatabase(sides.local), closeDatabase(sides.ec2)]);
      }
    };
    try {
      expect(await attempt(), 'with all of them').to.equal('');
      const notNeeded: string[] = [];
      const all = await Promise.all([...blocks.local, ...blocks.ec2].map((block) => grantsOf(REPOSITORY, block, role)));
      const rights = new Map(all.flatMap(rightsIn).map((right) => [`${right.privilege} on ${right.object}`, right]));
      for (const [name, { privilege, object }] of rights) {
        if (ELSEWHERE.has(object) || except.includes(name)) continue;
        const held = await Promise.all(
          [pair.here, pair.there].map(async (pool) => {
            await pool.query(`revoke ${privilege} on ${object} from ${role}`);
            return pool;
          }),
        );
        const failure = await attempt();
        const bare = object.replace(/^.*[ .]/, '');
        if (!failure.includes(bare) && failure !== 'not whole') notNeeded.push(`${name}: ${failure}`);
        for (const pool of held) await pool.query(`grant ${privilege} on ${object} to ${role}`);
      }
      expect(notNeeded).to.deep.equal([]);
    } finally {
      for (const pool of [pair.here, pair.there]) await pool.query(`drop owned by ${role}; drop role ${role}`);
    }
  }

  it('to prove', async () => {
    await pair.here.query('delete from sensorctl.comparison');
    await takeEachAway({
      ...{ title: 'compare', role: 'needed_prover', work: compareOnce },
      blocks: { local: ['local: compare', 'local: prove'], ec2: ['ec2: compare'] },
      // Read only where a row of sensor_registry differs.
      except: ['select on sensorctl.newest_part'],
      isWhole: async () =>
        (
          await pair.here.query(
            'with gone as (delete from sensorctl.comparison where verdict is not null returning 1) select from gone',
          )
        ).rowCount === 1,
    });
  });

  it('to record samples', async () => {
    const read = rightsIn(await grantsOf(REPOSITORY, 'either side: monitor', 'x')).map(
      ({ privilege, object }) => `${privilege} on ${object}`,
    );
    const except = read.filter((name) => !/sample|schema/.test(name));
    await takeEachAway({
      ...{ title: 'monitor', role: 'needed_monitor', work: recordOnce, except },
      blocks: { local: ['either side: monitor'], ec2: ['either side: monitor'] },
    });
  });

  it('to consume, also where EC2 has no unique key', async () => {
    await takeEachAway({
      ...{ title: 'consume', role: 'needed_consumer', work: consumeOnce },
      blocks: { local: ['either side: consume'], ec2: ['either side: consume'] },
    });
  });

  it('to backfill', async () => {
    await pair.here.query(`${waterRows(0, 20)};
      insert into moisture_readings (time, sensor_id) select time, sensor_id from water_level_readings on conflict do nothing;
      insert into sensor_readings (time, sensor_id, sensor_type, value)
      select time, sensor_id, 'x', '1' from water_level_readings on conflict do nothing`);
    const work = (sides: Sides): Promise<void> => backfillOnce(sides, pair);
    await takeEachAway({
      ...{ title: 'backfill', role: 'needed_backfill', work },
      isWhole: async () =>
        (await pair.here.query("select from sensorctl.ledger where state = 'missed'")).rowCount === 0 &&
        (await pair.here.query("select from sensorctl.ledger where state = 'refused'")).rowCount !== 0,
      blocks: { local: ['local: backfill'], ec2: ['ec2: backfill'] },
    });
  });
});
