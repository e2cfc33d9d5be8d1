// The programs besides the consumer that write to the installation's database, each by a session of its own.
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import pg from 'pg';
import type { ConnectionSettings } from '../../src/lib/db/connection.js';
import type { Side } from '../../src/lib/domain/side.js';

interface ProgramPlan {
  readonly name: string;
  /** The statements of one turn, which are one transaction. */
  readonly turn: (turn: number) => string;
  /** What a side holds of all turns, as one text, and what that is after so many of them. */
  readonly kept: string;
  readonly expected: (turns: number) => string;
}

const PAUSE_MS = 250;
const UTC_NOW = `(clock_timestamp() at time zone 'UTC')`;
const sensor = (turn: number): string => `'AWD-${String(1 + (turn % 3)).padStart(4, '0')}'`;
/** Flow is measured at so many places, each half a day before the last: some lie in compressed chunks. */
const FLOWS = 28;
const lastOf = (turns: number, count: number): number[] =>
  Array.from({ length: Math.min(turns, count) }, (_, place) => Math.max(0, turns - count) + place);

const PLANS: readonly ProgramPlan[] = [
  {
    name: 'http server',
    turn: (turn) => `
      insert into public.sensor_registry (sensor_id, sensor_type, last_seen) values (${sensor(turn)}, 'water-level', ${UTC_NOW})
        on conflict (sensor_id) do update set last_seen = excluded.last_seen, updated_at = ${UTC_NOW};
      insert into public.water_level_readings ("time", sensor_id, level_cm, rssi) values (${UTC_NOW}, ${sensor(turn)}, ${turn % 90}, -70);
      insert into public.moisture_readings ("time", sensor_id, moisture_surface_pct) values (${UTC_NOW}, ${sensor(turn)}, ${turn % 90});
      insert into public.sensor_readings ("time", sensor_id, sensor_type, value) values (${UTC_NOW}, ${sensor(turn)}, 'rain', '{"mm": ${turn}}')`,
    kept: `select concat_ws(' of ', count(distinct value ->> 'mm'), count(*)) from public.sensor_readings where value ? 'mm'`,
    expected: (turns) => `${turns} of ${turns}`,
  },
  {
    name: 'routes',
    turn: (turn) => `
      update public.sensor_registry set metadata = coalesce(metadata, '{}') || '{"turn": ${turn}}', is_active = ${turn % 2 === 0}
      where sensor_id = ${sensor(turn)}`,
    kept: `select string_agg(metadata ->> 'turn', ' ' order by (metadata ->> 'turn')::int) from public.sensor_registry where metadata ? 'turn'`,
    expected: (turns) => lastOf(turns, 3).join(' '),
  },
  {
    name: 'zones',
    turn: (turn) => `
      update public.sensor_registry set location_lat = ${turn % 90}, location_lng = 103.2 where sensor_id = ${sensor(turn)};
      insert into public.sensor_location_history (sensor_id, "time", location_lat, location_lng, reason)
        values (${sensor(turn)}, ${UTC_NOW}, ${turn % 90}, 103.2, 'zone')`,
    kept: `select count(*)::text from public.sensor_location_history where reason = 'zone'`,
    expected: String,
  },
  {
    name: 'flow monitoring',
    turn: (turn) => `
      insert into public.flow_measurements ("time", gate_id, section_id, flow_rate_m3s)
        values (date_trunc('day', now()) - ${turn % FLOWS} * interval '12 hours', 'G${turn % FLOWS}', 'S', ${turn})
        on conflict ("time", gate_id, section_id) do update set flow_rate_m3s = excluded.flow_rate_m3s`,
    kept: `select string_agg(flow_rate_m3s::text, ' ' order by flow_rate_m3s) from public.flow_measurements where section_id = 'S'`,
    expected: (turns) => lastOf(turns, FLOWS).join(' '),
  },
  {
    name: 'checks',
    turn: (turn) =>
      turn % 2 === 0
        ? `insert into public.weather_readings ("time", station_id, temperature) values (${UTC_NOW}, 'TEST', ${turn % 40})`
        : `delete from public.weather_readings where station_id = 'TEST' and "time" > ${UTC_NOW} - interval '1 day'`,
    kept: `select count(*)::text from public.weather_readings where station_id = 'TEST'`,
    expected: (turns) => String(turns % 2),
  },
  {
    name: 'older system',
    turn: (turn) => `
      insert into sensor.readings ("time", sensor_id, value, unit) values (clock_timestamp(), ${sensor(turn)}, ${turn}, 'cm');
      insert into sensor.alerts (sensor_id, alert_type, severity, message) values (${sensor(turn)}, 'level', 'low', 'turn ${turn}');
      update sensor.alerts set acknowledged = true, acknowledged_at = now() where message = 'turn ${turn - 1}';
      delete from sensor.alerts where message = 'turn ${turn - 3}'`,
    kept: `select string_agg(message || case when acknowledged then ' seen' else '' end, ', ' order by alert_id)
      from sensor.alerts where message like 'turn %'`,
    expected: (turns) =>
      lastOf(turns, 3)
        .map((turn) => `turn ${turn}${turn < turns - 1 ? ' seen' : ''}`)
        .join(', '),
  },
];

