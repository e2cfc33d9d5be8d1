// Mutated messages through a real consumer, and the account of each: stored or quarantined, alike on both sides.
import { createHash } from 'node:crypto';
import type pg from 'pg';
import { generateTelemetry } from '../../src/lib/decoders/generate.js';
import { createGuideDecoder } from '../../src/lib/decoders/guide.js';
import { createRandom } from '../../src/lib/domain/random.js';
import { quoteIdentifier } from '../../src/lib/db/identifiers.js';
import type { ConsumeSummary } from '../../src/lib/operations/consume/consume-summary.js';
import { describeCodes } from '../../src/lib/queue/queue.js';
import { eventually, TABLES, type Stage } from './cli.js';
import { writeDecoder } from './decoders.js';
import { hostileMessages, type HostileMessage } from './hostile.js';
import { asSendable, mutate } from './mutate.js';
import { randomShapes, shapedMessages, type Shapes } from './random-shapes.js';

/** What is sent, and what a message that is not in the quarantine must have left in the tables. */
export interface Fuzz {
  readonly title: string;
  readonly prepare: (stage: Stage) => Promise<void>;
  readonly flags: () => Promise<string[]>;
  readonly bodies: (random: () => number) => Generator<string>;
  /** Rows that are kept newest, and stand alone, count as accepted whether or not they are the newest. */
  readonly hasLoneParents: boolean;
  /** As SQL: each of them as `table`, rows as `row`; names with their schema. */
  readonly tables: readonly { readonly sql: string; readonly isNewest: boolean }[];
  /** Marks of rows as `mark`, in one query. */
  readonly marks: string;
  /** The marks of a sound message; null where it is none, and must be in the quarantine. */
  readonly marksOf: (body: string) => readonly string[] | null;
}

const GUIDE_READINGS = TABLES.slice(1);

/** The guide's decoder, of which a second one in this process says what is to be found; that it may is another test's. */
export function guideFuzz(): Fuzz {
  const decoder = createGuideDecoder();
  const micros = '(extract(epoch from time) * 1000000)::bigint';
  const microsOf = (time: string): string => String(Date.parse(time) * 1000 + Number(time.slice(23, 26)));
  return {
    title: "the guide's",
    prepare: () => Promise.resolve(),
    flags: () => Promise.resolve([]),
    *bodies(random) {
      const telemetry = generateTelemetry({ seed: Math.floor(random() * 2 ** 31), count: Infinity });
      const hostile = hostileMessages(Infinity, Math.floor(random() * 2 ** 31));
      for (;;)
        yield random() < 0.1 ? (hostile.next().value as HostileMessage).body : (telemetry.next().value as string);
    },
    tables: TABLES.map((sql) => ({ sql, isNewest: sql === 'sensor_registry' })),
    hasLoneParents: false,
    marks: GUIDE_READINGS.map(
      (table) => `select '${table}|' || sensor_id || '|' || ${micros} as mark from ${table}`,
    ).join(' union all '),
    marksOf: (body) => {
      const items = decoder.decode(body, { messageId: null, sentAt: null });
      return items.flatMap((item) => {
        if (!('table' in item) || item.table === 'sensor_registry') return [];
        const { sensor_id: sensor, time } = item.values as Record<string, string>;
        return [`${item.table}|${sensor}|${microsOf(time!)}`];
      });
    },
  };
}

/** A decoder of random tables that makes what a message says. */
export function shapesFuzz(seed: number): Fuzz {
  const shapes: Shapes = randomShapes(seed);
  const marked = shapes.tables.filter(({ isNewest }) => !isNewest);
  return {
    title: 'one of random shapes',
    prepare: async ({ local, ec2 }) => {
      for (const pool of [local, ec2]) await pool.query(shapes.schema);
    },
    flags: async () => ['--decoder', await writeDecoder(shapes.decoder)],
    bodies: (random) => shapedMessages(shapes, random),
    tables: shapes.tables.map(({ sql, isNewest }) => ({ sql, isNewest })),
    hasLoneParents: true,
    marks: marked.map(({ name, sql }) => `select '${name}|' || "Mark" as mark from ${sql}`).join(' union all '),
    marksOf: (body) => {
      const { rows } = JSON.parse(body) as { rows?: { table: string; values: Record<string, unknown> }[] };
      if (!Array.isArray(rows)) return [];
      return rows.flatMap(({ table, values }) =>
        marked.some(({ name }) => name === table) ? [`${table}|${String(values.Mark)}`] : [],
      );
    },
  };
}

