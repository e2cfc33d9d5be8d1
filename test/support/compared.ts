// Two databases, the operation `compare` on them, and a second opinion: the same question answered without digests.
import pg from 'pg';
import { closeDatabase, openDatabase, type Database } from '../../src/lib/db/database.js';
import type { Side } from '../../src/lib/domain/side.js';
import { compare, type CompareOutcome, type CompareRequest } from '../../src/lib/operations/compare/compare.js';
import type { DifferenceRecord } from '../../src/lib/operations/compare/compare-report.js';
import type { PostgresServer } from '../../src/lib/sandbox/postgres-server.js';
import { poolOf } from './cli.js';
import { createTestDatabase, type TestDatabase } from './servers.js';

const CALL_TIMEOUT_MS = 25_000;
const EVERYTHING: CompareRequest = {
  ...{ tables: [], from: null, to: null, windowMicros: null, bucketMicros: null, settleMs: 0 },
  ...{ jobs: 1, limit: 100, resume: false },
};

interface Sides {
  readonly primary: Database;
  readonly secondary: Database;
}

export interface Compared extends CompareOutcome {
  readonly found: readonly DifferenceRecord[];
}

/** Two empty databases; `local` and `ec2` are a test's own ways in. */
export class Pair {
  private constructor(
    readonly local: pg.Pool,
    readonly ec2: pg.Pool,
    readonly sides: Sides,
    private readonly servers: Readonly<Record<Side, PostgresServer>>,
    private readonly databases: readonly [TestDatabase, TestDatabase],
  ) {}

  static async open(title: string, servers: Readonly<Record<Side, PostgresServer>>): Promise<Pair> {
    const [here, there] = await Promise.all([
      createTestDatabase(servers.local, `${title} local`),
      createTestDatabase(servers.ec2, `${title} ec2`),
    ]);
    return new Pair(
      poolOf(servers.local, here.name),
      poolOf(servers.ec2, there.name),
      openSides(servers, [here, there], CALL_TIMEOUT_MS),
      servers,
      [here, there],
    );
  }

  /** Lends the pair with sessions that give a call up after so many ms. */
  async withTimeout<Result>(callTimeoutMs: number, work: (pair: Pair) => Promise<Result>): Promise<Result> {
    const sides = openSides(this.servers, this.databases, callTimeoutMs);
    try {
      return await work(new Pair(this.local, this.ec2, sides, this.servers, this.databases));
    } finally {
      await closeSides(sides);
    }
  }

  /** Lends the pair with sessions of another role that both servers have. */
  async asRole<Result>(user: string, password: string, work: (pair: Pair) => Promise<Result>): Promise<Result> {
    const local = Object.assign(Object.create(this.servers.local) as PostgresServer, { user, password });
    const ec2 = Object.assign(Object.create(this.servers.ec2) as PostgresServer, { user, password });
    const sides = openSides({ local, ec2 }, this.databases, CALL_TIMEOUT_MS);
    try {
      return await work(new Pair(this.local, this.ec2, sides, this.servers, this.databases));
    } finally {
      await closeSides(sides);
    }
  }

  /** Compares everything, but for what the request says; the comparison waits for what `onDifference` does. */
  async compare(
    request: Partial<CompareRequest>,
    onDifference: (difference: DifferenceRecord) => Promise<void> = () => Promise.resolve(),
  ): Promise<Compared> {
    const found: DifferenceRecord[] = [];
    const outcome = await compare(
      this.sides,
      { ...EVERYTHING, ...request },
      {
        stop: new AbortController().signal,
        onDifference: async (difference) => {
          found.push(difference);
          await onDifference(difference);
        },
        onProgress: () => undefined,
      },
    );
    return { ...outcome, found };
  }

  async query(sql: string): Promise<void> {
    await Promise.all([this.local.query(sql), this.ec2.query(sql)]);
  }

  async close(): Promise<void> {
    await closeSides(this.sides);
    await Promise.all([this.local.end(), this.ec2.end()]);
    await Promise.all(this.databases.map((database) => database.drop()));
  }
}

function openSides(
  servers: Readonly<Record<Side, PostgresServer>>,
  [here, there]: readonly [TestDatabase, TestDatabase],
  callTimeoutMs: number,
): Sides {
  return {
    primary: openSide('local', servers.local, { database: here, callTimeoutMs }),
    secondary: openSide('ec2', servers.ec2, { database: there, callTimeoutMs }),
  };
}

async function closeSides({ primary, secondary }: Sides): Promise<void> {
  await Promise.all([closeDatabase(primary), closeDatabase(secondary)]);
}

function openSide(
  side: Side,
  { host, port, user, password }: PostgresServer,
  { database: { name }, callTimeoutMs }: { database: TestDatabase; callTimeoutMs: number },
): Database {
  return openDatabase({
    side,
    connection: { host, port, user, password, database: name, sslMode: 'disable', sslRootCert: undefined },
    poolMax: 5,
    callTimeoutMs,
    applicationName: 'test',
  });
}

