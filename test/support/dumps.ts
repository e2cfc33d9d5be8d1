// What pg_dump says of two databases, definition by definition.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type pg from 'pg';

export interface DumpedDatabase {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
}

/** Such as `TABLE public levels` → its text, without the owner. */
export type Dump = ReadonlyMap<string, string>;

const HEADER = /^-- Name: (.*); Type: (.*); Schema: (.*); Owner: .*$/;
/** TimescaleDB counts them on each side. */
const NUMBERED = /_materialized_hypertable_\d+/g;
const MOST_BYTES = 2 ** 28;

/** Asks `pg_dump --schema-only`, whose program has to be as new as the server. */
export async function dumpSchema(
  program: string,
  database: DumpedDatabase,
  more: readonly string[] = [],
): Promise<Dump> {
  const { host, port, user, password, database: name } = database;
  const { stdout } = await promisify(execFile)(
    program,
    [
      '--schema-only',
      '--exclude-schema=sensorctl',
      '--exclude-schema=_timescaledb_*',
      ...more,
      `--host=${host}`,
      `--port=${port}`,
      `--username=${user}`,
      name,
    ],
    { env: { PGPASSWORD: password }, maxBuffer: MOST_BYTES },
  );
  return parseDump(stdout);
}

function parseDump(text: string): Dump {
  const found = new Map<string, string>();
  let key: string | null = null;
  let lines: string[] = [];
  const end = (): void => {
    if (key !== null)
      found.set(
        key,
        `${found.get(key) ?? ''}${lines.join('\n').trim()}`.replaceAll(NUMBERED, '_materialized_hypertable'),
      );
    lines = [];
  };
  for (const line of text.split('\n')) {
    const [, name, type, schema] = HEADER.exec(line) ?? [];
    if (name !== undefined) {
      end();
      key = `${type ?? ''} ${schema ?? ''} ${name}`;
    } else if (!/^(--|\\(un)?restrict|SET default_)/.test(line)) lines.push(line);
  }
  end();
  return found;
}

export interface DumpDifference {
  readonly key: string;
  readonly local: string | undefined;
  readonly ec2: string | undefined;
}

export function compareDumps(local: Dump, ec2: Dump): DumpDifference[] {
  return [...new Set([...local.keys(), ...ec2.keys()])]
    .filter((key) => local.get(key) !== ec2.get(key))
    .map((key) => ({ key, local: local.get(key), ec2: ec2.get(key) }));
}

const READ_TIMESCALEDB = `
  select json_agg(item order by item)::text as items from (
    select format('%s.%s %s %s %s %s %s', hypertable_schema, hypertable_name, column_name, time_interval, integer_interval,
      integer_now_func, num_partitions) as item from timescaledb_information.dimensions where hypertable_schema not like '\\_%'
    union all select format('%s %s %s %s', hypertable_name, attname, segmentby_column_index, orderby_column_index)
      from timescaledb_information.compression_settings where hypertable_name not like '\\_%'
    union all select format('%s %s', view_name, materialized_only) from timescaledb_information.continuous_aggregates
    union all select format('%s %s %s %s %s', proc_name, coalesce(view_name, j.hypertable_name), schedule_interval, scheduled,
      config - 'hypertable_id' - 'mat_hypertable_id') from timescaledb_information.jobs as j
      left join timescaledb_information.continuous_aggregates as a on materialization_hypertable_name = j.hypertable_name
      where job_id >= 1000
  ) as items`;

/** What a dump does not show of hypertables, aggregates and policies. */
export async function readTimescaleDb(pool: pg.Pool): Promise<string> {
  const { rows } = await pool.query<{ items: string }>(READ_TIMESCALEDB);
  return rows[0]!.items;
}
