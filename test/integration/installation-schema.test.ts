// The schema of a real installation, brought to an EC2 that holds nothing, and to one that holds a part of it.
import path from 'node:path';
import { expect } from 'chai';
import type { PrintedPreparation } from '../../src/lib/cli/render-init.js';
import type { SchemaVerdict } from '../../src/lib/operations/verify-schema/verify-schema.js';
import { Stage, timescaleServers } from '../support/cli.js';
import { compareDumps, dumpSchema, type DumpDifference } from '../support/dumps.js';
import { buildInstallation, buildPlainPart, createInstallationRoles } from '../support/installation.js';
import { blocking } from '../support/schemas.js';
import { findTimescaleBinDir } from '../support/servers.js';

/** Checks whose text the server prints otherwise once it has read it; both mean the same. */
const PRINTED_OTHERWISE = ['TABLE public weather_stations'];
/** What a restored dump has left on EC2. */
const LEFT_BEHIND = ['FUNCTION public insert_blocker()'];
const SCALE = 0.02;
const KEY = 'key (sensor_id, time)';

/** More kinds than the installation has. */
const MORE = `
  create table ticks (at bigint not null, device int not null, v float8, primary key (at, device));
  select create_hypertable('ticks', 'at', chunk_time_interval => 1000);
  select add_dimension('ticks', 'device', number_partitions => 4);
  create function ticks_now() returns bigint language sql stable as 'select coalesce(max(at), 0) from public.ticks';
  select set_integer_now_func('ticks', 'ticks_now');
  alter table ticks set (timescaledb.compress, timescaledb.compress_segmentby = 'device');
  select add_compression_policy('ticks', 5000);
  select add_retention_policy('ticks', drop_created_before => interval '1 year');
  create materialized view flow_weekly with (timescaledb.continuous) as
    select time_bucket('1 week', bucket) as week, gate_id, avg(average) from hourly_flow_stats group by 1, 2 with no data;
  create index mine on flow_weekly (gate_id);
  create procedure work(job_id int, config jsonb) language plpgsql as 'begin end';
  select add_job('work', '1 hour', config => '{"a": 1}')`;

/** What a dump does not show. */
const READ_TIMESCALEDB = `
  select json_agg(item order by item)::text as item from (
    select format('%s.%s %s %s %s %s %s', hypertable_schema, hypertable_name, column_name, time_interval, integer_interval,
      integer_now_func, num_partitions) as item from timescaledb_information.dimensions where hypertable_schema not like '\\_%'
    union all select format('%s %s %s %s', hypertable_name, attname, segmentby_column_index, orderby_column_index)
      from timescaledb_information.compression_settings where hypertable_name not like '\\_%'
    union all select format('%s %s', view_name, materialized_only) from timescaledb_information.continuous_aggregates
    union all select format('%s %s %s %s', proc_name, coalesce(view_name, j.hypertable_name), schedule_interval,
      config - 'hypertable_id' - 'mat_hypertable_id') from timescaledb_information.jobs as j
      left join timescaledb_information.continuous_aggregates as a on materialization_hypertable_name = j.hypertable_name
      where job_id >= 1000
  ) as items`;

describe("the installation's schema", function () {
  this.timeout(120_000);
  let stage: Stage | undefined;

  beforeEach(async function () {
    stage = await Stage.open('installation schema', await timescaleServers(this));
    await buildInstallation(stage.local, { timescaleDb: true, scale: SCALE });
    await stage.local.query(MORE);
    await createInstallationRoles(stage.ec2);
  });

  afterEach(async () => {
    await stage?.close();
    stage = undefined;
  });

  async function init(): Promise<PrintedPreparation> {
    const { stdout, stderr } = await stage!.run(['init', '--yes', '--json']);
    const { sides } = JSON.parse(stdout || `{"sides": []}`) as { sides: PrintedPreparation[] };
    const ec2 = sides.find(({ side }) => side === 'ec2');
    if (ec2 === undefined) throw new Error(stderr);
    return ec2;
  }

  async function differences(): Promise<DumpDifference[]> {
    const program = path.join((await findTimescaleBinDir())!, 'pg_dump');
    const { local, ec2 } = stage!.connections;
    const [here, there] = await Promise.all(
      [local, ec2].map((each) => dumpSchema(program, { ...each, password: each.password ?? '' })),
    );
    expect(here!.size).to.be.greaterThan(120);
    return compareDumps(here!, there!).filter(({ key }) => ![...PRINTED_OTHERWISE, ...LEFT_BEHIND].includes(key));
  }

  async function expectAlike(): Promise<void> {
    expect(await differences()).to.deep.equal([]);
    const [here, there] = await Promise.all(
      [stage!.local, stage!.ec2].map((pool) => pool.query<{ item: string }>(READ_TIMESCALEDB)),
    );
    expect(there!.rows).to.deep.equal(here!.rows);
  }

  async function expectNothingLeft(): Promise<void> {
    const again = await init();
    expect(again.brought).to.deep.equal({ done: [], failed: [], leftOut: [] });
    const { stdout } = await stage!.run(['verify-schema', '--json']);
    const found = JSON.parse(stdout) as SchemaVerdict;
    const blocks = blocking(found).map(({ subject }) => subject);
    expect(new Set(blocks), 'the reading tables have no key on either side').to.deep.equal(new Set([KEY]));
    const script = await stage!.run(['verify-schema', '--sql']);
    expect(script.code).to.equal(0);
    expect(script.stdout.match(/^begin;$/gm) ?? [], 'keys are added where --add-keys is given').to.have.length(3);
    expect(script.stdout).not.to.match(/^create (?!unique index|temporary table)/m);
  }

  it('is asked for before it is brought: without a terminal --yes has to be given, and nothing was done', async () => {
    const { code, stderr } = await stage!.run(['init', '--side', 'ec2']);
    expect(code).to.equal(2);
    expect(stderr)
      .to.match(/Carry out \d+ steps on EC2\? Nobody can be asked here/)
      .and.to.contain('--yes');
    const { rows } = await stage!.ec2.query(`select from pg_tables where schemaname not in ('sensorctl') and
      schemaname not like 'pg%' and schemaname <> 'information_schema'`);
    expect(rows).to.deep.equal([]);
  });

  it('is on an EC2 that held nothing after one init: by pg_dump, and by what TimescaleDB says', async () => {
    const { brought } = await init();
    expect(brought?.failed).to.deep.equal([]);
    expect(brought?.leftOut).to.deep.equal([]);
    await expectAlike();
    await expectNothingLeft();
  });

  it('is on an EC2 that held a part of it as plain tables, one with the blocker of a hypertable', async () => {
    await buildPlainPart(stage!.ec2);
    await stage!.ec2
      .query(`insert into public.sensor_registry (sensor_id, sensor_type, last_seen) values ('A', 'water-level', now());
      insert into public.water_level_readings ("time", sensor_id, level_cm) values ('2025-07-01', 'A', 1), ('2025-07-09', 'A', 2)`);
    const { brought } = await init();
    expect(brought?.failed).to.deep.equal([]);
    await expectAlike();
    await expectNothingLeft();
    const { rows } = await stage!.ec2.query('select level_cm from public.water_level_readings order by 1');
    expect(rows).to.deep.equal([{ level_cm: '1.00' }, { level_cm: '2.00' }]);
  });
});
