// Random and hostile messages, good ones between them, and what must become of each: written down by whoever makes it up.
import { createHash } from 'node:crypto';
import type pg from 'pg';
import type { Queue } from '../../src/lib/queue/queue.js';
import { createRandom } from '../../src/lib/domain/random.js';
import { readContent } from './cli.js';

/** A message, the readings that must be stored of it, and whether it must stand in the quarantine. */
export interface HostileMessage {
  readonly kind: string;
  readonly body: string;
  /** `table sensor time value` of each reading, the time in ms since 1970. */
  readonly stored: readonly string[];
  readonly quarantined: boolean;
}

/** The receipt of the first message; each is received 10 ms after the one before. */
const START_MS = Date.UTC(2025, 6, 1);

interface Place {
  readonly random: () => number;
  readonly number: number;
  readonly receivedMs: number;
}

type Maker = (place: Place) => Omit<HostileMessage, 'kind'>;

const upTo = ({ random }: Place, most: number): number => 1 + Math.floor(random() * most);

function envelope(
  { receivedMs }: Place,
  sensorType: string,
  sensorId: unknown,
  data: unknown,
): Record<string, unknown> {
  return { timestamp: new Date(receivedMs).toISOString(), sensorType, sensorId, data };
}

function water(place: Place, data: object = {}, message: object = {}): string {
  const reading = { level: 5, voltage: 400, RSSI: -60, timestamp: place.receivedMs - 500, ...data };
  return JSON.stringify({ ...envelope(place, 'water-level', `W-${place.number % 500}`, reading), ...message });
}

/** Date and time as a gateway sends them, in UTC and whole seconds. */
function clock(ms: number): { sensor_date: string; sensor_utc: string } {
  const text = new Date(ms).toISOString();
  return { sensor_date: text.slice(0, 10).replaceAll('-', '/'), sensor_utc: text.slice(11, 19) };
}

/** A gateway of its own for each message, so that no two readings share a key. */
function gateway(place: Place, entries: readonly unknown[], data: object = {}): string {
  return JSON.stringify(envelope(place, 'moisture', 'any', { gw_id: `G${place.number}`, sensor: entries, ...data }));
}

function soil(place: Place, id: unknown, fields: object = {}): object {
  return {
    sensor_id: id,
    humid_hi: '40',
    humid_low: '30',
    temp_hi: '25',
    flood: 'no',
    ...clock(place.receivedMs),
    ...fields,
  };
}

function soilStored(place: Place, count: number): string[] {
  const seconds = Math.floor(place.receivedMs / 1000) * 1000;
  return Array.from({ length: count }, (_, id) => `moisture_readings G${place.number}-${id} ${seconds} 40.00`);
}

const soils = (place: Place, count: number): object[] =>
  Array.from({ length: count }, (_, id) => soil(place, String(id)));

const bad = (body: string): Omit<HostileMessage, 'kind'> => ({ body, stored: [], quarantined: true });

function nested(levels: number): string {
  return '['.repeat(levels) + ']'.repeat(levels);
}

/** The number of the message makes every body another one. */
function other(place: Place, data: string): string {
  return JSON.stringify(envelope(place, 'wx', `X-${place.number}`, 'DATA')).replace('"DATA"', () => data);
}

function otherStored({ number, receivedMs }: Place): string[] {
  return [`sensor_readings X-${number} ${receivedMs} wx`];
}

const GOOD: Readonly<Record<string, Maker>> = {
  water: (place) => ({
    body: water(place, { level: (place.number % 200) / 10 }),
    stored: [
      `water_level_readings W-${place.number % 500} ${place.receivedMs - 500} ${((place.number % 200) / 10).toFixed(2)}`,
    ],
    quarantined: false,
  }),
  gateway: (place) => {
    const count = upTo(place, 40);
    return { body: gateway(place, soils(place, count)), stored: soilStored(place, count), quarantined: false };
  },
  'deep, but not too deep': (place) => ({
    body: other(place, nested(90)),
    stored: otherStored(place),
    quarantined: false,
  }),
  'any text': (place) => ({
    body: other(
      place,
      JSON.stringify(Array.from({ length: 50 }, () => String.fromCodePoint(0x20 + upTo(place, 0xd000)))),
    ),
    stored: otherStored(place),
    quarantined: false,
  }),
};

