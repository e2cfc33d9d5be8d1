// What an operator does who types each `Next:` line and nothing else: it leads to the goal, and never in a circle.
import { expect } from 'chai';
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

  /** The command of a `Next:` line: up to a comment, or to what else can be done. */
  function nextOf(text: string): string[] {
    const [, line = ''] = /^Next: sensorctl (.*)$/m.exec(text) ?? [];
    return line
      .split(/,| {2,}#| or /)[0]!
      .trim()
      .split(' ');
  }

  /** Runs `goal`, and what it advises while the answer is no, each with the advice of its own; answers what was typed. */
  async function reach(goal: readonly string[]): Promise<string[]> {
    const typed: string[] = [];
    const seen = new Set<string>();
    let command: readonly string[] = goal;
    for (let step = 0; step < MOST_STEPS; step += 1) {
      const asked = command.join(' ');
      const drained = command[0] === 'consume' ? [...command, '--drain'] : command;
      const { code, stdout, stderr } = await stage.run(drained);
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
});
