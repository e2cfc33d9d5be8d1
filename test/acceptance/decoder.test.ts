import { writeFile } from 'node:fs/promises';
import { expect } from 'chai';
import type pg from 'pg';
import { createRandom } from '../../src/lib/domain/random.js';
import { Stage } from '../support/cli.js';
import { documentedDecoder, writeDecoder } from '../support/decoders.js';
import { seedOf } from '../support/seed.js';
import { timesOf } from '../support/times.js';

interface Consumed {
  readonly messages: number;
  readonly furtherReadings: number;
  readonly empty: number;
  readonly accepted: number;
  readonly refused: number;
  readonly quarantined: number;
  readonly confirmed: number;
  readonly missed: number;
}

interface Listed {
  readonly records: readonly {
    id: number;
    body: string;
    faults: readonly { reason: string; sqlstate: string | null }[];
  }[];
}

/** Tables that sensorctl never heard of: mixed case, a key of three columns, what local fills by itself. */
const SCHEMA = `
  create schema "Plant A";
  create type "Plant A".mood as enum ('calm', 'wild');
  create table "Plant A"."Stations" (
    "Name" text primary key, "Seen" timestamptz, kind "Plant A".mood, lat float8, lng float8, note text default 'ours');
  create table "Plant A"."Flow" (
    "Station" text references "Plant A"."Stations", at timestamptz, channel bigint, vals numeric(6,2)[], extra jsonb,
    raw bytea, mood "Plant A".mood, id bigint generated always as identity, made timestamptz default clock_timestamp(),
    twice bigint generated always as (channel * 2) stored, primary key ("Station", at, channel))`;

const DECODER = `
export default {
  decode(body) {
    const { station, at, channels, place, mood, table = 'Plant A.Flow' } = JSON.parse(body);
    if (station === 'nothing') return [];
    if (station === 'promise') return Promise.resolve([]);
    if (station === 'async') return (async () => { throw new Error('later'); })();
    if (station === 'timer') setTimeout(() => { throw new Error('from a timer'); }, 1);
    if (station === 'rejection') void Promise.reject('a text');
    if (station === 'prints') console.log('looked at\\n', body);
    if (station === 'rubbish') return { rows: 5 };
    if (station === 'slow') for (;;);
    return channels.flatMap((channel, unit) => [
      { table, values: { Station: station, at, channel: BigInt(channel), vals: [1.255, null, 3], extra: { channel },
          raw: Uint8Array.of(0, 255), mood }, unit },
      { table: 'Plant A.Stations', values: { Name: station, Seen: at, kind: mood, ...place }, unit,
          write: { newestBy: 'Seen', parts: [['lat', 'lng']] } },
    ]);
  },
};`;

const STATIONS = ['north', 'south', 'East "1"', "w'est"];

function bodiesOf(count: number, random: () => number): string[] {
  const pick = (most: number): number => Math.floor(random() * most);
  return Array.from({ length: count }, () =>
    JSON.stringify({
      station: STATIONS[pick(STATIONS.length)],
      at: new Date(Date.UTC(2025, 6, 1) + pick(400) * 1000).toISOString(),
      channels: Array.from({ length: 1 + pick(3) }, () => `90071992547409${String(93 + pick(4))}`),
      mood: random() < 0.5 ? 'calm' : 'wild',
      ...(random() < 0.4 && { place: { lat: pick(5), lng: pick(5) } }),
    }),
  );
}

