// PostgreSQL's own regression database, brought to an empty one beside it: how many of its definitions are the same there.
// SENSORCTL_TEST_REGRESSION names it, as postgres://user@host:port/database; CONTRIBUTING.md says how it is made.
import { access } from 'node:fs/promises';
import pg from 'pg';
import type { PrintedPreparation } from '../../src/lib/cli/render-init.js';
import { runCli } from '../support/cli.js';
import { compareDumps, dumpSchema, type Dump, type DumpDifference } from '../support/dumps.js';

const USUAL = 'postgres://postgres@127.0.0.1:5432/regression';
const LEAST_SHARE = 0.97;
const TIMEOUT_MS = 600_000;

/** Why a definition differs, by what pg_dump calls it; what init itself named has its reason from there. */
const REASONS: readonly (readonly [RegExp, string])[] = [
  [/^PUBLICATION/, 'publications are named, and brought by pg_dump'],
  [/^(FOREIGN|SERVER|USER MAPPING)/, 'foreign servers are named, and brought by pg_dump'],
  [/^TRANSFORM/, 'transforms are named, and brought by pg_dump'],
  [/^DEFAULT ACL/, 'default privileges are named, and brought by pg_dump'],
  [/^OPERATOR FAMILY/, 'members that were added to an operator family later are named, and brought by pg_dump'],
  [/^ACL pg_catalog/, "rights on the server's own tables are named, and brought by pg_dump"],
  [/^SEQUENCE .* identity_dump/, 'the sequence of an identity is logged as its table is'],
  [/^INDEX (ATTACH )?public idxpart21/, 'on EC2 every partition has its part of the index; on local one was left out'],
];

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

interface Found {
  readonly client: pg.Client;
  readonly url: URL;
}

async function find(): Promise<Found | string> {
  const name = process.env.SENSORCTL_TEST_REGRESSION ?? USUAL;
  const url = new URL(name);
  const client = new pg.Client({ connectionString: new URL('/postgres', url).href });
  try {
    await client.connect();
    const database = url.pathname.slice(1);
    const { rowCount } = await client.query('select from pg_database where datname = $1', [database]);
    return rowCount === 0 ? `there is no database ${database} at ${url.host}` : { client, url };
  } catch (error) {
    return `no regression database at ${url.host}: ${(error as Error).message}`;
  }
}

async function run({ client, url }: Found): Promise<void> {
  const source = url.pathname.slice(1);
  const [local, ec2] = [`${source}_local`, `${source}_ec2`];
  for (const name of [local, ec2]) await client.query(`drop database if exists ${pg.escapeIdentifier(name)}`);
  // A copy: init writes its bookkeeping to both sides.
  await client.query(`create database ${pg.escapeIdentifier(local)} template ${pg.escapeIdentifier(source)}`);
  await client.query(`create database ${pg.escapeIdentifier(ec2)} template template0`);
  try {
    await checkDefinitions(client, url, { local, ec2 });
    // The rows are checked here, between the same two databases, once they were brought.
  } finally {
    for (const name of [local, ec2]) await client.query(`drop database if exists ${pg.escapeIdentifier(name)}`);
  }
}

interface Pair {
  readonly local: string;
  readonly ec2: string;
}

async function checkDefinitions(client: pg.Client, url: URL, names: Pair): Promise<void> {
  const started = performance.now();
  const brought = await init(url, names);
  say(`init took ${((performance.now() - started) / 1000).toFixed(1)} s and made ${brought.done.length} objects`);
  for (const { what, problem } of brought.failed) say(`  not brought: ${what}: ${problem}`);
  for (const { what, reason } of brought.leftOut) say(`  left out: ${what}: ${reason}`);
  const again = await init(url, names);
  say(`a second init made ${again.done.length} objects`);
  const program = await findPgDump(client);
  const [here, there] = await Promise.all([dump(program, url, names.local), dump(program, url, names.ec2)]);
  report(here, compareDumps(here, there));
}

async function init(url: URL, { local, ec2 }: Pair): Promise<NonNullable<PrintedPreparation['brought']>> {
  const side = {
    host: url.hostname,
    port: url.port || '5432',
    user: url.username || 'postgres',
    password: url.password,
  };
  const settings = {
    ...{ TIMESCALE_HOST: side.host, TIMESCALE_PORT: side.port, TIMESCALE_DB: local, TIMESCALE_USER: side.user },
    ...{ EC2_DB_HOST: side.host, EC2_DB_PORT: side.port, EC2_DB_NAME: ec2, EC2_DB_USER: side.user },
    ...{ TIMESCALE_PASSWORD: side.password, EC2_DB_PASSWORD: side.password, EC2_DB_SSLMODE: 'disable' },
  };
  const { stdout, stderr } = await runCli(['init', '--yes', '--json'], { settings, timeoutMs: TIMEOUT_MS });
  const { sides = [] } = JSON.parse(stdout || '{}') as { sides?: PrintedPreparation[] };
  const brought = sides.find((each) => each.side === 'ec2')?.brought;
  if (brought == null) throw new Error(`init failed: ${stdout}${stderr}`);
  return brought;
}

async function findPgDump(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ major: number }>(
    "select current_setting('server_version_num')::int / 10000 as major",
  );
  const program = `/usr/lib/postgresql/${rows[0]?.major ?? 0}/bin/pg_dump`;
  return await access(program).then(
    () => program,
    () => 'pg_dump',
  );
}

async function dump(program: string, url: URL, database: string): Promise<Dump> {
  const [host, port] = [url.hostname, Number(url.port || 5432)];
  return await dumpSchema(program, { host, port, user: url.username || 'postgres', password: url.password, database });
}

function report(local: Dump, differences: readonly DumpDifference[]): void {
  const kinds = new Map<string, { all: number; different: number }>();
  const count = (key: string, what: 'all' | 'different'): void => {
    const kind = /^[A-Z ]+(?= )/.exec(key)?.[0] ?? key;
    const held = kinds.get(kind) ?? { all: 0, different: 0 };
    held[what] += 1;
    kinds.set(kind, held);
  };
  for (const key of local.keys()) count(key, 'all');
  for (const { key } of differences) count(key, 'different');
  for (const [kind, { all, different }] of kinds) say(`  ${kind}: ${all - different} of ${all} alike`);
  const unexplained = differences.filter((each) => reasonOf(each) === undefined);
  for (const each of differences) say(`  different: ${each.key}: ${reasonOf(each) ?? 'UNEXPLAINED'}`);
  const share = (local.size - differences.length) / local.size;
  say(`${local.size - differences.length} of ${local.size} definitions are alike: ${(share * 100).toFixed(2)} %`);
  for (const each of unexplained) say(`\n${each.key}\nlocal: ${each.local ?? '-'}\nEC2: ${each.ec2 ?? '-'}`);
  if (share < LEAST_SHARE || unexplained.length > 0) process.exitCode = 1;
}

function reasonOf({ key, local, ec2 }: DumpDifference): string | undefined {
  const sorted = (text: string | undefined): string => (text ?? '').split('\n').toSorted().join('\n');
  if (sorted(local) === sorted(ec2)) return 'the same lines, in another order';
  return REASONS.find(([pattern]) => pattern.test(key))?.[1];
}

const found = await find();
if (typeof found === 'string') say(`skipped, because ${found}; SENSORCTL_TEST_REGRESSION names one`);
else await run(found).finally(() => found.client.end());