export interface FuzzOutcome {
  readonly summary: ConsumeSummary;
  readonly rows: number;
  readonly records: number;
  /** Each thing that does not add up; empty where all is well. */
  readonly wrong: readonly string[];
}

const MUTATED = 0.35;
const REPEATED = 0.03;
const DAY_MS = 86_400_000;
const CALL_BYTES = 1_000_000;

/** Sends so many messages while a consumer runs, waits until it has taken all, ends it, repairs, and takes the account. */
export async function runFuzz(
  stage: Stage,
  fuzz: Fuzz,
  options: { messages: number; seed: number },
): Promise<FuzzOutcome> {
  await fuzz.prepare(stage);
  const consumer = await stage.start(['consume', '--dual-write', '--json', ...(await fuzz.flags())], {}, DAY_MS);
  const account = new Account(fuzz);
  await send(stage, account, bodiesOf(fuzz, options));
  await eventually(
    'the consumer has taken every message',
    async () => {
      if (consumer.hasEnded) throw new Error(`the consumer ended:\n${consumer.stderr.slice(-5000)}`);
      const { visible, inFlight } = await stage.queue.readState();
      return visible + inFlight === 0;
    },
    DAY_MS,
  );
  consumer.kill('SIGTERM');
  const { code, stdout, stderr } = await consumer.wait();
  if (code !== 0) throw new Error(`the consumer ended with ${String(code)}:\n${stderr.slice(-5000)}`);
  // On a busy machine EC2 may have missed some, and what it misses stands in the ledger.
  await stage.runJson(['backfill']);
  return await account.take(stage, JSON.parse(stdout) as ConsumeSummary);
}

function* bodiesOf(fuzz: Fuzz, { messages, seed }: { messages: number; seed: number }): Generator<string> {
  const random = createRandom(seed);
  const made = fuzz.bodies(random);
  const recent: string[] = [];
  for (let number = 0; number < messages; number += 1) {
    const again = random() < REPEATED ? recent[Math.floor(random() * recent.length)] : undefined;
    const body = again ?? (made.next().value as string);
    yield asSendable(again === undefined && random() < MUTATED ? mutate(body, random) : body);
    recent[number % 1000] = body;
  }
}

async function send({ queue }: Stage, account: Account, bodies: Iterable<string>): Promise<void> {
  let group: string[] = [];
  let bytes = 0;
  const flush = async (): Promise<void> => {
    const refused = group.length === 0 ? [] : await queue.send(group);
    if (refused.length > 0) throw new Error(`the queue did not take a message: ${describeCodes(refused)}`);
    [group, bytes] = [[], 0];
  };
  for (const body of bodies) {
    account.add(body);
    const size = Buffer.byteLength(body);
    if (group.length === 10 || bytes + size > CALL_BYTES) await flush();
    group.push(body);
    bytes += size;
  }
  await flush();
}

const digestOf = (text: string): string => createHash('sha256').update(text).digest('base64');

/** What was sent, by digests: the bodies together may not fit into this process. */
class Account {
  #messages = 0;
  /** The marks of each body: null where it has to be in the quarantine. */
  readonly #marks = new Map<string, readonly string[] | null>();

  constructor(private readonly fuzz: Fuzz) {}

  add(body: string): void {
    this.#messages += 1;
    this.#marks.set(digestOf(body), marksOrNull(this.fuzz, body));
  }

