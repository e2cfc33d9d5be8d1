import { expect } from 'chai';
import type { ConsumeSummary } from '../../src/lib/operations/consume/consume-summary.js';
import { Stage, timescaleServers } from '../support/cli.js';
import { timesOf } from '../support/times.js';

const DAY_MS = 86_400_000;
const NEWEST_MS = Date.UTC(2025, 5, 1);
const GATEWAYS = 4;
const ENTRIES = 250;
/** Each in a chunk of its own. */
const APART_MS = 8 * DAY_MS;
/** For all chunks in one statement too short, for a few of them enough: a row takes some ms, on any machine. */
const SLOW_ROWS = `
  create function public.slow() returns trigger language plpgsql as 'begin perform pg_sleep(0.003); return new; end';
  create trigger slow before insert on public.moisture_readings for each row execute function public.slow()`;
const TIMES = timesOf({ primaryCallMs: 1_500 });

/** Entries of a gateway, eight days from each other and from those of all other gateways. */
function gateway(number: number): string {
  const sensor = Array.from({ length: ENTRIES }, (_, place) => {
    const text = new Date(NEWEST_MS - (number * ENTRIES + place) * APART_MS).toISOString();
    return {
      sensor_id: String(place),
      humid_hi: '40',
      sensor_date: text.slice(0, 10).replaceAll('-', '/'),
      sensor_utc: '00:00:00',
    };
  });
  return JSON.stringify({
    ...{ timestamp: '2025-07-01T00:00:05Z', sensorType: 'moisture', sensorId: 'any' },
    data: { gw_id: `G${number}`, sensor },
  });
}

function neighbour(number: number): string {
  return JSON.stringify({
    ...{ timestamp: '2025-07-01T00:00:05Z', sensorType: 'water-level', sensorId: `W${number}` },
    data: { level: number, timestamp: 1_751_328_000_000 },
  });
}

describe('acceptance: gateway messages whose entries need a chunk each', function () {
  this.timeout(180_000);
  let stage: Stage | undefined;

  before(async function () {
    stage = await Stage.open('many chunks', await timescaleServers(this));
    await stage.runJson(['init']);
    await stage.local.query(SLOW_ROWS);
  });

  after(async () => {
    await stage?.close();
  });

  it('are stored in the end, their neighbours too, though one statement cannot create all chunks in time', async () => {
    const { local, queue } = stage!;
    const messages = Array.from({ length: GATEWAYS }, (_, number) => [gateway(number), neighbour(number)]).flat();
    await queue.send(messages);
    const consumer = await stage!.start(
      ['consume', '--dual-write', '--max-messages', String(messages.length), '--batch-linger', '2000', '--json'],
      TIMES,
      150_000,
    );
    const { code, stdout, stderr } = await consumer.wait();
    expect(code, stderr).to.equal(0);
    const expected = Array.from({ length: GATEWAYS * ENTRIES }, (_, place) => {
      const time = new Date(NEWEST_MS - place * APART_MS).toISOString().slice(0, 10);
      return `G${Math.floor(place / ENTRIES)}-${place % ENTRIES} ${time}`;
    });
    const { rows } = await local.query<{ row: string; written: string }>(
      `select sensor_id || ' ' || to_char(time, 'YYYY-MM-DD') as row, xmin::text as written from moisture_readings`,
    );
    expect(rows.map(({ row }) => row).sort()).to.deep.equal(expected.sort());
    const levels = await local.query<{ id: string }>('select sensor_id as id from water_level_readings order by 1');
    expect(levels.rows.map(({ id }) => id)).to.deep.equal(['W0', 'W1', 'W2', 'W3']);
    expect((await local.query('select from sensorctl.quarantine')).rowCount).to.equal(0);
    expect(JSON.parse(stdout) as ConsumeSummary).to.include({
      ...{ messages: messages.length, accepted: GATEWAYS * (ENTRIES + 1), quarantined: 0, unacknowledged: 0 },
    });
    const parts = new Set(rows.map(({ written }) => written)).size;
    expect(parts, 'transactions: had there been time enough, it would be one or two').to.be.greaterThan(2);
    expect(await stage!.findUncoveredGaps()).to.deep.equal([]);
    const { visible, inFlight } = await queue.readState();
    expect(visible + inFlight).to.equal(0);
  });
});