describe('acceptance: a decoder for tables of any shape', function () {
  this.timeout(120_000);
  let stage: Stage;
  let decoder: string;

  before(async () => {
    stage = await Stage.open('any tables');
    await stage.runJson(['init']);
    for (const pool of [stage.local, stage.ec2]) await pool.query(SCHEMA);
    decoder = await writeDecoder(DECODER);
  });

  after(() => stage.close());

  async function consume(...flags: string[]): Promise<Consumed> {
    return await stage.runJson<Consumed>(['consume', '--dual-write', '--drain', '--decoder', decoder, ...flags]);
  }

  async function rowsOf(pool: pg.Pool, table: string): Promise<string[]> {
    const { rows } = await pool.query<{ row: string }>(
      `select stored::text as row from "Plant A"."${table}" as stored`,
    );
    return rows.map(({ row }) => row).sort();
  }

  async function expectAlike(): Promise<number> {
    for (const table of ['Stations', 'Flow']) {
      expect(await rowsOf(stage.ec2, table), table).to.deep.equal(await rowsOf(stage.local, table));
    }
    const { rows } = await stage.local.query('select from sensorctl.ledger');
    expect(rows, 'the ledger').to.deep.equal([]);
    return (await rowsOf(stage.local, 'Flow')).length;
  }

  it('is held alike by both sides, with what local fills by itself, and changes nothing the second time', async () => {
    const bodies = bodiesOf(300, createRandom(seedOf(19)));
    const readings = bodies.reduce(
      (sum, body) => sum + (JSON.parse(body) as { channels: string[] }).channels.length,
      0,
    );
    await stage.send(bodies);
    const first = await consume();
    expect(first).to.include({ messages: 300, furtherReadings: readings - 300, quarantined: 0, empty: 0, missed: 0 });
    expect(first.accepted + first.refused).to.equal(readings);
    expect(await expectAlike()).to.equal(first.accepted);
    expect(first.confirmed).to.equal(first.accepted);
    const stations = await rowsOf(stage.local, 'Stations');
    await stage.send(bodies);
    expect(await consume()).to.include({ accepted: 0, refused: readings, quarantined: 0 });
    expect(await expectAlike()).to.equal(first.accepted);
    expect(await rowsOf(stage.local, 'Stations')).to.deep.equal(stations);
  });

  it('keeps the newest of a parent, and the newest place that was given, in whatever order they come', async () => {
    const at = (second: number): string => `2026-01-01T00:00:0${second}Z`;
    const message = (second: number, mood: string, place?: object): string =>
      JSON.stringify({ station: 'kept', at: at(second), channels: [1], mood, place });
    await stage.send([
      message(9, 'calm'),
      message(5, 'wild', { lat: 5, lng: 5 }),
      message(1, 'wild', { lat: 1, lng: 1 }),
      message(3, 'wild', { lat: 3, lng: null }),
    ]);
    await consume();
    await expectAlike();
    const { rows } = await stage.ec2.query(
      `select kind, lat, lng, note from "Plant A"."Stations" where "Name" = 'kept'`,
    );
    expect(rows).to.deep.equal([{ kind: 'calm', lat: 5, lng: 5, note: 'ours' }]);
  });

  it('quarantines what it cannot make, and what no table takes, and goes on', async () => {
    const good = { at: '2026-02-01T00:00:00Z', channels: [7], mood: 'calm' };
    const bad: Readonly<Record<string, [body: object, reason: RegExp]>> = {
      throws: [{ station: 'throws' }, /the decoder failed: it threw TypeError/],
      promise: [{ station: 'promise' }, /it answered a Promise/],
      async: [{ station: 'async' }, /it answered a Promise/],
      rubbish: [{ station: 'rubbish' }, /it answered a value of type object, not a list of rows/],
      slow: [{ station: 'slow' }, /it took more than 300 ms/],
      table: [{ station: 't', ...good, table: 'Plant A.Flows' }, /there is no table Plant A\.Flows/],
      column: [{ station: 'c', ...good, table: 'Plant A.Stations' }, /has no column Station/],
      key: [{ station: null, ...good }, /has no Station/],
      type: [{ station: 'y', ...good, at: 'soon' }, /22007/],
      enum: [{ station: 'e', ...good, mood: 'odd' }, /22P02/],
    };
    const open = async (): Promise<Listed['records']> => (await stage.runJson<Listed>(['quarantine', 'list'])).records;
    const sound = ['s1', 's2'].map((station) => JSON.stringify({ station, ...good }));
    await stage.send([...Object.values(bad).map(([body]) => JSON.stringify(body)), ...sound, '{"station":"nothing"}']);
    const { stdout, stderr, code } = await stage.run(
      ['consume', '--dual-write', '--drain', '--json', '--decoder', decoder],
      timesOf({ decodeMs: 300 }),
    );
    expect(code, stderr).to.equal(0);
    const account = JSON.parse(stdout) as Consumed;
    const faults = Object.keys(bad).length;
    expect(account).to.include({
      messages: faults + 3,
      accepted: 2,
      quarantined: faults,
      empty: 1,
      furtherReadings: 0,
    });
    expect(stderr).to.match(/the decoder fails; these messages are in the quarantine.*failed=\d/);
    const records = await open();
    for (const [kind, [body, reason]] of Object.entries(bad)) {
      const record = records.find((each) => each.body === JSON.stringify(body));
      expect(record?.faults.map((fault) => `${fault.sqlstate ?? ''} ${fault.reason}`).join(), kind).to.match(reason);
    }
    await expectAlike();
  });

  it('goes on where it throws after it had answered, and keeps what it prints from the result', async () => {
    const good = { at: '2026-02-02T00:00:00Z', channels: [7], mood: 'calm' };
    const stations = ['timer', 'rejection', 'prints', 's3'];
    await stage.send(stations.map((station) => JSON.stringify({ station, ...good })));
    const { stdout, stderr, code } = await stage.run([
      'consume',
      '--dual-write',
      '--drain',
      '--json',
      '--decoder',
      decoder,
      '--batch-linger',
      '1000',
    ]);
    expect(code, stderr).to.equal(0);
    expect(JSON.parse(stdout)).to.include({ messages: 4, accepted: 4, quarantined: 0 });
    expect(stderr).to.match(/the decoder threw after it had answered; that changes no message errors=1/);
    expect(stderr).to.match(/^decoder: looked at.*prints/m);
    await expectAlike();
  });

  it('that declares its tables holds up no message for one that names other columns, though it comes first', async () => {
    const declared = await writeDecoder(`
      export default {
        decode: (body) => [{ table: 'Plant A.Stations', values: JSON.parse(body), write: { newestBy: 'Seen' } }],
        tables: { 'Plant A.Stations': { columns: { Name: 'text', Seen: 'timestamptz', note: 'text' }, key: ['Name'],
          write: { newestBy: 'Seen' } } },
      };`);
    const sound = { Name: 'declared', Seen: '2026-03-01T00:00:00Z', note: 'sound' };
    await stage.send(
      [{ ...sound, note: undefined }, { ...sound, Seen: undefined }, sound].map((row) => JSON.stringify(row)),
    );
    const account = await stage.runJson<Consumed>([
      'consume',
      '--dual-write',
      '--drain',
      '--pollers',
      '1',
      '--decoder',
      declared,
    ]);
    expect(account).to.include({ messages: 3, accepted: 1, quarantined: 2 });
    const { rows } = await stage.ec2.query(`select note from "Plant A"."Stations" where "Name" = 'declared'`);
    expect(rows).to.deep.equal([{ note: 'sound' }]);
  });

  it('counts each reading of a unit that local refuses, so that its sums are right', async () => {
    const body = { station: 'units', at: '2026-03-02T00:00:00Z', mood: 'calm' };
    const all = await writeDecoder(`${DECODER.replace('export default', 'const one =')};
      export default { atomic: true, decode: one.decode };`);
    await stage.send([
      JSON.stringify({ ...body, channels: ['1', '2', '3'], mood: 'odd' }),
      JSON.stringify({ ...body, channels: ['4', '5'] }),
    ]);
    const account = await stage.runJson<Consumed>(['consume', '--dual-write', '--drain', '--decoder', all]);
    expect(account).to.include({ messages: 2, furtherReadings: 3, accepted: 2, refused: 0, quarantined: 3, empty: 0 });
    await expectAlike();
  });

  it('of today is what retries: a message that could not be decoded is stored after all', async () => {
    const body = JSON.stringify({ id: 'later', station: 'throws' });
    await stage.send([body]);
    await consume();
    const { records } = await stage.runJson<Listed>(['quarantine', 'list']);
    const { id } = records.find((record) => record.body === body)!;
    const mended = await writeDecoder(
      "export default { decode: () => [{ table: 'Plant A.Stations', values: { Name: 'mended', Seen: null } }] };",
    );
    expect(
      await stage.runJson(['quarantine', 'retry', `local:${id}`, '--decoder', mended], { ENABLE_DUAL_WRITE: 'true' }),
    ).to.deep.equal({ stored: 1, failed: [] });
    const { rowCount } = await stage.ec2.query(`select from "Plant A"."Stations" where "Name" = 'mended'`);
    expect(rowCount).to.equal(1);
  });

  it('has nothing to do with a row of a table: it goes back into its table, or another, where its key is not there', async () => {
    const keep = async (body: object): Promise<number> => {
      const faults = [{ reason: 'replaced', sqlstate: null, table: 'Plant A.Stations', sensorId: null, time: null }];
      const { rows } = await stage.local.query<{ id: number }>(
        `insert into sensorctl.quarantine (digest, side, body, faults)
         values (sha256(convert_to($1, 'UTF8')), 'local', $1, $2) returning quarantine_id::int as id`,
        [JSON.stringify(body), JSON.stringify(faults)],
      );
      return rows[0]!.id;
    };
    const retry = (id: number, ...flags: string[]) =>
      stage.run(['quarantine', 'retry', `local:${id}`, '--json', ...flags], { ENABLE_DUAL_WRITE: 'true' });
    const back = await keep({ Name: 'back', Seen: '2025-07-01T00:00:00+00:00', kind: 'wild', lat: 0.1, note: null });
    expect(JSON.parse((await retry(back)).stdout)).to.deep.equal({ stored: 1, failed: [] });
    for (const pool of [stage.local, stage.ec2]) {
      const { rows } = await pool.query(`select kind, lat, note from "Plant A"."Stations" where "Name" = 'back'`);
      expect(rows).to.deep.equal([{ kind: 'wild', lat: 0.1, note: null }]);
    }
    const again = await retry(await keep({ Name: 'back', kind: 'calm' }));
    expect([again.code, again.stdout]).to.satisfy(
      ([code, out]: [number, string]) => code === 1 && out.includes('holds a row with its key'),
    );
    for (const pool of [stage.local, stage.ec2])
      await pool.query('create table "Plant A".other (like "Plant A"."Stations" including all)');
    const moved = await retry(await keep({ Name: 'back', kind: 'wild' }), '--table', 'Plant A.other');
    expect(moved.code, moved.stdout).to.equal(0);
    expect((await stage.ec2.query('select from "Plant A".other')).rowCount).to.equal(1);
  });

  it("is held against local's tables by decode --check, which writes nothing", async () => {
    const good = { station: 'checked', at: '2026-03-01T00:00:00Z', channels: [7], mood: 'calm' };
    const lines = [good, { ...good, mood: 'odd' }, { ...good, table: 'Plant A.Flows' }, { ...good, station: null }];
    const file = await writeDecoder(lines.map((line) => JSON.stringify(line)).join('\n'), 'telemetry.jsonl');
    const { stdout, code } = await stage.run(['decode', file, '--decoder', decoder, '--check', '--json']);
    expect(code).to.equal(1);
    const { lines: found, ...counts } = JSON.parse(stdout) as { lines: { faults: { reason: string }[] }[] };
    expect(counts).to.include({ messages: 4, sound: 1, faulty: 3, empty: 0, differing: 0 });
    expect(found.map(({ faults }) => faults.map(({ reason }) => reason).join())).to.satisfy(
      ([sound, odd, unknown, keyless]: string[]) =>
        sound === '' && odd!.includes('22P02') && unknown!.includes('there is no table') && keyless!.includes('has no'),
    );
    const { rowCount } = await stage.local.query(`select from "Plant A"."Stations" where "Name" = 'checked'`);
    expect(rowCount).to.equal(0);
  });

  it('goes on with what it loaded where its file changes, and says so', async () => {
    const file = await writeDecoder('export default { decode: () => [] };');
    const running = await stage.start(['consume', '--no-dual-write', '--decoder', file], timesOf({ heartbeatMs: 200 }));
    await running.printed('is the primary');
    await writeFile(file, 'this is no module');
    await running.printed('the file of the decoder has changed');
    running.kill('SIGTERM');
    expect((await running.wait()).code).to.equal(0);
  });

  for (const [title, text, says] of [
    ['is not there', null, /cannot be read: no such file/],
    ['is no module', 'export default {', /does not load: SyntaxError/],
    ['decodes nothing', 'export default {};', /has no default export with a function `decode`/],
    [
      'names no table that is there',
      declare("{ 'Plant A.Gone': { columns: { a: 'text' } } }"),
      /Plant A.Gone on local does not exist/,
    ],
    ['names an unknown column', declare("{ 'Plant A.Flow': { columns: { Stat: 'text' } } }"), /has no column Stat/],
    [
      'leaves the key out',
      declare("{ 'Plant A.Flow': { columns: { Station: 'text' } } }"),
      /has no unique key of the columns/,
    ],
    [
      'has values that a type does not take',
      declare("{ 'Plant A.Flow': { columns: { Station: 'text', at: 'timestamptz', channel: 'text' } } }"),
      /has the column channel as bigint, where the decoder writes text/,
    ],
  ] as const) {
    it(`that ${title} starts no consumer: exit code 2, one clear error`, async () => {
      const file = text === null ? '/nowhere/decoder.mjs' : await writeDecoder(text);
      const { code, stderr } = await stage.run(['consume', '--decoder', file, '--drain']);
      expect(stderr).to.match(says);
      expect(code).to.equal(2);
      expect(stderr.match(/^Error: /gm)).to.have.length(1);
    });
  }
});

