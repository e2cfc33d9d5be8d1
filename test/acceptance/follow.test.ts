// `backfill --follow` as an operator runs it, where other programs write and no consumer runs.
import { expect } from 'chai';
import type { FollowedTurn } from '../../src/lib/operations/backfill/follow.js';
import { eventually, Stage, type RunningCli } from '../support/cli.js';
import { TcpProxy } from '../support/proxy.js';

const NOTES = `create table note (id int primary key, word text);
  create table part (id int primary key, note_id int references note on delete cascade on update cascade)`;
const READ = `select coalesce((select string_agg(id || word, ',' order by id) from note), '') || ';'
  || coalesce((select string_agg(id || ':' || note_id, ',' order by id) from part), '') as items`;
/** Nothing of these commands may need a queue. */
const NO_QUEUE = { SQS_QUEUE_URL: '', AWS_ENDPOINT_URL_SQS: '', ENABLE_DUAL_WRITE: '' };

describe('sensorctl backfill --follow', function () {
  this.timeout(90_000);
  let stage: Stage;
  let proxy: TcpProxy;
  const running: RunningCli[] = [];

  beforeEach(async () => {
    stage = await Stage.open('follow');
    const { host, port } = stage.connections.ec2;
    proxy = await TcpProxy.open({ host, port });
    expect((await stage.run(['init'])).code).to.equal(0);
    await Promise.all([stage.local, stage.ec2].map((pool) => pool.query(NOTES)));
    expect((await stage.run(['init', '--track', '--yes', '--table', 'note', '--table', 'part'])).code).to.equal(0);
  });

  afterEach(async () => {
    for (const each of running.splice(0)) await end(each);
    proxy.close();
    await stage.close();
  });

  async function follow(...args: string[]): Promise<RunningCli> {
    const settings = { ...NO_QUEUE, EC2_DB_HOST: proxy.host, EC2_DB_PORT: String(proxy.port) };
    const process = await stage.start(['backfill', '--follow', ...args], settings, 80_000);
    running.push(process);
    await process.printed('repairing what');
    return process;
  }

  async function end(process: RunningCli): Promise<number | null> {
    process.kill('SIGTERM');
    return (await process.wait()).code;
  }

  const items = async (side: 'local' | 'ec2'): Promise<string> =>
    (await stage[side].query<{ items: string }>(READ)).rows[0]!.items;

  async function becomeEqual(): Promise<void> {
    await eventually('both sides are equal and the ledger is empty', async () => {
      const [here, there] = [await items('local'), await items('ec2')];
      const { rowCount } = await stage.local.query('select from sensorctl.ledger');
      return here === there && rowCount === 0;
    });
  }

  const turnsOf = ({ stdout }: RunningCli): FollowedTurn[] =>
    stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as FollowedTurn);

  it('brings inserts, updates, deletes, changed keys and cascades within moments, a line of JSON a turn, and ends with 0', async () => {
    const process = await follow('--json');
    await stage.local.query(
      "insert into note values (1, 'a'), (2, 'b'), (3, 'c'); insert into part values (7, 1), (8, 2)",
    );
    await becomeEqual();
    await stage.local.query(
      "update note set id = 11 where id = 1; delete from note where id = 2; update note set word = 'z'",
    );
    await becomeEqual();
    expect(await items('ec2')).to.equal('3z,11z;7:11');
    expect(await stage.runJson<{ verdict: string }>(['compare', '--all'])).to.include({ verdict: 'identical' });
    expect(await end(process)).to.equal(0);
    const turns = turnsOf(process);
    expect(turns.length).to.be.greaterThan(1);
    for (const turn of turns) {
      expect(turn).to.have.all.keys('target', 'entries', 'copied', 'inserted', 'skipped', 'corrected', 'refused');
      expect(turn.target).to.equal('ec2');
      expect(turn.entries).to.be.greaterThan(0);
    }
    const leases = await stage.local.query('select from sensorctl.healer');
    expect(leases.rowCount, 'a lease is left behind').to.equal(0);
  });

  it('makes what it has yet to bring pending, and a known gap once it is stopped', async () => {
    const process = await follow();
    await stage.local.query("insert into note values (1, 'a')");
    await becomeEqual();
    const holder = await stage.ec2.connect();
    await holder.query('begin; lock table note in share mode');
    await stage.local.query("insert into note values (2, 'b')");
    expect(await stage.runJson<{ verdict: string }>(['compare', '--all', '--settle', '0s'])).to.include({
      verdict: 'identical',
    });
    await holder.query('rollback');
    holder.release();
    await becomeEqual();
    expect(await end(process)).to.equal(0);
    await stage.local.query("insert into note values (3, 'c')");
    const { code, stdout } = await stage.run(['compare', '--all', '--settle', '0s']);
    expect(code).to.equal(1);
    expect(stdout).to.include('note 3: missing on EC2 (known gap)').and.to.include('Next: sensorctl backfill ');
  });

  it('says once that EC2 is away and once that it is back, asks seldom meanwhile, and then brings what came', async () => {
    const process = await follow();
    await stage.local.query("insert into note values (1, 'a')");
    await becomeEqual();
    proxy.refuse();
    for (let id = 2; id < 6; id += 1) await stage.local.query("insert into note values ($1, 'b')", [id]);
    await process.printed('EC2 does not answer');
    // Some tries of it, each after a longer pause.
    await eventually('the entries were passed over', async () => {
      const { rows } = await stage.local.query<{ passed: boolean }>(
        `select bool_and(state = 'missed') as passed from sensorctl.ledger_state`,
      );
      return rows[0]!.passed;
    });
    await proxy.pass();
    await becomeEqual();
    await process.printed('EC2 answers again');
    expect(await end(process)).to.equal(0);
    const lines = process.stderr.split('\n');
    expect(lines.filter((line) => line.includes('does not answer'))).to.have.length(1);
    expect(lines.filter((line) => line.includes('answers again'))).to.have.length(1);
  });

  it('shares the work with a second one and with a consumer: each entry is repaired once', async () => {
    const both = [await follow('--json'), await follow('--json')];
    const consumer = await stage.start(['consume', '--dual-write'], {}, 80_000);
    running.push(consumer);
    await consumer.printed('dual-write');
    for (let part = 0; part < 60; part += 1) {
      await stage.local.query("insert into note select $1::int * 10 + n, 'w' from generate_series(0, 9) as n", [part]);
    }
    await becomeEqual();
    for (const each of both) expect(await end(each)).to.equal(0);
    await end(consumer);
    const healed = [...consumer.stderr.matchAll(/ledger repaired.*entries=(\d+)/g)].map(([, entries]) =>
      Number(entries),
    );
    const sum = [...both.flatMap(turnsOf).map(({ entries }) => entries), ...healed].reduce(
      (one, other) => one + other,
      0,
    );
    expect(sum).to.equal(60);
  });

  it('follows a switch there and back: what programs write to the primary of the time reaches the other side', async () => {
    const process = await follow('--json');
    await stage.local.query("insert into note values (1, 'a')");
    await becomeEqual();
    const forced = ['--yes', '--force', '--reason', 'a test'];
    await stage.runJson(['cutover', '--phase', '1', ...forced]);
    await stage.runJson(['cutover', '--phase', '2', ...forced]);
    await stage.local.query("insert into note values (2, 'b')");
    await stage.runJson(['cutover', '--phase', '3', ...forced]);
    await stage.ec2.query(
      "update note set word = 'x' where id = 1; delete from note where id = 2; insert into note values (3, 'c')",
    );
    await eventually('local holds what EC2 holds', async () => (await items('local')) === '1x,3c;');
    await stage.runJson(['cutover', '--rollback', ...forced]);
    await stage.local.query('update note set id = 30 where id = 3');
    await becomeEqual();
    expect(await items('ec2')).to.equal('1x,30c;');
    expect(await end(process)).to.equal(0);
    expect(new Set(turnsOf(process).map(({ target }) => target))).to.deep.equal(new Set(['ec2', 'local']));
  });

  it('goes with --max-rate alone, and needs a side that was prepared', async () => {
    for (const args of [['--all'], ['--table', 'note'], ['--dry-run'], ['--jobs', '2'], ['--prune', '--yes']]) {
      const { code, stderr } = await stage.run(['backfill', '--follow', ...args], NO_QUEUE);
      expect(code, stderr).to.equal(2);
      expect(stderr).to.include('--follow goes with --max-rate alone');
    }
    await stage.ec2.query('drop schema sensorctl cascade');
    const { code, stderr } = await stage.run(['backfill', '--follow'], NO_QUEUE);
    expect(code).to.equal(3);
    expect(stderr).to.match(/EC2 database was never prepared[^]*Next: sensorctl init/);
  });
});