  async take(stage: Stage, summary: ConsumeSummary): Promise<FuzzOutcome> {
    const { local, ec2 } = stage;
    const records = await readRecords(local);
    const marks = new Set((await local.query<{ mark: string }>(this.fuzz.marks)).rows.map(({ mark }) => mark));
    const rows = await countRows(local, this.fuzz);
    const { messages, furtherReadings, accepted, refused, quarantined, empty, quarantinedAnew } = summary;
    const wrong = [
      ...[...this.#marks].flatMap(([digest, wanted]) => {
        if (records.has(digest)) return [];
        if (wanted === null) return [`neither stored nor quarantined: ${digest}`];
        return wanted
          .filter((mark) => !marks.has(mark))
          .map((mark) => `not stored, and not in the quarantine: ${mark}`);
      }),
      ...[...records]
        .filter((digest) => !this.#marks.has(digest))
        .map((digest) => `quarantined, never sent: ${digest}`),
      ...(await findApart(local, ec2, this.fuzz)),
      ...(messages === this.#messages ? [] : [`${messages} messages counted, ${this.#messages} sent`]),
      ...(messages + furtherReadings === accepted + refused + quarantined + empty
        ? []
        : [`${JSON.stringify(summary)} does not add up`]),
      ...((this.fuzz.hasLoneParents ? rows <= accepted : rows === accepted)
        ? []
        : [`${accepted} accepted, ${rows} rows`]),
      ...(records.size === quarantinedAnew ? [] : [`${quarantinedAnew} quarantined anew, ${records.size} records`]),
    ];
    return { summary, rows, records: records.size, wrong };
  }
}

function marksOrNull(fuzz: Fuzz, body: string): readonly string[] | null {
  try {
    return fuzz.marksOf(body);
  } catch {
    return null;
  }
}

/** The digests of the bodies in the quarantine. */
async function readRecords(pool: pg.Pool): Promise<Set<string>> {
  const { rows } = await pool.query<{ digest: string }>(
    `select encode(sha256(convert_to(body, 'UTF8')), 'base64') as digest from sensorctl.quarantine`,
  );
  return new Set(rows.map(({ digest }) => digest));
}

/** Those of the tables whose rows count as readings. */
async function countRows(pool: pg.Pool, { tables }: Fuzz): Promise<number> {
  const counts = tables.filter(({ isNewest }) => !isNewest).map(({ sql }) => `(select count(*) from ${sql})`);
  const { rows } = await pool.query<{ rows: string }>(`select ${counts.join(' + ')} as rows`);
  return Number(rows[0]!.rows);
}

/** The tables whose rows are not alike. */
async function findApart(local: pg.Pool, ec2: pg.Pool, { tables }: Fuzz): Promise<string[]> {
  const ledger = await local.query('select from sensorctl.ledger');
  const apart = await Promise.all(
    tables.map(async ({ sql }) => {
      const [here, there] = await Promise.all([local, ec2].map((pool) => digestRows(pool, sql)));
      return here === there ? [] : [`${sql} differs between the sides: ${here} and ${there}`];
    }),
  );
  return [...apart.flat(), ...(ledger.rowCount === 0 ? [] : [`${ledger.rowCount} entries are left in the ledger`])];
}

/** Without what a side keeps for itself. */
async function digestRows(pool: pg.Pool, sql: string): Promise<string> {
  const own = sql === 'sensor_registry' ? ['created_at', 'updated_at'] : [];
  const { fields } = await pool.query(`select * from ${sql} limit 0`);
  const names = fields.map(({ name }) => name).filter((name) => !own.includes(name));
  const row = `row(${names.map((name) => `stored.${quoteIdentifier(name)}`).join(', ')})::text`;
  const { rows } = await pool.query<{ digest: string }>(
    `select count(*) || ' ' || coalesce(md5(string_agg(${row}, '' order by ${row} collate "C")), '') as digest from ${sql} as stored`,
  );
  return rows[0]!.digest;
}
