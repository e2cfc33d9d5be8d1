import { expect } from 'chai';
import { parseBucketCall } from '../../src/lib/repository/timescaledb/bucket-call.js';

const CALLS: readonly (readonly [call: string, bucketed: string, width: string])[] = [
  [`time_bucket('01:00:00'::interval, w."time")`, `time_bucket('01:00:00'::interval, $1)`, `'01:00:00'::interval`],
  [
    `public.time_bucket('1 mon'::interval, "time", 'Europe/Berlin'::text)`,
    `public.time_bucket('1 mon'::interval, $1, 'Europe/Berlin'::text)`,
    `'1 mon'::interval`,
  ],
  [
    `time_bucket('7 days'::interval, w."time", "offset" => '1 day'::interval)`,
    `time_bucket('7 days'::interval, $1, "offset" => '1 day'::interval)`,
    `'7 days'::interval`,
  ],
  [
    `time_bucket(ts => w."ti)me,", bucket_width => '1 day'::interval)`,
    `time_bucket(ts => $1, bucket_width => '1 day'::interval)`,
    `'1 day'::interval`,
  ],
  [
    `"my schema".time_bucket_ng('1 mon'::interval, timezone('a,''(b'::text, x.t), '2000-01-01 00:00:00'::timestamp)`,
    `"my schema".time_bucket_ng('1 mon'::interval, $1, '2000-01-01 00:00:00'::timestamp)`,
    `'1 mon'::interval`,
  ],
];

describe('the bucket of a continuous aggregate', () => {
  for (const [call, bucketed, width] of CALLS) {
    it(`is read with all its arguments but the time: ${call}`, () => {
      const found = parseBucketCall(` SELECT 'GROUP BY time_bucket(1, 2)' AS a, first(v, time_bucket('9 days', w.t)),
        ( SELECT 1 GROUP BY time_bucket('8 days', z)) AS "GROUP BY",
        ${call} AS b FROM w GROUP BY w."my_time_bucket(", s.not_time_bucket(1, 2), (${call}), w.x HAVING (count(*) > 1);`);
      expect(found?.bucketOf('$1')).to.equal(bucketed);
      expect(found?.width).to.equal(width);
    });
  }

  it('is none where nothing is grouped by one', () => {
    expect(parseBucketCall("SELECT time_bucket('1 day', t) FROM w")).to.equal(null);
    expect(parseBucketCall("SELECT count(*) FROM w GROUP BY date_trunc('day', t)")).to.equal(null);
  });
});
