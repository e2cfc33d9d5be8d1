// A whole migration of tables that sensorctl never heard of, written by a decoder of an operator's. What both sides must
// hold is added up here, message by message, without the decoder.
import { expect } from 'chai';
import type pg from 'pg';
import { createRandom } from '../../src/lib/domain/random.js';
import type { BackfillReport } from '../../src/lib/operations/backfill/backfill-report.js';
import type { CutoverReport } from '../../src/lib/operations/cutover/cutover-report.js';
import type { PostgresServer } from '../../src/lib/sandbox/postgres-server.js';
import { eventually, Stage } from '../support/cli.js';
import { writeDecoder } from '../support/decoders.js';
import { seedOf } from '../support/seed.js';
import { startOwnServer } from '../support/servers.js';
import { STALLS_SOON, timesOf } from '../support/times.js';

const SCHEMA = `
  create schema "Plant B";
  create type "Plant B"."Mood" as enum ('calm', 'wild');
  create table "Plant B"."Lines" (
    "Name" text primary key, "Seen" timestamptz not null, "Mood" "Plant B"."Mood", "Shift" jsonb, "Tags" text[], lat float8, lng float8);
  create table "Plant B"."Counts" (
    "Line" text references "Plant B"."Lines", "At" timestamptz, "Channel" bigint, "Values" numeric(8,3)[], "Extra" jsonb,
    raw bytea, primary key ("Line", "At", "Channel"));
  create table "Plant B"."Lots" (
    "Lot" bigint, "Product" uuid, "Part" smallint, "Checks" integer[] not null, note varchar(12),
    primary key ("Lot", "Product", "Part"))`;

const DECODER = `
const SCHEMA = 'Plant B';
export default {
  decode(body) {
    const { line, at, mood, shift, tags, place, counts = [], lot } = JSON.parse(body);
    const parent = { table: SCHEMA + '.Lines', unit: 'line', write: { newestBy: 'Seen', parts: [['lat', 'lng']] },
      values: { Name: line, Seen: at, Mood: mood, Shift: shift, Tags: tags, ...place } };
    const rows = counts.map(([channel, ...values]) => ({ table: SCHEMA + '.Counts', unit: 'line', values: { Line: line, At: at,
      Channel: BigInt(channel), Values: values, Extra: { of: body.length, nested: [channel, null] }, raw: Uint8Array.of(0, values.length) } }));
    const lots = lot === undefined ? [] : [{ table: SCHEMA + '.Lots', values: { Lot: BigInt(lot.id), Product: lot.product, Part: lot.part,
      Checks: lot.checks, note: lot.note } }];
    return rows.length === 0 ? lots : [...rows, parent, ...lots];
  },
};`;

interface Message {
  readonly line: string;
  readonly at: string;
  readonly mood: string;
  readonly shift: { readonly crew: number; readonly 'late "x"': boolean };
  readonly tags: readonly (string | null)[];
  readonly place?: { readonly lat: number; readonly lng: number };
  readonly counts: readonly (readonly [channel: string, ...values: number[]])[];
  readonly lot?: {
    readonly id: string;
    readonly product: string;
    readonly part: number;
    readonly checks: readonly number[];
    readonly note: string;
  };
}

const LINES = ['north', 'South "2"', "w'est", 'ไทย', 'East, {x}'];
const LARGEST_BIGINT = 2n ** 63n - 1n;
const START = Date.UTC(2025, 6, 1);

/** Each with a second of its own in a line, so that what is the newest of it is beyond doubt. Some break a rule of a column. */
function messagesOf(count: number, first: number, random: () => number): Message[] {
  const pick = (most: number): number => Math.floor(random() * most);
  const messages = Array.from({ length: count }, (_, place): Message => {
    const number = first + place;
    return {
      line: LINES[pick(LINES.length)]!,
      at: new Date(START + number * 1000).toISOString(),
      mood: random() < 0.04 ? 'odd' : random() < 0.5 ? 'calm' : 'wild',
      shift: { crew: pick(9), 'late "x"': random() < 0.5 },
      tags: random() < 0.5 ? [] : ['a,b', null, '"{}"', `t${pick(9)}`],
      ...(random() < 0.4 && { place: { lat: pick(90), lng: pick(180) } }),
      counts: Array.from(
        { length: 1 + pick(3) },
        (__, channel) => [`90071992547409${93 + channel}`, pick(9999) / 8, pick(99)] as const,
      ),
      ...(random() < 0.5 && {
        lot: {
          id: `92233720368547${String(pick(random() < 0.1 ? 99_999 : 75_808)).padStart(5, '0')}`,
          product: `00000000-0000-4000-8000-${String(pick(50)).padStart(12, '0')}`,
          part: pick(4),
          checks: [pick(9), -pick(9)],
          note: random() < 0.1 ? 'longer than twelve' : 'n',
        },
      }),
    };
  });
  // In whatever order they come.
  return messages
    .map((message) => ({ message, place: random() }))
    .sort((one, other) => one.place - other.place)
    .map(({ message }) => message);
}

