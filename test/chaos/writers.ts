// Programs beside the consumers: what they write at random while faults strike, and whether the ledger covers it at each look.
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { closeDatabase, type Database } from '../../src/lib/db/database.js';
import { faultKind } from '../../src/lib/db/sqlstate.js';
import { createRandom } from '../../src/lib/domain/random.js';
import { trackSides } from '../../src/lib/operations/track.js';
import {
  contentOf,
  createWatched,
  isCovered,
  moveChunks,
  readRowsOf,
  runTransactionAtRandom,
  takeSample,
  WATCHED,
  type WatchedTable,
} from '../support/random-writers.js';
import type { Violations } from './invariants.js';
import type { ChaosStage } from './stage.js';

/** What a trigger of the operator keeps of each sensor, in the consumers' own transactions; and a table for bulk statements. */
const MORE_TABLES = `
  create table latest (sensor_id text primary key, level_cm numeric, time timestamptz);
  create table bulk (id int primary key, value int);
  create function keep_latest() returns trigger language plpgsql as $latest$
    begin
      insert into public.latest values (new.sensor_id, new.level_cm, new.time)
      on conflict (sensor_id) do update set level_cm = excluded.level_cm, time = excluded.time
      where latest.time <= excluded.time;
      return null;
    end $latest$;
  create trigger keep_latest after insert on water_level_readings for each row execute function keep_latest()`;

const WRITTEN: readonly WatchedTable[] = [
  ...WATCHED,
  { name: 'latest', from: 'latest', key: ['sensor_id::text'], axis: null },
  { name: 'bulk', from: 'bulk', key: ['id::text'], axis: null },
];

/** A difference is one that several looks, one after the other, find uncovered. */
const LOOKS = 3;
const RETRY_MS = 100;

export interface WritersOptions {
  readonly seed: number;
  readonly sessions: number;
  /** Of the table that is updated as a whole. */
  readonly bulkRows: number;
  /** Mean pause between two transactions of a session, in ms. */
  readonly pauseMs: number;
}

export class Writers {
  transactions = 0;
  looks = 0;
  readonly #random: () => number;

  private constructor(
    private readonly stage: ChaosStage,
    private readonly sides: Readonly<Record<'local' | 'ec2', Database>>,
    private readonly options: WritersOptions,
  ) {
    this.#random = createRandom(options.seed);
  }

  /** Makes the tables on both sides, and tracks them and those of the consumers. */
  static async open(stage: ChaosStage, options: WritersOptions): Promise<Writers> {
    const sides = { local: stage.openSide('local'), ec2: stage.openSide('ec2') };
    const sql = `${stage.timescaleDb ? 'create extension if not exists timescaledb;' : ''}${createWatched(stage.timescaleDb)}`;
    for (const side of ['local', 'ec2'] as const) await stage[side].query(`${sql};${MORE_TABLES}`);
    await trackSides([sides.local, sides.ec2], { tables: [], dryRun: false });
    return new Writers(stage, sides, options);
  }

