// What can be wrong with EC2's schema.
import type { Weight } from '../../src/lib/operations/verify-schema/finding.js';

/** Done to EC2, whose schema was equal: what is found, and where. */
export interface Damage {
  readonly title: string;
  readonly sql: string;
  readonly weight: Weight;
  readonly table: string | null;
  readonly subject: string | RegExp;
  /** TimescaleDB refuses it on a hypertable, or compression beside it. */
  readonly plainOnly?: true;
}

export const WATER = 'water_level_readings';

function onWater(title: string, change: string, weight: Weight, subject: string | RegExp): Damage {
  return { title, sql: `alter table ${WATER} ${change}`, weight, table: WATER, subject };
}

const RAISE = `create function twist() returns trigger language plpgsql as 'begin new.rssi := 0; return new; end'`;

const PARTED = `create table parted (like ${WATER} including all) partition by range (time); drop table ${WATER};
  alter table parted rename to ${WATER}; drop index if exists parted_time_idx`;

export const DAMAGES: readonly Damage[] = [
  { title: 'a missing table', sql: `drop table ${WATER}`, weight: 'blocks', table: WATER, subject: 'table' },
  {
    ...{ title: 'a view in place of a table', weight: 'blocks', table: 'moisture_readings', subject: 'kind' },
    sql: 'alter table moisture_readings rename to held; create view moisture_readings as select * from held',
  },
  onWater('a missing column', 'drop column rssi', 'blocks', 'column rssi'),
  onWater('a narrower numeric', 'alter level_cm type numeric(4,1)', 'blocks', 'type of level_cm'),
  onWater('a shorter text', 'alter sensor_id type varchar(50)', 'blocks', 'type of sensor_id'),
  onWater('a time without microseconds', 'alter "time" type timestamptz(0)', 'blocks', 'type of time'),
  onWater('a float of half the size', 'alter location_lat type real', 'blocks', 'type of location_lat'),
  onWater('a smaller integer', 'alter rssi type smallint', 'blocks', 'type of rssi'),
  onWater('mixed time types', `alter "time" type timestamp`, 'blocks', 'type of time'),
  onWater('a wider numeric', 'alter level_cm type numeric(8,3)', 'warns', 'type of level_cm'),
  onWater('a longer text', 'alter sensor_id type text', 'warns', 'type of sensor_id'),
  onWater('a NOT NULL that local has not', 'alter rssi set not null', 'blocks', 'nullability of rssi'),
  onWater('a NOT NULL that only local has', 'alter level_cm drop not null', 'notes', 'nullability of level_cm'),
  onWater('a default of a column that batches write', 'alter rssi set default 1', 'notes', 'default of rssi'),
  onWater('an additional column', 'add note text', 'notes', 'column note'),
  onWater('an additional column that nothing fills', 'add note text not null', 'blocks', 'column note'),
  onWater('a generated column', 'drop rssi, add rssi int generated always as (1) stored', 'blocks', 'default of rssi'),
  onWater('an identity', 'alter rssi set not null, alter rssi add generated always as identity', 'blocks', /of rssi/),
  onWater('a missing key', `drop constraint ${WATER}_key`, 'blocks', 'key (sensor_id, time)'),
  onWater('a key by other columns', 'add unique (rssi, time)', 'blocks', /^unique key /),
  {
    ...{ title: 'a partition for some rows only', weight: 'warns', table: WATER, subject: 'kind', plainOnly: true },
    sql: `${PARTED}; create table first partition of ${WATER} for values from ('2025-01-01') to ('2026-01-01')`,
  },
  {
    ...{ title: 'a partitioned table without partition', weight: 'blocks', table: WATER, subject: 'partitions' },
    ...{ sql: PARTED, plainOnly: true },
  },
  {
    ...{ title: "TimescaleDB's blocker, left on a plain table", weight: 'blocks', table: WATER, plainOnly: true },
    sql: `create function blocker() returns trigger language plpgsql as 'begin raise exception ''invalid''; end';
      create trigger ts_insert_blocker before insert on ${WATER} for each row execute function blocker()`,
    subject: 'trigger ts_insert_blocker',
  },
  onWater('a key that holds the key', 'add unique (sensor_id, time, rssi)', 'notes', /^unique key /),
  onWater('a check', 'add constraint low check (level_cm < 10)', 'blocks', 'check low'),
  { ...onWater('an exclusion', 'add exclude (rssi with =)', 'blocks', /^exclusion /), plainOnly: true },
  { ...onWater('row security', 'enable row level security', 'notes', 'row security'), plainOnly: true },
  onWater('a table that a crash empties', 'set unlogged', 'blocks', 'persistence'),
  {
    ...{ title: 'a key that is only checked at the end', weight: 'blocks', table: WATER },
    sql: `alter table ${WATER} drop constraint ${WATER}_key;
      alter table ${WATER} add constraint ${WATER}_key unique (sensor_id, time) deferrable`,
    subject: 'key (sensor_id, time)',
  },
  {
    ...{ title: 'a partial unique index', plainOnly: true, weight: 'blocks', table: WATER, subject: 'unique key once' },
    sql: `create unique index once on ${WATER} (sensor_id) where rssi > 0`,
  },
  {
    ...{ title: 'a missing index', weight: 'notes', table: WATER, subject: `index ${WATER}_time_idx` },
    sql: `drop index ${WATER}_time_idx`,
  },
  {
    ...{ title: 'a collation that counts A and a as one', weight: 'blocks', table: WATER },
    sql: `create collation loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
      alter table ${WATER} alter sensor_id type varchar(255) collate loose`,
    subject: 'collation of sensor_id',
  },
  {
    ...{ title: 'json for jsonb', weight: 'blocks', table: 'sensor_readings', subject: 'type of value' },
    sql: 'alter table sensor_readings alter value type json',
  },
  {
    ...{
      title: 'text for jsonb, with a default',
      weight: 'blocks',
      table: 'sensor_readings',
      subject: 'type of metadata',
    },
    sql: `alter table sensor_readings alter metadata type text; alter table sensor_readings alter metadata set default 'none'`,
  },
  {
    ...{ title: 'a trigger before the row', weight: 'blocks', table: WATER, subject: 'trigger twists' },
    sql: `${RAISE}; create trigger twists before insert on ${WATER} for each row execute function twist()`,
  },
  {
    ...{ title: 'a trigger after the row', weight: 'warns', table: WATER, subject: 'trigger twists' },
    sql: `${RAISE}; create trigger twists after insert on ${WATER} for each row execute function twist()`,
  },
  {
    ...{ title: 'a rule', plainOnly: true, weight: 'blocks', table: WATER, subject: 'rule away' },
    sql: `create rule away as on insert to ${WATER} do instead nothing`,
  },
  {
    ...{ title: 'a default of a column that no batch writes', weight: 'blocks', table: 'sensor_registry' },
    sql: 'alter table sensor_registry alter is_active set default false',
    subject: 'default of is_active',
  },
  {
    ...{ title: 'a registry without its key', weight: 'blocks', table: 'sensor_registry', subject: 'key (sensor_id)' },
    sql: 'alter table sensor_registry drop constraint sensor_registry_pkey',
  },
  {
    ...{ title: 'a foreign key to the registry', weight: 'notes', table: WATER, subject: 'foreign key known' },
    sql: `alter table ${WATER} add constraint known foreign key (sensor_id) references sensor_registry`,
  },
  {
    ...{ title: 'a foreign key to another table', weight: 'blocks', table: WATER, subject: 'foreign key owned' },
    sql: `create table owner (name varchar(255) primary key);
      alter table ${WATER} add constraint owned foreign key (sensor_id) references owner`,
  },
  {
    ...{ title: 'columns in another order', weight: 'notes', table: WATER, subject: 'order of columns' },
    sql: `alter table ${WATER} drop rssi; alter table ${WATER} add rssi integer`,
  },
  {
    ...{ title: 'missing bookkeeping', weight: 'blocks', table: null, subject: 'bookkeeping on ec2' },
    sql: 'drop schema sensorctl cascade',
  },
];