/** What is stored of messages, as this test has it: the first of a key, the newest of a line. */
class Expected {
  readonly counts = new Map<string, string>();
  readonly lots = new Map<string, string>();
  readonly lines = new Map<
    string,
    { at: string; mood: string; crew: number; tags: string; placeAt: string; place: string }
  >();
  readonly quarantined = new Set<string>();

  add(messages: readonly Message[]): void {
    for (const message of messages) {
      const { line, at, mood, shift, tags, place, counts, lot } = message;
      const body = JSON.stringify(message);
      const isRefused = lot !== undefined && (lot.note.length > 12 || BigInt(lot.id) > LARGEST_BIGINT);
      if (isRefused) this.quarantined.add(body);
      else if (lot !== undefined) {
        const key = [lot.id, lot.product, lot.part].join('|');
        if (!this.lots.has(key)) this.lots.set(key, `${key}|{${lot.checks.join()}}|${lot.note}`);
      }
      // The line and its counts stand or fall together, the lot alone.
      if (mood === 'odd') this.quarantined.add(body);
      if (mood === 'odd') continue;
      for (const [channel, ...values] of counts) {
        const texts = values.map((value) => value.toFixed(3));
        const extra = `{"of": ${body.length}, "nested": ["${channel}", null]}`;
        this.counts.set(
          [line, at, channel].join('|'),
          [line, at, channel, `{${texts.join()}}`, extra, `\\x00${String(values.length).padStart(2, '0')}`].join('|'),
        );
      }
      const known = this.lines.get(line) ?? { at: '', mood: '', crew: 0, tags: '', placeAt: '', place: '' };
      const placed =
        place !== undefined && at > known.placeAt ? { placeAt: at, place: `${place.lat}|${place.lng}` } : {};
      const newer = at > known.at ? { at, mood, crew: shift.crew, tags: JSON.stringify(tags) } : {};
      this.lines.set(line, { ...known, ...newer, ...placed });
    }
  }

  get rows(): Record<string, string[]> {
    const lines = [...this.lines].map(([name, { at, mood, crew, tags, place }]) =>
      [name, at, mood, crew, tags, place].join('|'),
    );
    return { Lines: lines.sort(), Counts: [...this.counts.values()].sort(), Lots: [...this.lots.values()].sort() };
  }
}

