import { writeFile } from 'node:fs/promises';
import { expect } from 'chai';
import { checkDecoded } from '../../src/lib/decoders/check-decoded.js';
import type { Decoder } from '../../src/lib/decoders/decoder.js';
import { createGuideDecoder } from '../../src/lib/decoders/guide.js';
import { decodeMessage } from '../../src/lib/decoders/guide-messages.js';
import { GUIDE_TABLES } from '../../src/lib/decoders/guide-tables.js';
import { generateTelemetry } from '../../src/lib/decoders/generate.js';
import { hasChanged, loadDecoder } from '../../src/lib/decoders/load-decoder.js';
import { decodeMessages, type UsedDecoder } from '../../src/lib/decoders/run-decoder.js';
import { createRandom } from '../../src/lib/domain/random.js';
import { UsageError } from '../../src/lib/errors.js';
import { hostileMessages } from '../support/hostile.js';
import { writeDecoder } from '../support/decoders.js';
import { bodiesOf, realFiles, standInBodies } from '../support/real-telemetry.js';
import { newSeed, seedOf } from '../support/seed.js';

const OPTIONS = { timezone: 'Asia/Bangkok', sensorIdFromMac: false };
const CONTEXT = { messageId: 'm', sentAt: null };

function rows(answer: unknown, isAtomic = false): string[] {
  const { units, faults } = checkDecoded(answer, isAtomic);
  return [
    ...units.map((unit) => unit.map(({ table }) => table).join('+')),
    ...faults.map(({ reason }) => `fault: ${reason}`),
  ];
}

const row = (table: string, more: object = {}): object => ({ table, values: { a: 1 }, ...more });

describe('the answer of a decoder', () => {
  it('is rows that stand alone, by units, or all together', () => {
    const answer = [row('a', { unit: 1 }), row('b'), row('c', { unit: 1 }), row('d', { unit: '1' })];
    expect(rows(answer)).to.deep.equal(['a+c+d', 'b']);
    expect(rows(answer, true)).to.deep.equal(['a+b+c+d']);
    expect(rows([])).to.deep.equal([]);
  });

  it('is faults beside rows: one of a unit takes the unit along, one of an atomic message all of it', () => {
    const answer = [row('a', { unit: 1 }), { fault: 'no', unit: 1 }, row('b'), { fault: 'neither' }];
    expect(rows(answer)).to.deep.equal(['b', 'fault: no', 'fault: neither']);
    expect(rows(answer, true)).to.deep.equal(['fault: no', 'fault: neither']);
  });

  for (const [title, answer, says] of [
    ['a Promise', Promise.resolve([]), /answered a Promise/],
    ['nothing', undefined, /answered undefined, not a list/],
    ['an object', { rows: [] }, /answered a value of type object/],
    ['too many rows', new Array(5_001).fill(row('a')), /made 5001 rows, more than 5000/],
  ] as const) {
    it(`is none where it is ${title}`, () => {
      expect(() => checkDecoded(answer, false)).to.throw(says);
    });
  }

  for (const [item, says] of [
    [5, /is a value of type number, neither a row nor a fault/],
    [{ values: { a: 1 } }, /names no table/],
    [{ table: 'x\0', values: { a: 1 } }, /as no table can be named/],
    [{ table: 'x' }, /for x has no values/],
    [row('x', { write: 'last' }), /neither 'first' nor/],
    [row('x', { write: { newestBy: 'a', parts: ['b'] } }), /parts that are no lists/],
    [{ table: 'x', values: { a: 'a\0' } }, /a holds a character that PostgreSQL cannot store/],
    [{ table: 'x', values: { a: ['\ud800'] } }, /cannot store/],
    [{ table: 'x', values: { a: Number.NaN } }, /a is not a finite number/],
    [{ table: 'x', values: { a: new Date(0) } }, /a is a Date; give its text/],
    [{ table: 'x', values: { a: () => 1 } }, /a is a function/],
    [{ table: 'x', values: { a: deep(101) } }, /nested deeper than 100/],
  ] as const) {
    it(`says of one row ${String(says)}, and keeps the others`, () => {
      const [kept, fault] = rows([item, row('sound')]);
      expect(kept).to.equal('sound');
      expect(fault).to.match(says);
    });
  }

  it('is copied: what the decoder changes later is not stored', () => {
    const values = { a: { b: [1] } };
    const { units } = checkDecoded([{ table: 'x', values }], false);
    values.a.b[0] = 2;
    expect(units[0]![0]!.values).to.deep.equal({ a: { b: [1] } });
  });
});

