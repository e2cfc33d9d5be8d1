import { readFile } from 'node:fs/promises';
import { expect } from 'chai';
import type { ConsumeSummary } from '../../src/lib/operations/consume/consume-summary.js';
import { Stage } from '../support/cli.js';
import { everyHostileKind, hostileMessages, sendHostile } from '../support/hostile.js';

const CONSUME = ['consume', '--dual-write', '--drain'];
const RECEIVED = '2025-07-01T00:00:05.000Z';
const MEASURED = { date: '2025/07/01', time: '00:00:01' };

function water(sensorId: string, data: object = {}, message: object = {}): string {
  const reading = { level: 5, timestamp: 1_751_328_000_123, ...data };
  return JSON.stringify({ timestamp: RECEIVED, sensorType: 'water-level', sensorId, data: reading, ...message });
}

function gateway(sensor: readonly unknown[], data: object = {}): string {
  return JSON.stringify({
    timestamp: RECEIVED,
    sensorType: 'moisture',
    sensorId: 'g',
    data: { gw_id: 'g', sensor, ...data },
  });
}

/** An entry of a gateway message. */
function soil(id: unknown, fields: object = {}): object {
  return { sensor_id: id, sensor_date: MEASURED.date, sensor_utc: MEASURED.time, humid_hi: '40', ...fields };
}

const numbered = <Item>(count: number, make: (place: number) => Item): Item[] =>
  Array.from({ length: count }, (_, place) => make(place));