const INSTANT = `to_char(%s at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;
const READ: Readonly<Record<string, string>> = {
  Lines: `concat_ws('|', "Name", ${INSTANT.replace('%s', '"Seen"')}, "Mood", "Shift" ->> 'crew', replace(to_json("Tags")::text, ', ', ','),
    coalesce(lat || '|' || lng, ''))`,
  Counts: `concat_ws('|', "Line", ${INSTANT.replace('%s', '"At"')}, "Channel", "Values", "Extra", raw)`,
  Lots: `concat_ws('|', "Lot", "Product", "Part", "Checks", note)`,
};

/** What of the wanted rows is missing, and what is there beside them; both in order, so that twins show. */
function difference(rows: readonly string[], wanted: readonly string[]): { missing: string[]; extra: string[] } {
  const counts = new Map<string, number>();
  for (const row of rows) counts.set(row, (counts.get(row) ?? 0) + 1);
  for (const row of wanted) counts.set(row, (counts.get(row) ?? 0) - 1);
  const of = (sign: number): string[] => [...counts].flatMap(([row, count]) => (count * sign > 0 ? [row] : []));
  return { missing: of(-1), extra: of(1) };
}

describe('acceptance: a migration of tables that only a decoder knows', function () {
  this.timeout(180_000);
  this.slow(1_000);
  const seed = seedOf(20250719);
  const random = createRandom(seed);
  const expected = new Expected();
  const bodies: string[] = [];
  let server: PostgresServer;
  let stage: Stage;
  let decoder: string;
  let killed: number | undefined;

  before(async () => {
    server = await startOwnServer({ durable: true });
    stage = await Stage.open('decoder migration', { ec2: server, visibilityTimeoutSeconds: 5 });
    await stage.local.query(SCHEMA);
    decoder = await writeDecoder(DECODER);
  });

  after(() => stage.close());

  async function send(count: number): Promise<void> {
    const messages = messagesOf(count, bodies.length, random);
    expected.add(messages);
    const added = messages.map((message) => JSON.stringify(message));
    bodies.push(...added);
    await stage.send(added);
  }

  const consume = (...flags: string[]): string[] => ['consume', '--decoder', decoder, ...flags];
  const cutover = async (...flags: string[]): Promise<CutoverReport> =>
    await stage.runJson(['cutover', ...flags, '--yes']);

  async function rowsOf(pool: pg.Pool): Promise<Record<string, string[]>> {
    const entries = Object.entries(READ).map(async ([table, sql]) => {
      const { rows } = await pool.query<{ row: string }>(`select ${sql} as row from "Plant B"."${table}"`);
      return [table, rows.map(({ row }) => row).sort()] as const;
    });
    return Object.fromEntries(await Promise.all(entries));
  }

  /** Rows as PostgreSQL prints them whole, so that nothing that the test does not look at differs. */
  async function wholeRows(pool: pg.Pool): Promise<string[]> {
    const tables = Object.keys(READ).map(
      (table) => `select '${table} ' || stored::text as row from "Plant B"."${table}" as stored`,
    );
    return (await pool.query<{ row: string }>(tables.join(' union all '))).rows.map(({ row }) => row).sort();
  }

  async function expectOn(pool: pg.Pool): Promise<void> {
    const rows = await rowsOf(pool);
    for (const [table, wanted] of Object.entries(expected.rows)) {
      expect(difference(rows[table]!, wanted), table).to.deep.equal({ missing: [], extra: [] });
    }
  }

  async function expectBothSides(): Promise<void> {
    await expectOn(stage.local);
    expect(await wholeRows(stage.ec2)).to.deep.equal(await wholeRows(stage.local));
    const { rows } = await stage.local.query<{ body: string }>('select body from sensorctl.quarantine');
    expect(rows.map(({ body }) => body).sort()).to.deep.equal([...expected.quarantined].sort());
  }

  const isQueueEmpty = async (): Promise<boolean> => {
    const { visible, inFlight } = await stage.queue.readState();
    return visible + inFlight === 0;
  };

  it('init brings them to an EC2 that holds nothing, and verify-schema agrees', async () => {
    await stage.runJson(['init', '--yes']);
    await stage.runJson(['verify-schema']);
    expect(await cutover('--phase', '1')).to.include({ phase: 1, changed: true });
  });

  it('a consumer is killed and started again while EC2 is stopped, and every message comes twice: each is accounted for', async () => {
    await send(150);
    const first = await stage.start(
      consume('--heal-rate', '0', '--batch-messages', '10', '--batch-linger', '20'),
      timesOf(STALLS_SOON),
    );
    await eventually('some rows are stored', async () => (await rowsOf(stage.local)).Counts!.length > 20);
    await server.stop();
    first.kill('SIGKILL');
    await first.wait();
    killed = first.pid;
    await send(150);
    await stage.send(bodies);
    const second = await stage.start(consume('--heal-rate', '0'), {
      EC2_WRITE_TIMEOUT: '500',
      EC2_RETRY_ATTEMPTS: '1',
    });
    await eventually('the queue is empty', isQueueEmpty, 40_000);
    second.kill('SIGTERM');
    expect((await second.wait()).code).to.equal(0);
    await expectOn(stage.local);
    await server.start();
    expect((await wholeRows(stage.ec2)).length).to.be.lessThan((await wholeRows(stage.local)).length);
  });

  it('compare finds what EC2 lacks, backfill brings it, compare proves it', async () => {
    const { code, stdout } = await stage.run(['compare', '--all', '--json']);
    expect(code).to.equal(1);
    const { tables } = JSON.parse(stdout) as { tables: { table: string; knownGap: number; unexplained: number }[] };
    const ours = tables.filter(({ table }) => table.startsWith('Plant B.'));
    expect(ours.map(({ table }) => table).sort()).to.deep.equal(['Plant B.Counts', 'Plant B.Lines', 'Plant B.Lots']);
    for (const { table, knownGap, unexplained } of ours) {
      expect(unexplained, table).to.equal(0);
      expect(knownGap, table).to.be.greaterThan(0);
    }
    expect(await stage.runJson<BackfillReport>(['backfill'])).to.include({ remainingGaps: 0 });
    await stage.runJson(['compare', '--all']);
    await expectBothSides();
  });

  it('the phases change to 3 and back while a consumer runs: nothing is lost, nothing is twice', async () => {
    const running = await stage.start(consume());
    await running.printed('is the primary');
    expect(await cutover('--phase', '2')).to.include({ phase: 2, changed: true });
    await send(50);
    await eventually('the queue is empty', isQueueEmpty);
    await stage.runJson(['compare', '--all']);
    // The gate wants five minutes of silence of the one that was killed.
    await stage.local.query(
      "update sensorctl.consumer set lease_until = clock_timestamp() - interval '10 minutes' where pid = $1",
      [killed],
    );
    expect(await cutover('--phase', '3', '--min-soak', '0s')).to.include({ phase: 3, primary: 'ec2', changed: true });
    const kept = await wholeRows(stage.local);
    await send(50);
    await eventually('the queue is empty', isQueueEmpty);
    await expectOn(stage.ec2);
    expect(await wholeRows(stage.local)).to.deep.equal(kept);
    expect(await cutover('--rollback')).to.include({ phase: 2, primary: 'local', changed: true });
    await send(50);
    await eventually('the queue is empty', isQueueEmpty);
    await stage.runJson(['compare', '--all']);
    await expectBothSides();
    running.kill('SIGTERM');
    const { code, stderr } = await running.wait();
    expect(code, stderr).to.equal(0);
  });
});
