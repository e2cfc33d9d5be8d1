import { expect } from 'chai';
import { closeDatabase, openDatabase, type Database } from '../../src/lib/db/database.js';
import { faultKind, sqlstateOf } from '../../src/lib/db/sqlstate.js';
import { runTransaction, type Statement } from '../../src/lib/db/transaction.js';
import { Stage } from '../support/cli.js';

const INSERT_1: Statement = { text: 'insert into public.written values ($1)', values: ['first'] };
const INSERT_2: Statement = { text: 'insert into public.written values ($1)', values: ['second'] };

/** A value whose form for the server cannot be made. */
const throwing = (error: Error): object => ({
  toPostgres: () => {
    throw error;
  },
});

describe('a transaction in one round trip', () => {
  let stage: Stage;
  let database: Database;

  before(async () => {
    stage = await Stage.open('transaction');
    await stage.local.query('create table written (value text)');
    database = openDatabase({
      ...{ side: 'local', connection: stage.connections.local, poolMax: 1, callTimeoutMs: 5_000 },
      applicationName: 'sensorctl test',
    });
  });

  after(async () => {
    await closeDatabase(database);
    await stage.close();
  });

  beforeEach(() => stage.local.query('truncate written'));

  async function failureOf(...statements: Statement[]): Promise<unknown> {
    return await runTransaction(database.pool, statements).then(
      () => expect.fail('it was committed'),
      (error: unknown) => error,
    );
  }

  async function written(): Promise<string[]> {
    const { rows } = await stage.local.query<{ value: string }>('select value from written');
    return rows.map(({ value }) => value);
  }

  it('answers each statement in order, and is committed', async () => {
    const results = await runTransaction(database.pool, [INSERT_1, { text: 'select 7 as seven' }, INSERT_2]);
    expect(results.map(({ rows }) => rows)).to.deep.equal([[], [{ seven: 7 }], []]);
    expect(await written()).to.deep.equal(['first', 'second']);
  });

  it('is committed by none of its parts where the server refuses one', async () => {
    expect(sqlstateOf(await failureOf(INSERT_1, { text: 'select 1 / 0' }, INSERT_2))).to.equal('22012');
    expect(await written()).to.deep.equal([]);
  });

  for (const error of [new RangeError('Invalid string length'), new Error('circular'), new TypeError('no text')]) {
    it(`is committed by none of its parts where a value of one throws: ${String(error)}`, async () => {
      const insert = { text: 'insert into public.written values ($1)', values: [throwing(error)] };
      const failure = await failureOf(INSERT_1, insert, INSERT_2);
      expect(failure).to.have.property('message').that.includes(error.message);
      expect(faultKind(failure)).to.equal('rejected');
      expect(await written()).to.deep.equal([]);
    });
  }

  it('is committed by none of its parts where pg itself refuses to send one', async () => {
    const named = { ...INSERT_1, name: 'one name' };
    const sameName = { text: 'select 1', name: 'one name' };
    expect(await failureOf(named, sameName, INSERT_2)).to.match(/must be unique/);
    expect(await written()).to.deep.equal([]);
  });

  it('leaves the connection as good as before', async () => {
    await failureOf(INSERT_1, { text: 'select $1', values: [throwing(new Error('x'))] });
    await runTransaction(database.pool, [INSERT_2]);
    expect(await written()).to.deep.equal(['second']);
  });
});
