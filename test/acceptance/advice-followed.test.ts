// What an operator does who types each `Next:` line and nothing else: it leads to the goal, and never in a circle.
import { expect } from 'chai';
import type pg from 'pg';
import { generateTelemetry } from '../../src/lib/decoders/generate.js';
import { Stage } from '../support/cli.js';

const MOST_STEPS = 12;
const WATER = 'water_level_readings';

describe('advice that is followed', function () {
  this.timeout(120_000);
  let stage: Stage;

  beforeEach(async () => {
    stage = await Stage.open('advice followed');
    await stage.runJson(['init']);
    await stage.send(generateTelemetry({ seed: 20, count: 60, startMicros: (Date.now() - 60_000) * 1000 }));
    await stage.runJson(['cutover', '--phase', '1', '--yes']);
  });

  afterEach(() => stage.close());

  /** The first command of a `Next:` line: up to a comment, or to what else can be done. */
  function nextOf(text: string): string[] {
    const [, line = ''] = /^ *Next: .*?sensorctl (.*)$/m.exec(text) ?? [];
    return line
      .split(/[,;]| {2,}#| or /)[0]!
      .trim()
      .split(' ');
  }

  /** As it is typed by somebody who does not wait for what goes on until it is stopped. */
  function typedAs(command: readonly string[]): string[] {
    const ends: Readonly<Record<string, string>> = { consume: '--drain', monitor: '--once' };
    const flag = ends[command[0] ?? ''];
    return flag === undefined ? [...command] : [...command, flag];
  }

  /** Runs `goal`, and what it advises while the answer is no, each with the advice of its own; answers what was typed. */
  async function reach(goal: readonly string[]): Promise<string[]> {
    const typed: string[] = [];
    const seen = new Set<string>();
    let command: readonly string[] = goal;
    for (let step = 0; step < MOST_STEPS; step += 1) {
      const asked = command.join(' ');
      const { code, stdout, stderr } = await stage.run(typedAs(command));
      typed.push(`${asked}: ${String(code)}`);
      // Where a person would be asked, this one says yes.
      if (code === 2 && stderr.endsWith('Next: give --yes\n')) {
        command = [...command, '--yes'];
        continue;
      }
      expect([0, 1], `${asked}\n${stdout}\n${stderr}`).to.include(code);
      if (command === goal && code === 0) return typed;
      // The same answer to the same command twice: what was done between changed nothing.
      const answer = `${asked} ${stdout.replaceAll(/[\d:.]+/g, '')}`;
      expect(seen.has(answer), `a circle: ${typed.join(', ')}\n${stdout}`).to.equal(false);
      seen.add(answer);
      command = code === 0 ? goal : nextOf(`${stdout}\n${stderr}`);
    }
    throw new Error(`not there after ${MOST_STEPS} steps: ${typed.join(', ')}`);
  }

  const PHASE_2 = ['cutover', '--phase', '2', '--yes'];

  it('leads to phase 2 where nothing was compared yet', async () => {
    await stage.runJson(['consume', '--drain']);
    expect(await reach(PHASE_2)).to.deep.equal([
      ...['cutover --phase 2 --yes: 1', 'compare --all: 0', 'cutover --phase 2 --yes: 0'],
    ]);
  });

  it('leads to phase 2 where EC2 missed readings', async () => {
    await stage.run(['consume', '--drain'], { EC2_DB_PORT: '1', EC2_RETRY_ATTEMPTS: '0' });
    const typed = await reach(PHASE_2);
    expect(typed).to.include('backfill: 0').and.to.include('compare --all: 0');
  });

  it('leads to phase 2 where rows differ, are missing, and are on EC2 alone', async () => {
    await stage.runJson(['consume', '--drain']);
    await stage.ec2.query(`
      update ${WATER} set level_cm = level_cm + 1 where ctid in (select ctid from ${WATER} limit 2);
      delete from ${WATER} where ctid in (select ctid from ${WATER} order by time desc limit 2);
      insert into ${WATER} (time, sensor_id, level_cm) values (now() - interval '30 seconds', 'ONLY-THERE', 1)`);
    const typed = await reach(PHASE_2);
    expect(typed.filter((each) => each.includes('--repair')).length).to.be.greaterThan(0);
    const first = typed.find((each) => each.includes('--repair'));
    expect(first, 'never begins with deleting').not.to.contain('--prune');
  });

  it('leads to phase 2 where rows lie off the axis, which no range holds', async () => {
    await stage.runJson(['consume', '--drain']);
    await stage.local.query(`
      insert into ${WATER} (time, sensor_id, level_cm)
      select unnest(array['9999-12-31', 'infinity', '0044-03-15 BC']::timestamptz[]), sensor_id, 1 from ${WATER} limit 3`);
    expect((await reach(PHASE_2)).filter((each) => each.includes('--repair'))).to.deep.equal([
      `compare --all --table ${WATER} --repair: 0`,
    ]);
  });

  it('leads from an interrupted comparison and an unknown record to an end', async () => {
    await stage.runJson(['consume', '--drain']);
    for (const [args, next] of [
      [
        ['compare', '--window', '1h', '--resume'],
        ['compare', '--window', '1h'],
      ],
      [['quarantine', 'show', 'local:999'], null],
    ] as const) {
      const { stderr, code } = await stage.run([...args]);
      expect(code).to.be.greaterThan(0);
      const advised = next ?? nextOf(stderr);
      expect((await stage.run([...advised])).code, advised.join(' ')).to.equal(0);
    }
  });

  const PHASE_3 = ['cutover', '--phase', '3', '--min-soak', '1s', '--yes'];

  /** By way of phase 2, in which a consumer ran. */
  async function goToPhase3(): Promise<void> {
    await stage.runJson(['consume', '--drain']);
    await reach(PHASE_2);
    await reach(PHASE_3);
  }

  it('leads from phase 2 to phase 3: what the soak lacks is done, and nothing else', async () => {
    await stage.runJson(['consume', '--drain']);
    await reach(PHASE_2);
    const typed = await reach(PHASE_3);
    expect(typed.at(-1)).to.equal(`${PHASE_3.join(' ')}: 0`);
    const between = new Set(typed.filter((each) => !each.startsWith('cutover')));
    expect([...between].filter((each) => each !== 'monitor: 0')).to.have.members([
      'compare --window 1h: 0',
      'consume --dual-write: 0',
    ]);
  });

  it('leads to phase 3 where EC2 missed readings during the soak', async () => {
    await stage.runJson(['consume', '--drain']);
    await reach(PHASE_2);
    await stage.send(generateTelemetry({ seed: 21, count: 20, startMicros: (Date.now() - 60_000) * 1000 }));
    await stage.run(['consume', '--drain'], { EC2_DB_PORT: '1', EC2_RETRY_ATTEMPTS: '0' });
    expect(await reach(PHASE_3)).to.include('backfill: 0');
  });

  it('leads back from phase 3 where another program has written to local since', async () => {
    await goToPhase3();
    await stage.send(generateTelemetry({ seed: 22, count: 20, startMicros: (Date.now() - 60_000) * 1000 }));
    await stage.runJson(['consume', '--drain']);
    await stage.local.query(`insert into ${WATER} (time, sensor_id, level_cm)
      select now() - interval '20 seconds', sensor_id, 1 from sensor_registry limit 1`);
    expect(await reach(['cutover', '--rollback', '--yes'])).to.deep.equal([
      'cutover --rollback --yes: 1',
      'backfill --direction local-to-ec2 --window 1h: 0',
      'cutover --rollback --yes: 0',
    ]);
    expect((await stage.run(['compare', '--all'])).code).to.equal(0);
  });

  it('leads from a comparison in phase 3, in which local lacks what EC2 got, to the way back', async () => {
    await goToPhase3();
    await stage.send(generateTelemetry({ seed: 23, count: 20, startMicros: (Date.now() - 60_000) * 1000 }));
    await stage.runJson(['consume', '--drain']);
    expect(await reach(['compare', '--all'])).to.deep.equal([
      ...['compare --all: 1', 'cutover --rollback: 2', 'cutover --rollback --yes: 0', 'compare --all: 0'],
    ]);
  });

  it('leads to clean removal: what can be settled first, and giving up last', async () => {
    await stage.run(['consume', '--drain'], { EC2_DB_PORT: '1', EC2_RETRY_ATTEMPTS: '0' });
    // What is in the quarantine a person decides: a list leads no further.
    await stage.runJson(['quarantine', 'discard', 'local:1']);
    const typed = await reach(['init', '--remove', '--yes']);
    expect(typed).to.deep.equal([
      'init --remove --yes: 1',
      'backfill: 0',
      'init --remove --yes: 1',
      'init --remove --abandon: 2',
      'init --remove --abandon --yes: 0',
      'init --remove --yes: 0',
    ]);
  });

  it('leads from two sides of which nothing is prepared, and from tables without keys, to a schema that fits', async () => {
    await stage.runJson(['init', '--remove', '--abandon', '--yes']);
    for (const pool of [stage.local, stage.ec2])
      await pool.query(`alter table ${WATER} drop constraint ${(await keyOf(pool)) ?? ''}`);
    await stage.local.query(`insert into ${WATER} select * from ${WATER}`);
    const typed = await reach(['verify-schema']);
    expect(typed.filter((each) => each.includes('--add-keys')).length).to.be.greaterThan(0);
    expect(typed.at(-1)).to.equal('verify-schema: 0');
  });

  async function keyOf(pool: pg.Pool): Promise<string | undefined> {
    const { rows } = await pool.query<{ name: string }>(
      `select conname as name from pg_constraint where conrelid = $1::regclass and contype in ('p', 'u')`,
      [WATER],
    );
    return rows[0]?.name;
  }
});
