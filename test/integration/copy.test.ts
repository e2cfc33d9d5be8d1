import { expect } from 'chai';
import type pg from 'pg';
import { copyBetween } from '../../src/lib/db/copy.js';
import { closeDatabase, openDatabase, withSession, type Database } from '../../src/lib/db/database.js';
import { sqlstateOf } from '../../src/lib/db/sqlstate.js';
import { createTestDatabase, localServer, type TestDatabase } from '../support/servers.js';

/** From nothing to several times what a socket gives at once. */
const MIXED =
  "select n, repeat('x', case when n % 50 = 0 then n * 100 else n % 30 end) as body from generate_series(1, 5000) as n";
const CONTENT = "select count(*)::int as rows, md5(string_agg(n || body, ',' order by n)) as digest";

describe('a copy between two connections', () => {
  let at: TestDatabase;
  let database: Database;

  before(async () => {
    const server = await localServer();
    const { host, port, user, password } = server;
    at = await createTestDatabase(server, 'copy');
    database = openDatabase({
      side: 'local',
      connection: { host, port, user, password, database: at.name, sslMode: 'disable', sslRootCert: undefined },
      ...{ poolMax: 2, callTimeoutMs: 20_000, applicationName: 'test' },
    });
    await database.pool.query('create table public.landing (n int primary key, body text)');
  });

  beforeEach(() => database.pool.query('truncate public.landing'));

  after(async () => {
    await closeDatabase(database);
    await at.drop();
  });

  async function withBoth<Result>(work: (source: pg.Client, target: pg.Client) => Promise<Result>): Promise<Result> {
    return await withSession(database, (source) => withSession(database, (target) => work(source, target)));
  }

  async function failureOf(query: string): Promise<string | undefined> {
    const statements = { to: `copy (${query}) to stdout`, from: 'copy public.landing from stdin' };
    return await withBoth((source, target) => copyBetween(source, target, statements)).then(
      () => undefined,
      (error: unknown) => sqlstateOf(error),
    );
  }

  for (const format of ['binary', 'text']) {
    it(`brings rows of all sizes as ${format}, and leaves both connections ready for the next`, async () => {
      const statements = {
        to: `copy (${MIXED}) to stdout (format ${format})`,
        from: `copy public.landing from stdin (format ${format})`,
      };
      await withBoth(async (source, target) => {
        expect(await copyBetween(source, target, statements)).to.equal(5_000);
        const { rows: there } = await source.query(`${CONTENT} from (${MIXED}) as mixed`);
        const { rows: here } = await target.query(`${CONTENT} from public.landing`);
        expect(here).to.deep.equal(there);
        await target.query('truncate public.landing');
        expect(await copyBetween(source, target, statements)).to.equal(5_000);
      });
    });
  }

  it('is not disturbed by what the server has to say meanwhile, and hands it to pg', async () => {
    await database.pool.query(`create function public.speak(n int) returns int language plpgsql as
      $$ begin if n % 100 = 0 then raise notice 'at %', n; end if; return n; end $$`);
    const notices: (string | undefined)[] = [];
    await withBoth(async (source, target) => {
      source.on('notice', ({ message }) => notices.push(message));
      const statements = {
        to: "copy (select public.speak(n), 'said' from generate_series(1, 1000) as n) to stdout",
        from: 'copy public.landing from stdin',
      };
      expect(await copyBetween(source, target, statements)).to.equal(1_000);
    });
    expect(notices).to.have.length(10);
  });

  it('copies no row where there is none', async () => {
    const statements = { to: "copy (select 1, 'x' where false) to stdout", from: 'copy public.landing from stdin' };
    expect(await withBoth((source, target) => copyBetween(source, target, statements))).to.equal(0);
  });

  it('fails with the error of the source, before the first row and after many', async () => {
    expect(await failureOf('select nothing')).to.equal('42703');
    expect(await failureOf('select n, 1 / (90000 - n) from generate_series(1, 100000) as n')).to.equal('22012');
  });

  it('fails with the error of the target, and does not wait for the rest', async () => {
    expect(await failureOf("select 1, 'x' from generate_series(1, 1000000)")).to.equal('23505');
  });
});