function declare(tables: string): string {
  return `export default { decode: () => [], tables: ${tables} };`;
}

describe('acceptance: the decoders of docs/telemetry.md', function () {
  this.timeout(60_000);
  let stage: Stage;

  before(async () => {
    stage = await Stage.open('documented decoders');
    await stage.runJson(['init']);
    for (const pool of [stage.local, stage.ec2]) {
      await pool.query(`create schema weather; create table weather.stations (name text primary key, seen timestamptz);
        create table weather.wind (station text references weather.stations, at timestamptz, speed_ms numeric, gusts numeric[],
          primary key (station, at));
        create table sensor_location_history (sensor_id varchar(255) not null, time timestamp not null,
          location_lat double precision not null, location_lng double precision not null, accuracy numeric(5,2),
          reason varchar(255), unique (sensor_id, time))`);
    }
  });

  after(() => stage.close());

  async function consumeBy(example: string, bodies: readonly object[]): Promise<Consumed> {
    await stage.send(bodies.map((body) => JSON.stringify(body)));
    const decoder = await writeDecoder(documentedDecoder(example));
    return await stage.runJson<Consumed>(['consume', '--dual-write', '--drain'], { TELEMETRY_DECODER: decoder });
  }

  async function valuesOf(sql: string): Promise<unknown[][]> {
    const [local, ec2] = await Promise.all(
      [stage.local, stage.ec2].map((pool) => pool.query({ text: sql, rowMode: 'array' })),
    );
    expect(ec2!.rows).to.deep.equal(local!.rows);
    return local!.rows as unknown[][];
  }

  it('from nothing', async () => {
    const wind = { station: 'hill', at: '2025-07-01T00:00:00Z', wind: 3.5, gusts: [4, 5.5] };
    expect(await consumeBy('weather', [wind, wind, { at: 'x' }])).to.include({
      accepted: 1,
      refused: 1,
      quarantined: 1,
    });
    expect(await valuesOf('select station, speed_ms::text, gusts::text from weather.wind')).to.deep.equal([
      ['hill', '3.5', '{4,5.5}'],
    ]);
    expect(await valuesOf('select name, seen::text from weather.stations')).to.have.length(1);
  });

  it("that extends the guide's", async () => {
    const message = {
      timestamp: '2025-07-01T00:00:05Z',
      sensorType: 'water-level',
      sensorId: 'AWD-1',
      location: { lat: 14.5, lng: 100.5 },
      data: { level: 12, voltage: 400, RSSI: -60, timestamp: 1751328000123 },
    };
    const placeless = { ...message, sensorId: 'AWD-2', location: undefined };
    const moisture = { ...message, sensorType: 'moisture', sensorId: 'S-1' };
    expect(await consumeBy('extended', [message, placeless, moisture])).to.include({ accepted: 6, furtherReadings: 3 });
    expect(
      await valuesOf("select sensor_id, sensor_type, value ->> 'level' from sensor_readings order by 1"),
    ).to.deep.equal([
      ['AWD-1', 'water-level', '12'],
      ['AWD-2', 'water-level', '12'],
    ]);
    expect(await valuesOf('select sensor_id, location_lat from sensor_location_history')).to.deep.equal([
      ['AWD-1', 14.5],
    ]);
    expect(await valuesOf('select sensor_id from sensor_registry order by 1')).to.deep.equal([
      ['AWD-1'],
      ['AWD-2'],
      ['S-1'],
    ]);
    expect(await consumeBy('extended', [message])).to.include({ accepted: 0, refused: 3 });
  });
});
