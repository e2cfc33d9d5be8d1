import type pg from 'pg';

import type { DifferenceRecord } from '../../src/lib/operations/compare/compare-report.js';
import { BUSY_SENSORS, CROWD } from './busy-telemetry.js';
import type { ChaosStage } from './stage.js';

/** What a comparison has to say of a damage. */
export interface Finding {
  readonly table: string;
  readonly kind: DifferenceRecord['kind'];
  readonly sensorId: string;
  /** The column that was altered, of a row that is there. */
  readonly column?: string;
}

/** Something done to EC2 by hand, which no consumer puts right. */
export interface Damage {
  readonly title: string;
  /** Does it, and answers what is to be found and how it is undone. */
  inflict(stage: ChaosStage): Promise<{ readonly finding: Finding; readonly mend: () => Promise<void> }>;
}

const WATER = 'water_level_readings';
const FUTURE = '2199-01-01T00:00:00Z';
const [UNLOCATED, HASTY, MISNAMED] = BUSY_SENSORS;

export const DAMAGES: readonly Damage[] = [
  deletion('an old row is deleted', `where sensor_id like 'AWD%' order by time, sensor_id offset 20 limit 1`),
  deletion('the newest row is deleted', 'order by time desc, sensor_id limit 1'),
  deletion(
    'a row is deleted whose time the batches in flight cover',
    `where sensor_id like '${CROWD}%' order by sensor_id, time limit 1`,
  ),
  {
    title: 'one column of one row is altered',
    inflict: async ({ ec2, local }) => {
      const row = await change(ec2, alterRow('rssi = coalesce(rssi, 0) + 1'));
      return {
        finding: { table: WATER, kind: 'different', sensorId: row.sensor_id, column: 'rssi' },
        mend: async () => {
          await removeRow(ec2, row);
          await copyRow(local, ec2, row);
        },
      };
    },
  },
  {
    title: 'a row is there that local never had',
    inflict: async ({ ec2 }) => {
      const insert = `insert into ${WATER} (time, sensor_id, level_cm)
        select time, 'GHOST', 1 from ${WATER} order by time desc limit 1 returning ${KEY}`;
      const row = await change(ec2, insert);
      return {
        finding: { table: WATER, kind: 'missing on local', sensorId: row.sensor_id },
        mend: () => removeRow(ec2, row),
      };
    },
  },
  registryDamage('the location of a busy sensor', UNLOCATED, {
    column: 'location_lat',
    damage: 'location_lat = 1',
    mend: 'location_lat = null',
  }),
  registryDamage('last_seen of a busy sensor', HASTY, {
    column: 'last_seen',
    damage: `last_seen = '${FUTURE}'`,
    mend: 'last_seen = $2::timestamptz',
  }),
  registryDamage('the type of a busy sensor', MISNAMED, {
    column: 'sensor_type',
    damage: `sensor_type = 'moisture', last_seen = '${FUTURE}'`,
    mend: `sensor_type = 'water-level', last_seen = $2::timestamptz`,
  }),
];

interface Key {
  readonly sensor_id: string;
  readonly time: string;
}

const KEY = 'sensor_id, time::text as time';

function alterRow(change: string): string {
  return `update ${WATER} set ${change} where ctid = (
    select ctid from ${WATER} order by time desc offset 5 limit 1) returning ${KEY}`;
}

function deletion(title: string, which: string): Damage {
  return {
    title,
    inflict: async ({ ec2, local }) => {
      const row = await change(
        ec2,
        `delete from ${WATER} where ctid = (select ctid from ${WATER} ${which}) returning ${KEY}`,
      );
      return {
        finding: { table: WATER, kind: 'missing on ec2', sensorId: row.sensor_id },
        mend: () => copyRow(local, ec2, row),
      };
    },
  };
}

function registryDamage(
  title: string,
  sensorId: string,
  { column, damage, mend }: { column: string; damage: string; mend: string },
): Damage {
  return {
    title: `${title} is altered in the registry`,
    inflict: async ({ ec2, local }) => {
      await change(ec2, `update sensor_registry set ${damage} where sensor_id = $1 returning sensor_id, '' as time`, [
        sensorId,
      ]);
      return {
        finding: { table: 'sensor_registry', kind: 'different', sensorId, column },
        mend: async () => {
          const { rows } = await local.query<{ last_seen: string }>(
            'select last_seen::text from sensor_registry where sensor_id = $1',
            [sensorId],
          );
          const values = mend.includes('$2') ? [sensorId, rows[0]?.last_seen] : [sensorId];
          await ec2.query(`update sensor_registry set ${mend} where sensor_id = $1`, values);
        },
      };
    },
  };
}

async function change(pool: pg.Pool, sql: string, values: unknown[] = []): Promise<Key> {
  const { rows } = await pool.query<Key>(sql, values);
  if (rows[0] === undefined) throw new Error(`nothing was damaged by: ${sql}`);
  return rows[0];
}

async function removeRow(pool: pg.Pool, { sensor_id, time }: Key): Promise<void> {
  await pool.query(`delete from ${WATER} where sensor_id = $1 and time = $2::timestamptz`, [sensor_id, time]);
}

async function copyRow(from: pg.Pool, to: pg.Pool, { sensor_id, time }: Key): Promise<void> {
  const { rows } = await from.query<{ row: string }>(
    `select to_json(stored)::text as row from ${WATER} as stored where sensor_id = $1 and time = $2::timestamptz`,
    [sensor_id, time],
  );
  await to.query(`insert into ${WATER} select * from json_populate_record(null::${WATER}, $1)`, [rows[0]?.row]);
}
