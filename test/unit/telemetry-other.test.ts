import { expect } from 'chai';
import { decodeMessage } from '../../src/lib/decoders/guide-messages.js';
import type { Decoded } from '../../src/lib/decoders/guide-messages.js';
import { OPTIONS, RECEIVED, decode, onlyReading, onlyReason } from './telemetry-messages.js';

describe('a message of another sensor type', () => {
  it('keeps data and metadata as JSON with the score 0.5', () => {
    const data = { date: '25/06/29', latitude: 'N', list: [1, null] };
    const message = {
      timestamp: '2025-07-01T00:00:05Z',
      sensorType: 'unknown',
      sensorId: 'unknown',
      data,
      metadata: {},
    };
    expect(onlyReading(decode(message))).to.deep.equal({
      table: 'sensor_readings',
      time: RECEIVED,
      sensorId: 'unknown',
      sensorType: 'unknown',
      values: {
        sensor_type: 'unknown',
        location_lat: null,
        location_lng: null,
        value: '{"date":"25/06/29","latitude":"N","list":[1,null]}',
        metadata: '{}',
        quality_score: 0.5,
      },
    });
  });

  const other = (fields: string): Decoded =>
    decodeMessage(`{"timestamp":"2025-07-01T00:00:05Z","sensorType":"wx","sensorId":"1",${fields}}`, OPTIONS);

  for (const data of ['5', '"text"', '[]', 'false']) {
    it(`keeps ${data} as its value, and no metadata as null`, () => {
      expect(onlyReading(other(`"data":${data}`)).values).to.include({ value: data, metadata: null });
    });
  }

  const deep = '['.repeat(100_000) + ']'.repeat(100_000);
  const refusals: [string, string, RegExp][] = [
    ['no data', '"x":1', /^no data$/],
    ['null data', '"data":null', /^no data$/],
    [
      'an infinite number, which JSON text would make null',
      '"data":{"a":[1e400]}',
      /^data holds a number that is not finite/,
    ],
    ['an infinite number in its metadata', '"data":1,"metadata":-1e400', /^metadata holds a number that is not finite/],
    ['U+0000', '"data":{"a":"\\u0000"}', /^data holds a character/],
    ['U+0000 in a key', '"data":{"\\u0000":1}', /^data holds a character/],
    ['U+0000 after a backslash', '"data":"\\\\\\u0000"', /^data holds a character/],
    ['a lone surrogate', '"data":"\\ud83d"', /^data holds a character/],
    ['nesting that JSON.stringify cannot follow', `"data":${deep}`, /^nested deeper than 100 levels$/],
  ];
  for (const [title, fields, expected] of refusals) {
    it(`is refused for ${title}`, () => expect(onlyReason(other(fields))).to.match(expected));
  }

  for (const data of ['"\\\\u0000"', '"\u{1F4A7}"']) {
    it(`is stored with the text ${data}, which only looks alike`, () => {
      expect(onlyReading(other(`"data":${data}`)).values.value).to.equal(data);
    });
  }
});