const LARGE_GOOD: Readonly<Record<string, Maker>> = {
  'gateway of 1,000': (place) => ({
    body: gateway(place, soils(place, 1000)),
    stored: soilStored(place, 1000),
    quarantined: false,
  }),
  wide: (place) => {
    const names = Array.from({ length: upTo(place, 5000) }, (_, name) => [`n${name}`, name]);
    return {
      body: other(place, JSON.stringify(Object.fromEntries(names))),
      stored: otherStored(place),
      quarantined: false,
    };
  },
  long: (place) => ({
    body: other(place, JSON.stringify('l'.repeat(upTo(place, 500_000)))),
    stored: otherStored(place),
    quarantined: false,
  }),
  'numbers that grow as JSON': (place) => ({
    body: other(place, `[${new Array(upTo(place, 50_000)).fill('1e20').join()}]`),
    stored: otherStored(place),
    quarantined: false,
  }),
};

const BAD: Readonly<Record<string, Maker>> = {
  'not JSON': (place) => bad(`{"number": ${place.number}, "sensorType":`),
  'no object': (place) => bad(`[${place.number}]`),
  'no sensor type': (place) => bad(JSON.stringify({ number: place.number })),
  'no sensor': (place) => bad(water(place, {}, { sensorId: '' })),
  'no level': (place) => bad(water(place, { level: undefined })),
  'level that is a text': (place) => bad(water(place, { level: 'x'.repeat(upTo(place, 2000)) })),
  'level beyond its column': (place) => bad(water(place, { level: 123_456 })),
  'the year 2254': (place) =>
    bad(water(place, { timestamp: null }, { timestamp: `2254-07-01T00:00:00.${place.number}Z` })),
  'the year 2099': (place) => bad(water(place, { timestamp: Date.UTC(2099, 0, 1) + place.number })),
  'no place on earth': (place) => bad(water(place, {}, { location: { lat: 999, lng: place.number % 180 } })),
  'an id beyond 2^53': (place) =>
    bad(water(place).replace(/"sensorId":"[^"]*"/, `"sensorId":${2 ** 53}${place.number}`)),
  'an id beyond its column': (place) => bad(water(place, {}, { sensorId: `${place.number}`.padStart(300, 'i') })),
  'U+0000 in an id': (place) => bad(water(place, {}, { sensorId: `\0${place.number}` })),
  'half a character in an id': (place) => bad(water(place, {}, { sensorId: `${place.number}\ud800` })),
  'a type beyond its column': (place) => bad(water(place, {}, { sensorType: 't'.repeat(60) })),
  'an infinite number': (place) => bad(other(place, '[1e400]')),
};

const LARGE_BAD: Readonly<Record<string, Maker>> = {
  'too deep': (place) => bad(other(place, nested(100 + upTo(place, 20_000)))),
  'brackets alone': (place) => bad(`${'['.repeat(upTo(place, 100_000))}${place.number}`),
  '20,000 that are no objects': (place) => bad(gateway(place, new Array(20_000).fill(7))),
  '3,000 bad entries': (place) =>
    bad(
      gateway(
        place,
        soils(place, 3000).map((entry) => ({ ...entry, humid_hi: 'x' })),
      ),
    ),
  'a gateway of 100 KB, and 6,000 sensors': (place) =>
    bad(gateway(place, new Array(6000).fill({ sensor_id: 1 }), { gw_id: `${place.number}`.padStart(100_000, 'g') })),
  'a sensor id of 100 KB': (place) => bad(water(place, {}, { sensorId: `${place.number}`.padStart(100_000, 's') })),
  'a MiB of nothing': (place) => bad(`${place.number}`.padStart(1024 * 1024, 'n')),
  '900 entries of which each is refused': (place) =>
    bad(
      gateway(
        place,
        soils(place, 900).map((entry) => ({ ...entry, humid_hi: '99999' })),
      ),
    ),
};

/** Good readings and faults in one message: the good ones are stored, the message stands in the quarantine as well. */
const MIXED: Readonly<Record<string, Maker>> = {
  'a gateway with an entry that cannot be read': (place) => {
    const count = upTo(place, 20);
    const entries = [...soils(place, count), soil(place, 'bad', { temp_hi: 'x' }), 7];
    return { body: gateway(place, entries), stored: soilStored(place, count), quarantined: true };
  },
  'a gateway with an entry that local refuses': (place) => {
    const count = upTo(place, 20);
    const entries = [soil(place, 'bad', { humid_low: '12345' }), ...soils(place, count)];
    return { body: gateway(place, entries), stored: soilStored(place, count), quarantined: true };
  },
};

/** How likely a message is of these kinds; large ones are rare, for the sake of time. */
const SHARES: readonly (readonly [number, Readonly<Record<string, Maker>>])[] = [
  [0.7, GOOD],
  [0.24, BAD],
  [0.04, MIXED],
  [0.01, LARGE_GOOD],
  [0.01, LARGE_BAD],
];

/** Yields so many messages, always the same ones for a seed; no two have the same body or share a reading's key. */
export function* hostileMessages(count: number, seed: number): Generator<HostileMessage> {
  const random = createRandom(seed);
  for (let number = 0; number < count; number += 1) {
    const place = { random, number, receivedMs: START_MS + number * 10 };
    let chosen = random();
    const [, makers] = SHARES.find(([share]) => (chosen -= share) < 0) ?? SHARES[0]!;
    const kinds = Object.keys(makers);
    const kind = kinds[Math.floor(random() * kinds.length)]!;
    yield { kind, ...makers[kind]!(place) };
  }
}

/** Every kind once, large ones too. */
export function everyHostileKind(seed: number): HostileMessage[] {
  const random = createRandom(seed);
  return SHARES.flatMap(([, makers]) => Object.entries(makers)).map(([kind, make], number) => ({
    kind,
    ...make({ random, number: 1_000_000 + number, receivedMs: START_MS - 1_000_000 + number * 1000 }),
  }));
}

const CALL_BYTES = 1_000_000;

/** Sends messages, as many a call as SQS takes, and adds up what must become of them. */
export async function sendHostile(queue: Queue, messages: Iterable<HostileMessage>): Promise<Expected> {
  const expected = new Expected();
  let bodies: string[] = [];
  let bytes = 0;
  const flush = async (): Promise<void> => {
    if (bodies.length > 0 && (await queue.send(bodies)).length > 0) throw new Error('the queue did not take a message');
    [bodies, bytes] = [[], 0];
  };
  for (const message of messages) {
    expected.add(message);
    const size = Buffer.byteLength(message.body);
    if (bodies.length === 10 || bytes + size > CALL_BYTES) await flush();
    bodies.push(message.body);
    bytes += size;
  }
  await flush();
  return expected;
}

/** What both sides must hold after all messages. */
export class Expected {
  readonly #stored = new Set<string>();
  /** Digests of bodies, with the kind. */
  readonly #quarantined = new Map<string, string>();
  readonly kinds = new Map<string, number>();

  add({ kind, body, stored, quarantined }: HostileMessage): void {
    for (const reading of stored) this.#stored.add(reading);
    if (quarantined) this.#quarantined.set(digestOf(body.toWellFormed()), kind);
    this.kinds.set(kind, (this.kinds.get(kind) ?? 0) + 1);
  }

  get size(): { stored: number; quarantined: number } {
    return { stored: this.#stored.size, quarantined: this.#quarantined.size };
  }

  /** Each way in which the sides are not as they must be; empty where all is well. */
  async findWrong({ local, ec2 }: { readonly local: pg.Pool; readonly ec2: pg.Pool }): Promise<string[]> {
    const [here, there] = await Promise.all([readContent(local), readContent(ec2)]);
    const unequal = Object.keys(here).filter((table) => here[table]!.join('\n') !== there[table]!.join('\n'));
    const { rows } = await local.query<{ row: string }>(READ_STORED);
    const stored = new Set(rows.map(({ row }) => row));
    const records = await local.query<{ digest: string; times: string }>(READ_QUARANTINED);
    const quarantined = new Set(records.rows.map(({ digest }) => digest));
    return [
      ...unequal.map((table) => `${table} differs between the sides`),
      ...[...this.#stored].filter((row) => !stored.has(row)).map((row) => `not stored: ${row}`),
      ...[...stored].filter((row) => !this.#stored.has(row)).map((row) => `stored, not good: ${row}`),
      ...[...this.#quarantined]
        .filter(([digest]) => !quarantined.has(digest))
        .map(([, kind]) => `not quarantined: ${kind}`),
      ...[...quarantined]
        .filter((digest) => !this.#quarantined.has(digest))
        .map((digest) => `quarantined, good: ${digest}`),
      ...records.rows.filter(({ times }) => times !== '1').map(({ times }) => `quarantined ${times} times`),
    ];
  }
}

const MS = '(extract(epoch from time) * 1000)::bigint';
const READ_STORED = `
  select 'water_level_readings ' || sensor_id || ' ' || ${MS} || ' ' || level_cm as row from water_level_readings
  union all select 'moisture_readings ' || sensor_id || ' ' || ${MS} || ' ' || moisture_surface_pct from moisture_readings
  union all select 'sensor_readings ' || sensor_id || ' ' || ${MS} || ' ' || sensor_type from sensor_readings`;

/** In SQL: the bodies together may not fit into this process. */
const READ_QUARANTINED = `
  select encode(sha256(convert_to(body, 'UTF8')), 'hex') as digest, count(*) as times from sensorctl.quarantine group by 1`;

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