/** The side is not the primary. */
const REFUSED = '25006';
/** The primary changed meanwhile, or programs have met in a deadlock. */
const TRY_AGAIN: readonly (string | undefined)[] = ['40001', '40P01'];

/** Writes to the side at which it is pointed, turn after turn, and goes by what the server tells it. */
class Program {
  /** Turns that were committed. */
  written = 0;
  readonly refusals: string[] = [];
  readonly faults: string[] = [];
  #to: Side = 'local';

  constructor(
    readonly plan: ProgramPlan,
    private readonly connections: Readonly<Record<Side, ConnectionSettings>>,
  ) {}

  point(to: Side): void {
    this.#to = to;
  }

  async run(stop: AbortSignal): Promise<void> {
    while (!stop.aborted) await this.#writeTo(this.#to, stop);
  }

  async #writeTo(side: Side, stop: AbortSignal): Promise<void> {
    const session = await this.#connect(side);
    while (this.#to === side && !stop.aborted) {
      await this.#write(session);
      await delay(PAUSE_MS);
    }
    await session.end();
  }

  async #connect(side: Side): Promise<pg.Client> {
    const { host, port, user, password, database } = this.connections[side];
    const session = new pg.Client({ host, port, user, password, database, application_name: this.plan.name });
    await session.connect();
    return session;
  }

  async #write(session: pg.Client): Promise<void> {
    try {
      await session.query(this.plan.turn(this.written));
      this.written += 1;
    } catch (error) {
      const { code, message } = error as pg.DatabaseError;
      if (code === REFUSED) this.refusals.push(message);
      else if (!TRY_AGAIN.includes(code)) this.faults.push(`${this.plan.name}: ${String(code)} ${message}`);
    }
  }
}

/** All of them, from `start` to `stop`. */
export class Programs {
  readonly #all: readonly Program[];
  readonly #stop = new AbortController();
  #running: Promise<unknown> = Promise.resolve();

  constructor(connections: Readonly<Record<Side, ConnectionSettings>>) {
    this.#all = PLANS.map((plan) => new Program(plan, connections));
  }

  start(): void {
    this.#running = Promise.all(this.#all.map((program) => program.run(this.#stop.signal)));
  }

  point(to: Side): void {
    for (const program of this.#all) program.point(to);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** What the servers said besides refusing; by program. */
  get faults(): string[] {
    return this.#all.flatMap(({ faults }) => faults);
  }

  get refusals(): string[] {
    return this.#all.flatMap(({ refusals }) => refusals);
  }

  get eachWasRefused(): boolean {
    return this.#all.every(({ refusals }) => refusals.length > 0);
  }

  /** How many turns the slowest has committed. */
  get leastWritten(): number {
    return Math.min(...this.#all.map(({ written }) => written));
  }

  /** While none writes: the side holds what every program was told is committed, and nothing that one deleted. */
  async expectKept(pool: pg.Pool): Promise<void> {
    for (const { plan, written } of this.#all) {
      const { rows } = await pool.query<[string]>({ text: plan.kept, rowMode: 'array' });
      expect(rows[0]?.[0], plan.name).to.equal(plan.expected(written));
    }
  }
}