function deep(levels: number): unknown {
  return levels === 0 ? 1 : [deep(levels - 1)];
}

/** A decoder as if it came from a file, so that it is guarded. */
function guarded(decode: Decoder['decode']): UsedDecoder {
  return { decoder: { decode }, file: { path: '/nowhere', digest: '' } };
}

describe('running a decoder', () => {
  const inputs = (count: number) => Array.from({ length: count }, (_, n) => ({ ...CONTEXT, body: String(n) }));

  it('takes each message for itself: what one throws harms no other, whatever is thrown', () => {
    const thrown = [
      new TypeError('boo'),
      'text',
      null,
      Object.create(null),
      {
        get message() {
          throw new Error('x');
        },
      },
    ];
    const used = guarded((body) => {
      if (Number(body) < thrown.length) throw thrown[Number(body)];
      return [{ table: 't', values: { body } }];
    });
    const decoded = decodeMessages(used, inputs(7));
    expect(decoded.map(({ failed }) => failed)).to.deep.equal([true, true, true, true, true, false, false]);
    expect(decoded[0]!.faults[0]!.reason).to.equal('the decoder failed: it threw TypeError: boo');
  });

  it('ends a message that takes too long, and goes on behind it with the next call', function () {
    this.timeout(20_000);
    const used = guarded((body) => {
      if (body === '1') for (;;);
      return [];
    });
    const first = decodeMessages(used, inputs(4));
    expect(first.map(({ failed }) => failed)).to.deep.equal([false, true]);
    expect(first[1]!.faults[0]!.reason).to.match(/it took more than 2000 ms/);
    expect(decodeMessages(used, inputs(4).slice(2))).to.have.length(2);
  });

  it('ends one whose regular expression or recursion never comes back', function () {
    this.timeout(20_000);
    const endless = guarded(() => [/^(a+)+$/.test(`${'a'.repeat(60)}b`)] as never);
    expect(decodeMessages(endless, inputs(1))[0]!.failed).to.equal(true);
    const recurse = (): never => recurse();
    expect(decodeMessages(guarded(recurse), inputs(1))[0]!.faults[0]!.reason).to.match(/RangeError/);
  });
});

describe('loading a decoder', () => {
  async function refusal(text: string, name?: string): Promise<UsageError> {
    const file = await writeDecoder(text, name);
    const error: unknown = await loadDecoder(file, OPTIONS).catch((each: unknown) => each);
    expect(error).to.be.instanceOf(UsageError);
    return error as UsageError;
  }

  it("is the guide's where no file is named", async () => {
    const { decoder, file } = await loadDecoder(null, OPTIONS);
    expect(file).to.equal(null);
    expect(decoder.tables).to.equal(GUIDE_TABLES);
  });

  it('sees that a file holds something else by now', async () => {
    const file = await writeDecoder('export default { decode: () => [] };');
    const used = await loadDecoder(file, OPTIONS);
    expect(await hasChanged(used)).to.equal(false);
    await writeFile(file, 'export default { decode: () => [5] };');
    expect(await hasChanged(used)).to.equal(true);
  });

  it('refuses, with the reason, what is no decoder', async () => {
    expect((await refusal('export default 5;')).message).to.match(/no default export with a function/);
    expect((await refusal('export default {', 'b.mjs')).message).to.match(/does not load: SyntaxError/);
    expect((await refusal('throw new Error("at once")', 'c.mjs')).message).to.match(/does not load: Error: at once/);
    const tables = 'export default { decode: () => [], tables: { t: { a: 1 } } };';
    expect((await refusal(tables, 'd.mjs')).message).to.match(/tables.* do not say `columns`/);
  });
});

