import { expect } from 'chai';
import { RECEIVED, decode, entry, gateway, onlyReading, onlyReason } from './telemetry-messages.js';
import type { Json } from './telemetry-messages.js';

describe('a gateway message', () => {
  it('becomes a reading for each entry with a sensor_id, both ids as sent', () => {
    const decoded = decode(gateway([entry('13'), { sensor_id: '' }, {}, null, entry(14)]));
    expect(decoded.faults).to.deep.equal([]);
    expect(decoded.readings.map((reading) => reading.sensorId)).to.deep.equal(['0003-13', '0003-14']);
  });

  it('takes one object for one entry, and gateway_id where gw_id is missing', () => {
    const message = gateway(entry('13'), { gw_id: '', gateway_id: 3 });
    expect(onlyReading(decode(message)).sensorId).to.equal('3-13');
  });

  it('takes measurements from the entry alone and the place from the message', () => {
    const message = gateway([entry('13', { amb_temp: undefined })], {
      amb_temp: '40',
      latitude: '13.5',
      longitude: '100',
    });
    const { values } = onlyReading(decode(message));
    expect(values).to.include({
      ambient_temp_c: null,
      moisture_surface_pct: 45,
      location_lat: 13.5,
      location_lng: 100,
    });
  });

  const times: [string, Json, Json, string][] = [
    ['the entry', {}, { date: '2025/07/01', time: '09:00:00' }, '2025-07-01T00:00:01.000000Z'],
    [
      "the entry's wall clock",
      { sensor_utc: '', date: '2025/07/01', time: '07:00:03' },
      {},
      '2025-07-01T00:00:03.000000Z',
    ],
    [
      "the gateway's clock where the entry has none",
      { sensor_utc: '' },
      { date: '2025/07/01', time: '07:00:04' },
      '2025-07-01T00:00:04.000000Z',
    ],
    ['the receipt where neither has one', { sensor_utc: '' }, {}, RECEIVED],
  ];
  for (const [title, fields, data, expected] of times) {
    it(`takes the time from ${title}`, () => {
      expect(onlyReading(decode(gateway([entry('13', fields)], data))).time).to.equal(expected);
    });
  }

  it('refuses an entry alone, naming its field and sensor, and keeps the others', () => {
    const decoded = decode(gateway([entry('13'), entry('14', { humid_low: 'x' }), 'lost']));
    expect(decoded.readings.map((reading) => reading.sensorId)).to.deep.equal(['0003-13']);
    expect(decoded.faults).to.deep.equal([
      {
        reason: 'data.sensor[1].humid_low is not a number: "x"',
        sensorId: '0003-14',
        time: '2025-07-01T00:00:01.000000Z',
      },
      {
        reason: 'data.sensor[2] is not an object: "lost"; no data.sensor[2].sensor_id',
        sensorId: null,
        time: RECEIVED,
      },
    ]);
  });

  for (const sensor of [[], {}, [{ sensor_id: null }], [null]]) {
    it(`is refused whole where its sensors are ${JSON.stringify(sensor)}`, () => {
      const decoded = decode(gateway(sensor));
      expect(onlyReason(decoded)).to.equal('gateway message without a sensor that has an id');
      expect(decoded.faults[0]).to.include({ sensorId: '0003', time: RECEIVED });
    });
  }

  it('is refused where no field names the gateway', () => {
    expect(onlyReason(decode(gateway([entry('13')], { gw_id: undefined })))).to.equal('no data.gateway_id');
  });
});