  /** Several sessions write until the signal aborts; a session that is cut is opened again. */
  async run(signal: AbortSignal): Promise<void> {
    const seeds = Array.from({ length: this.options.sessions }, () => Math.floor(this.#random() * 2 ** 31));
    await Promise.all(seeds.map((seed) => this.#write(createRandom(seed), signal)));
  }

  async #write(random: () => number, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const client = this.stage.newSession('another program');
      client.on('error', () => undefined);
      try {
        await client.connect();
        while (!signal.aborted) {
          await this.#writeOnce(client, random);
          this.transactions += 1;
          await sleep(random() * 2 * this.options.pauseMs, undefined, { signal }).catch(() => undefined);
        }
      } catch (error) {
        if (!isPassed(error)) throw error;
        await sleep(RETRY_MS, undefined, { signal }).catch(() => undefined);
      } finally {
        await client.end().catch(() => undefined);
      }
    }
  }

  async #writeOnce(client: pg.Client, random: () => number): Promise<void> {
    const draw = random();
    const { bulkRows } = this.options;
    if (draw < 0.02) await client.query('update bulk set value = value + 1');
    else if (draw < 0.04) await copyBulk(client, bulkRows, Math.floor(random() * 1_000));
    else if (draw < 0.06) await client.query('delete from bulk where id % 7 = 0');
    else if (draw < 0.1 && this.stage.timescaleDb) await moveChunks(client, random);
    else if (draw < 0.13)
      await client.query(
        `update sensor_registry set metadata = jsonb_build_object('seen', $1::int)
        where sensor_id = (select min(sensor_id) from sensor_registry)`,
        [Math.floor(random() * 1_000)],
      );
    else await runTransactionAtRandom(client, random);
  }

  /** Looks every `everyMs` until the signal aborts; throws where something differs that no entry covers. */
  async watch(everyMs: number, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const violations = await this.look(signal).catch((error: unknown) => {
        if (signal.aborted || isPassed(error)) return [];
        throw error;
      });
      if (violations.length > 0) throw new Error(`promise 15 was broken:\n${violations.slice(0, 20).join('\n')}`);
      await sleep(everyMs, undefined, { signal }).catch(() => undefined);
    }
  }

  /**
   * Rows and ledger of local in one snapshot, EC2 after it. What changed and was repaired in between looks different, too: so
   * only what stays so counts.
   */
  async look(signal: AbortSignal): Promise<Violations> {
    let suspects = await this.#findUncovered();
    for (let left = LOOKS - 1; left > 0 && suspects.length > 0; left -= 1) {
      signal.throwIfAborted();
      const again = new Set(await this.#findUncovered());
      suspects = suspects.filter((key) => again.has(key));
    }
    this.looks += 1;
    return suspects.map((key) => `differs, and is not in the ledger: ${key}`);
  }

  async #findUncovered(): Promise<string[]> {
    const { local, ec2 } = this.sides;
    const client = await this.stage.local.connect();
    let isWhole = false;
    try {
      const here = await takeSample(client, local, WRITTEN);
      isWhole = true;
      const there = await readRowsOf(ec2.pool, WRITTEN);
      const keys = new Set([...here.rows.keys(), ...there.rows.keys()]);
      return [...keys].filter((key) => {
        const place = here.places.get(key) ?? there.places.get(key)!;
        return here.rows.get(key) !== there.rows.get(key) && !isCovered(here, key, place);
      });
    } finally {
      client.release(!isWhole);
    }
  }

  /** By brute force, once nothing is left to do. */
  async account(): Promise<Violations> {
    const [here, there] = [
      await contentOf({ database: this.sides.local }, WRITTEN),
      await contentOf({ database: this.sides.ec2 }, WRITTEN),
    ];
    return WRITTEN.flatMap(({ name }) => {
      const [local, ec2] = [[...(here[name] ?? [])].sort(), [...(there[name] ?? [])].sort()];
      return JSON.stringify(local) === JSON.stringify(ec2)
        ? []
        : [`${name}: ${local.length} rows on local, ${ec2.length} on EC2, not the same`];
    });
  }

  async close(): Promise<void> {
    await Promise.all(Object.values(this.sides).map((side) => closeDatabase(side)));
  }
}

/** A side was away, or two programs met. */
function isPassed(error: unknown): boolean {
  return (
    ['unavailable', 'collision'].includes(faultKind(error)) || /terminated|Connection/i.test((error as Error).message)
  );
}

/** COPY straight into the table; keys that are there make it fail, as any program's. */
async function copyBulk(client: pg.Client, rows: number, from: number): Promise<void> {
  const lines = Array.from({ length: rows }, (_, index) => `${from + index}\t${index}\n`);
  await client.query('begin; truncate bulk');
  await pipeline(Readable.from(lines), client.query(copyFrom('copy bulk from stdin')));
  await client.query('commit');
}