describe("the guide's decoder, by the contract of any other", () => {
  const files = realFiles();
  const sources: readonly (readonly [string, () => string[]])[] = [
    ['stand-ins of the real telemetry', () => standInBodies(seedOf(9))],
    ['generated telemetry', () => [...generateTelemetry({ seed: seedOf(5), count: 3_000 })]],
    ...(files === null ? [] : ([['the real telemetry', () => bodiesOf(files)]] as const)),
  ];
  for (const [title, read] of sources) {
    it(`makes a row of each reading, one of its sensor in the same unit, and the same faults: ${title}`, () => {
      const decoder = createGuideDecoder(OPTIONS);
      for (const body of read()) {
        const { readings, faults } = decodeMessage(body, OPTIONS);
        const [decoded] = decodeMessages({ decoder, file: null }, [{ ...CONTEXT, body }]);
        const expected = readings.map(({ table, time, sensorId, sensorType, values }) => {
          const { location_lat = null, location_lng = null } = values;
          const sensor = { sensor_id: sensorId, sensor_type: sensorType, last_seen: time, location_lat, location_lng };
          return [
            { table, values: { time, sensor_id: sensorId, ...values } },
            { table: 'sensor_registry', values: sensor },
          ];
        });
        const units = decoded!.units.map((unit) => unit.map(({ table, values }) => ({ table, values })));
        expect(units).to.deep.equal(expected);
        expect(decoded!.faults).to.deep.equal(faults);
      }
    });
  }

  it('names only tables and columns that it declares', () => {
    const decoder = createGuideDecoder(OPTIONS);
    for (const body of generateTelemetry({ seed: 3, count: 500 })) {
      for (const unit of decodeMessages({ decoder, file: null }, [{ ...CONTEXT, body }])[0]!.units) {
        for (const { table, values } of unit) {
          expect(Object.keys(GUIDE_TABLES[table]!.columns)).to.have.members(Object.keys(values));
        }
      }
    }
  });
});

describe('any decoder on any message', () => {
  const count = Number(process.env.SENSORCTL_TEST_FUZZ ?? 5_000);

  for (const [title, used] of [
    ["the guide's", { decoder: createGuideDecoder(OPTIONS), file: null }],
    ['one of random shapes', guarded(randomDecoder(createRandom(newSeed())))],
  ] as const) {
    it(`${title}: each is rows or faults or nothing, and never more than one of them for nothing (${count})`, function () {
      this.timeout(300_000);
      let failed = 0;
      for (const bodies of chunks(hostileMessages(count, newSeed()), 50)) {
        let left = bodies.map((body) => ({ ...CONTEXT, body }));
        while (left.length > 0) {
          const decoded = decodeMessages(used, left);
          expect(decoded.length).to.be.greaterThan(0);
          left = left.slice(decoded.length);
          for (const each of decoded) {
            if (each.failed) failed += 1;
            if (each.failed) expect(each.faults).to.have.length(1);
            for (const { reason } of each.faults)
              expect(reason).to.satisfy((text: string) => text !== '' && text.isWellFormed());
            for (const unit of each.units) expect(unit.length).to.be.greaterThan(0);
          }
        }
      }
      if (used.file === null) expect(failed).to.equal(0);
    });
  }
});

function* chunks(messages: Iterable<{ readonly body: string }>, size: number): Generator<string[]> {
  let part: string[] = [];
  for (const { body } of messages) {
    part.push(body);
    if (part.length < size) continue;
    yield part;
    part = [];
  }
  yield part;
}

/** Throws now and then, and answers anything. */
function randomDecoder(random: () => number): Decoder['decode'] {
  const anything = (depth: number): unknown => {
    const scalars = [
      null,
      undefined,
      5,
      'x',
      '\ud800',
      NaN,
      5n,
      true,
      () => 1,
      Symbol('s'),
      new Date(0),
      Uint8Array.of(1),
    ];
    const kind = Math.floor(random() * (scalars.length + (depth > 0 ? 4 : 0)));
    if (kind < scalars.length) return scalars[kind];
    const items = Array.from({ length: Math.floor(random() * 4) }, () => anything(depth - 1));
    return kind % 2 === 0
      ? items
      : { table: 't', values: { a: items[0], b: items[1] }, write: items[2], unit: items[3] };
  };
  return () => {
    if (random() < 0.05) throw anything(1);
    return (random() < 0.2 ? anything(3) : [anything(3), anything(3)]) as never;
  };
}