describe('a hostile message', function () {
  this.timeout(120_000);
  let stage: Stage;

  before(async () => {
    stage = await Stage.open('hostile messages');
    await stage.runJson(['init']);
  });

  after(() => stage.close());

  beforeEach(() => stage.empty());

  async function consumeAll(bodies: readonly string[], ...flags: string[]): Promise<ConsumeSummary> {
    for (const body of bodies) await stage.queue.send([body]);
    return await stage.runJson<ConsumeSummary>([...CONSUME, ...flags]);
  }

  async function keysOn(side: 'local' | 'ec2'): Promise<string[]> {
    const { rows } = await stage[side].query<{ id: string }>(
      `select sensor_id as id from water_level_readings union all select sensor_id from moisture_readings
       union all select sensor_id from sensor_readings order by 1`,
    );
    return rows.map(({ id }) => id);
  }

  async function expectStored(...keys: string[]): Promise<void> {
    for (const side of ['local', 'ec2'] as const)
      expect((await keysOn(side)).toSorted(), side).to.deep.equal(keys.toSorted());
  }

  /** Body, reason of the first fault, and number of faults of each record. */
  async function quarantine(): Promise<{ body: string; reason: string; faults: number }[]> {
    const { rows } = await stage.local.query<{ body: string; reason: string; faults: number }>(
      `select body, reason, jsonb_array_length(faults) + further_faults as faults from sensorctl.quarantine order by 1`,
    );
    return rows;
  }

  const KINDS = [
    [
      'of 40 KB with 20,000 entries that are no objects',
      gateway(new Array(20_000).fill(7)),
      /20000 entries, more than/,
    ],
    [
      'of 101 KB with 3,000 bad entries',
      gateway(numbered(3000, (id) => ({ sensor_id: id, humid_hi: 'x' }))),
      /3000 entries/,
    ],
    [
      'with a gw_id of 100 KB and 6,000 good sensors',
      gateway(
        numbered(6000, (id) => ({ sensor_id: id })),
        { gw_id: 'g'.repeat(100_000) },
      ),
      /gw_id has 100000 characters/,
    ],
    [
      'of the year 2254',
      water('future', { timestamp: null }, { timestamp: '2254-01-01T00:00:00Z' }),
      /more than a day ahead/,
    ],
    ['of a device in the year 2099', water('future', { timestamp: 4_070_908_800_000 }), /more than a day ahead/],
    ['from the latitude 999', water('nowhere', {}, { location: { lat: 999, lng: 100 } }), /no place on earth/],
    ['with an id beyond 2^53', water('big').replace('"big"', '9007199254740993'), /more digits than are held exactly/],
    ['nested 50,000 times', `{"sensorType":"wx","data":${'['.repeat(50_000)}${']'.repeat(50_000)}}`, /nested deeper/],
    ['of a MiB', 'x'.repeat(1024 * 1024), /not JSON/],
  ] as const;

  it('of each kind, between good ones, stands in the quarantine once, its neighbours are stored', async () => {
    const bodies = KINDS.map(([, body]) => body);
    const good = numbered(KINDS.length, (place) => water(`good-${place}`));
    const summary = await consumeAll([
      ...bodies.flatMap((body, place) => [good[place]!, body]),
      gateway([soil('1'), soil('2')]),
    ]);
    await expectStored('g-1', 'g-2', ...good.map((_, place) => `good-${place}`));
    const records = await quarantine();
    for (const [title, body, reason] of KINDS) {
      const [record, second] = records.filter((each) => each.body === body);
      expect(record?.reason, title).to.match(reason);
      expect(second, title).to.equal(undefined);
    }
    expect(records).to.have.length(KINDS.length);
    const { length } = KINDS;
    expect(summary).to.include({
      messages: 2 * length + 1,
      accepted: length + 2,
      quarantinedAnew: length,
      unacknowledged: 0,
    });
    expect((await stage.local.query("select from sensor_registry where last_seen > '2026-01-01'")).rowCount).to.equal(
      0,
    );
  });

  it('with faults of the decoder and of local has one record with all of them, and its good readings are stored', async () => {
    const entries = [
      soil('1'),
      soil('2', { humid_hi: 'x' }),
      7,
      soil('3', { humid_hi: '12345' }),
      soil('4', { humid_hi: '54321' }),
      soil('5'),
    ];
    const body = gateway(entries);
    const summary = await consumeAll([body, water('good-1')]);
    await expectStored('g-1', 'g-5', 'good-1');
    expect((await quarantine()).map((record) => [record.body === body, record.faults])).to.deep.equal([[true, 4]]);
    expect(summary).to.include({ messages: 2, furtherReadings: 5, accepted: 3, quarantined: 4, quarantinedAnew: 1 });
    const { rows } = await stage.local.query<{ ids: unknown }>(
      `select jsonb_agg(fault ->> 'sensorId' order by fault ->> 'sensorId') as ids
       from sensorctl.quarantine, jsonb_array_elements(faults) as fault`,
    );
    expect(rows[0]!.ids).to.deep.equal(['g-2', 'g-3', 'g-4', null]);
  });

  it('is quarantined though a trigger of the operator refuses it with a code that nobody foresaw', async () => {
    await stage.local.query(`
      create function unforeseen() returns trigger language plpgsql as $$ begin
        if new.sensor_id = 'poison' then raise exception 'not this one' using errcode = 'AG001'; end if;
        return new;
      end $$;
      create trigger unforeseen before insert on water_level_readings for each row execute function unforeseen()`);
    try {
      const bodies = [...numbered(20, (place) => water(`good-${place}`)), water('poison')];
      const summary = await consumeAll(bodies);
      await expectStored(...numbered(20, (place) => `good-${place}`));
      expect((await quarantine()).map(({ body, reason }) => [body, reason])).to.deep.equal([
        [water('poison'), 'AG001: not this one'],
      ]);
      expect(summary).to.include({ messages: 21, accepted: 20, quarantined: 1 });
    } finally {
      await stage.local.query('drop trigger unforeseen on water_level_readings; drop function unforeseen');
    }
  });

  it('that meets such a trigger alone, the first of a consumer, blocks no later one', async () => {
    await stage.local.query(`
      create function unforeseen() returns trigger language plpgsql as $$ begin
        if new.sensor_id = 'poison' then raise exception 'not this one' using errcode = '57014'; end if;
        return new;
      end $$;
      create trigger unforeseen before insert on water_level_readings for each row execute function unforeseen()`);
    try {
      await stage.queue.send([water('poison')]);
      const consumer = await stage.start(['consume', '--dual-write', '--drain']);
      await consumer.printed('local write failed');
      await stage.queue.send([water('good-1')]);
      const { code, stderr } = await consumer.wait();
      expect(code, stderr).to.equal(0);
      await expectStored('good-1');
      expect((await quarantine()).map(({ body }) => body)).to.deep.equal([water('poison')]);
    } finally {
      await stage.local.query('drop trigger unforeseen on water_level_readings; drop function unforeseen');
    }
  });

  it('is stored once the primary takes readings again that it refused all for lack of memory, none quarantined', async () => {
    await stage.local.query(`
      create function exhausted() returns trigger language plpgsql as $$ begin
        raise exception 'out of memory' using errcode = '53200';
      end $$;
      create trigger exhausted before insert on water_level_readings for each row execute function exhausted()`);
    await stage.queue.send(numbered(10, (place) => water(`good-${place}`)));
    const consumer = await stage.start(['consume', '--dual-write', '--drain', '--batch-linger', '1000']);
    await consumer.printed('local write failed', 3);
    expect((await stage.queue.readState()).inFlight, 'messages that are not acknowledged').to.equal(10);
    await stage.local.query('drop trigger exhausted on water_level_readings; drop function exhausted');
    const { code, stderr } = await consumer.wait();
    expect(code, stderr).to.equal(0);
    await expectStored(...numbered(10, (place) => `good-${place}`));
    expect(await quarantine()).to.deep.equal([]);
  });

  it('of any kind, among good ones: every good one is on both sides, every bad one in the quarantine, memory bounded', async () => {
    const messages = [...everyHostileKind(1), ...hostileMessages(400, 1)];
    const expected = await sendHostile(stage.queue, messages);
    const consumer = await stage.start(CONSUME, {}, 110_000);
    let peak = 0;
    while (!consumer.hasEnded) {
      const status = await readFile(`/proc/${String(consumer.pid)}/status`, 'utf8').catch(() => '');
      peak = Math.max(peak, Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const { code, stderr } = await consumer.wait();
    expect(code, stderr).to.equal(0);
    expect(await expected.findWrong(stage)).to.deep.equal([]);
    expect(expected.size.quarantined).to.be.greaterThan(100);
    expect(peak, 'MiB at most').to.be.lessThan(600);
  });
});
