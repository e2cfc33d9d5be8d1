// Programs that write one side each, whoever is the primary, and remember what was committed to them.
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { sqlstateOf } from '../../src/lib/db/sqlstate.js';
import { createRandom } from '../../src/lib/domain/random.js';
import type { Side } from '../../src/lib/domain/side.js';
import { trackSides } from '../../src/lib/operations/track.js';
import type { Violations } from '../chaos/invariants.js';
import type { ChaosStage } from '../chaos/stage.js';
import { closeDatabase } from '../../src/lib/db/database.js';

/** Each row says under which record it was written: that of the statement's own transaction. */
const TABLES = `
  create table visit (id text primary key, side text not null, primary_side text not null);
  create table counter (writer text primary key, number int not null)`;

const SESSIONS = [
  { side: 'local', isolation: 'read committed' },
  { side: 'local', isolation: 'repeatable read' },
  { side: 'ec2', isolation: 'read committed' },
  { side: 'ec2', isolation: 'serializable' },
] as const;
const PAUSE_MS = 60;
const RETRY_MS = 100;
const REFUSED = '25006';
/** Who waited while the primary changed tries again; so do programs that met. */
const TOLD_TO_RETRY = ['40001', '40P01', '55P03', '57014'];

type Fate = 'there' | 'gone' | 'unknown';

export class OtherWriters {
  /** By row, what the program was told last; `unknown` where the answer to a commit was lost. */
  readonly #fates = new Map<string, Fate>();
  /** By program, how often its counter went up, at the least and at the most. */
  readonly #counts = new Map<string, { least: number; most: number }>();
  readonly refused: Record<Side, number> = { local: 0, ec2: 0 };
  readonly committed: Record<Side, number> = { local: 0, ec2: 0 };
  #over = new AbortController();
  #running: Promise<unknown> = Promise.resolve();
  #rounds = 0;

  private constructor(
    private readonly stage: ChaosStage,
    private readonly seed: number,
  ) {}

  /** Makes the tables, and tracks them with those of the consumers on both sides. */
  static async open(stage: ChaosStage, seed: number): Promise<OtherWriters> {
    const sides = [stage.openSide('local'), stage.openSide('ec2')];
    for (const { pool } of sides) await pool.query('select 1');
    await Promise.all([stage.local.query(TABLES), stage.ec2.query(TABLES)]);
    await trackSides(sides, { tables: [], dryRun: false });
    await Promise.all(sides.map((side) => closeDatabase(side)));
    return new OtherWriters(stage, seed);
  }

  start(): void {
    this.#over = new AbortController();
    this.#rounds += 1;
    const { signal } = this.#over;
    this.#running = Promise.all(SESSIONS.map((session, index) => this.#write(session, index, signal)));
    this.#running.catch(() => undefined);
  }

  /** Resolves once none has a transaction under way. */
  async pause(): Promise<void> {
    this.#over.abort();
    await this.#running;
  }

  /** What is wrong on the primary; on both sides where the ledger is settled. */
  async audit(primary: Side, isSettled: boolean): Promise<Violations> {
    const sides: Side[] = isSettled ? ['local', 'ec2'] : [primary];
    return (await Promise.all(sides.map((side) => this.#auditSide(side)))).flat();
  }

  async #auditSide(side: Side): Promise<Violations> {
    const pool = this.stage[side];
    const { rows: visits } = await pool.query<{ id: string; side: Side; primary_side: Side }>('select * from visit');
    const { rows: counters } = await pool.query<{ writer: string; number: number }>('select * from counter');
    const there = new Set(visits.map(({ id }) => id));
    const numbers = new Map(counters.map(({ writer, number }) => [writer, number]));
    return [
      ...visits.flatMap((visit) =>
        visit.side === visit.primary_side ? [] : [`written on ${visit.side}, which was not the primary: ${visit.id}`],
      ),
      ...[...this.#fates].flatMap(([id, fate]) =>
        fate !== 'unknown' && there.has(id) !== (fate === 'there')
          ? [`${id} is ${fate === 'there' ? 'not there' : 'there again'} on ${side}`]
          : [],
      ),
      ...[...there].flatMap((id) => (this.#fates.has(id) ? [] : [`nobody has written ${id}`])),
      ...[...this.#counts].flatMap(([writer, { least, most }]) => {
        const number = numbers.get(writer) ?? 0;
        return number < least || number > most
          ? [`${writer} counted to ${least} to ${most}, and ${side} holds ${number}`]
          : [];
      }),
    ];
  }

  async #write({ side, isolation }: (typeof SESSIONS)[number], index: number, signal: AbortSignal): Promise<void> {
    const random = createRandom(this.seed + index + 1_000 * this.#rounds);
    const name = `${side} ${index}`;
    let next = 0;
    while (!signal.aborted) {
      const client = this.stage.newSession('another program', side);
      client.on('error', () => undefined);
      try {
        await client.connect();
        while (!signal.aborted) {
          next += 1;
          await this.#writeOnce(client, { side, isolation, name, id: `${name} ${this.#rounds} ${next}`, random });
          await sleep(random() * 2 * PAUSE_MS, undefined, { signal }).catch(() => undefined);
        }
      } catch {
        // The server is away, or was: a transaction of which nothing was heard counts as unknown already.
        await sleep(RETRY_MS, undefined, { signal }).catch(() => undefined);
      } finally {
        await client.end().catch(() => undefined);
      }
    }
  }

  /** A row that is new, a counter that goes up, and now and then an older row that is deleted: all, or nothing of it. */
  async #writeOnce(
    client: pg.Client,
    {
      side,
      isolation,
      name,
      id,
      random,
    }: { side: Side; isolation: string; name: string; id: string; random: () => number },
  ): Promise<void> {
    const mine = [...this.#fates].filter(([other, fate]) => fate === 'there' && other.startsWith(`${name} `));
    const doomed = random() < 0.3 ? mine[Math.floor(random() * mine.length)]?.[0] : undefined;
    const count = this.#counts.get(name) ?? { least: 0, most: 0 };
    try {
      await client.query(`begin isolation level ${isolation}`);
      const insert = 'insert into visit select $1, $2, primary_side from sensorctl.state';
      await client.query(insert, [id, side]);
      const upsert =
        'insert into counter values ($1, 1) on conflict (writer) do update set number = counter.number + 1';
      await client.query(upsert, [name]);
      if (doomed !== undefined) await client.query('delete from visit where id = $1', [doomed]);
    } catch (error) {
      await this.#rollBack(client, error, side);
      return;
    }
    this.#fates.set(id, 'unknown');
    if (doomed !== undefined) this.#fates.set(doomed, 'unknown');
    this.#counts.set(name, { ...count, most: count.most + 1 });
    try {
      await client.query('commit');
    } catch (error) {
      if (sqlstateOf(error) === undefined || !(error instanceof pg.DatabaseError)) throw error;
      this.#fates.delete(id);
      if (doomed !== undefined) this.#fates.set(doomed, 'there');
      this.#counts.set(name, count);
      await this.#rollBack(client, error, side);
      return;
    }
    this.#fates.set(id, 'there');
    if (doomed !== undefined) this.#fates.set(doomed, 'gone');
    this.#counts.set(name, { least: count.least + 1, most: count.most + 1 });
    this.committed[side] += 1;
  }

  async #rollBack(client: pg.Client, error: unknown, side: Side): Promise<void> {
    const code = sqlstateOf(error) ?? '';
    if (code === REFUSED) this.refused[side] += 1;
    else if (!TOLD_TO_RETRY.includes(code)) throw error;
    await client.query('rollback');
  }
}