/** What the second opinion has to know of a table. */
export interface TableToJudge {
  readonly name: string;
  /** The columns to compare, in local's order, each with the type in which its values are equal or not. */
  readonly columns: readonly { readonly name: string; readonly as: string }[];
  /** What tells rows apart; empty where the whole row does. */
  readonly key: readonly string[];
  /** Rows to compare, as a condition. */
  readonly where: string;
}

/**
 * Takes all rows of both sides into local, lets `except all` say which are equal, and answers what was found and should
 * not have been, and the other way round; empty when both opinions agree to the row.
 */
export async function disagreements(
  { local, ec2 }: Pair,
  table: TableToJudge,
  found: readonly DifferenceRecord[],
): Promise<string[]> {
  const client = await local.connect();
  try {
    await client.query('begin');
    await client.query(`create temp table mine (${declare(table.columns)}) on commit drop;
      create temp table theirs (like mine) on commit drop`);
    const names = list(table.columns.map(({ name }) => quote(name)));
    const casts = list(table.columns.map(({ name, as }) => `${quote(name)}::${as}`));
    await client.query(`insert into mine select ${casts} from ${quote(table.name)} where ${table.where}`);
    const texts = list(table.columns.map(({ name, as }) => `${quote(name)}::${as}::text`));
    const { rows } = await ec2.query<(string | null)[]>({
      text: `select ${texts} from ${quote(table.name)} where ${table.where}`,
      rowMode: 'array',
    });
    await insert(client, `theirs (${names})`, rows);
    await client.query(`create temp table missing on commit drop as table mine except all table theirs;
      create temp table extra on commit drop as table theirs except all table mine`);
    return await contrast(client, table, found);
  } finally {
    await client.query('rollback');
    client.release();
  }
}

async function contrast(
  client: pg.PoolClient,
  { columns, key }: TableToJudge,
  found: readonly DifferenceRecord[],
): Promise<string[]> {
  const named = key.length === 0 ? columns : columns.filter(({ name }) => key.includes(name));
  const keys = list(named.map(({ name }) => quote(name)));
  await client.query(`create temp table found (kind text, ${declare(named)}, differing text) on commit drop`);
  await insert(
    client,
    'found',
    found.map((difference) => [
      difference.kind,
      ...named.map(({ name }) => difference.key[name] ?? null),
      difference.kind === 'different' ? Object.keys(difference.columns).join() : null,
    ]),
  );
  const same = named.map(({ name }) => `missing.${quote(name)} is not distinct from extra.${quote(name)}`);
  const differing = columns.map(
    ({ name }) =>
      `case when missing.${quote(name)} is distinct from extra.${quote(name)} then ${pg.escapeLiteral(name)} end`,
  );
  await client.query(`
    create temp table expected on commit drop as
    with unequal as (
      select ${keys}, sum(lacking) as lacking, sum(surplus) as surplus from (
        select ${keys}, 1 as lacking, 0 as surplus from missing union all select ${keys}, 0, 1 from extra
      ) as each group by ${keys}
    )
    select 'missing on ec2' as kind, ${keys}, null as differing from unequal, generate_series(1, lacking - surplus)
    union all select 'missing on local', ${keys}, null from unequal, generate_series(1, surplus - lacking)
    union all select 'different', ${list(named.map(({ name }) => `unequal.${quote(name)}`))},
      case when greatest(lacking, surplus) = 1 then (
        select array_to_string(array[${list(differing)}], ',') from missing join extra on ${same.join(' and ')}
        where ${named.map(({ name }) => `missing.${quote(name)} is not distinct from unequal.${quote(name)}`).join(' and ')}
      ) end
    from unequal, generate_series(1, least(lacking, surplus));
    -- Of several copies under one key any may be paired with any: which columns differ is not decided.
    update found set differing = null where kind = 'different' and not exists (
      select from expected where expected.differing is not null and ${named
        .map(({ name }) => `expected.${quote(name)} is not distinct from found.${quote(name)}`)
        .join(' and ')})`);
  const { rows } = await client.query<{ text: string }>(`
    select 'not found: ' || each::text as text from (table expected except all table found) as each
    union all select 'found wrongly: ' || each::text from (table found except all table expected) as each`);
  return rows.map(({ text }) => text);
}

/** Inserts rows of texts. */
export async function insert(
  client: Pick<pg.Pool, 'query'>,
  into: string,
  rows: readonly (readonly (string | null)[])[],
  conflict = '',
): Promise<void> {
  if (rows.length === 0) return;
  const literal = (value: string | null): string => (value === null ? 'null' : pg.escapeLiteral(value));
  const values = rows.map((row) => `(${list(row.map(literal))})`);
  await client.query(`insert into ${into} values ${values.join(',\n')} ${conflict}`);
}

export function quote(name: string): string {
  return pg.escapeIdentifier(name);
}

function declare(columns: readonly { readonly name: string; readonly as: string }[]): string {
  return list(columns.map(({ name, as }) => `${quote(name)} ${as}`));
}

function list(items: readonly string[]): string {
  return items.join(', ');
}
