import { expect } from 'chai';
import { adviseOn } from '../../src/lib/cli/advice.js';
import { PreparedPair } from '../support/backfilled.js';
import { timescaleServers } from '../support/cli.js';
import { startOwnTimescale } from '../support/servers.js';

const WATER = 'water_level_readings';
const CHUNKS = 1_600;
const AT_ONCE = 40;
/** So few that no statement over all chunks gets its locks, as 4,500 chunks have too few with the settings by default. */
const FEW_LOCKS = { max_locks_per_transaction: '16', max_connections: '40' };

describe('a hypertable of more chunks than a transaction may lock', function () {
  this.timeout(280_000);
  let pair: PreparedPair;
  let close = (): Promise<void> => Promise.resolve();

  before(async function () {
    await timescaleServers(this);
    const [local, ec2] = await Promise.all([startOwnTimescale(FEW_LOCKS), startOwnTimescale(FEW_LOCKS)]);
    pair = await PreparedPair.open('many chunks', { servers: { local, ec2 } });
    close = () => pair.close();
    await pair.query(`insert into sensor_registry (sensor_id, sensor_type) values ('S', 'water-level')`);
    for (let first = 0; first < CHUNKS; first += AT_ONCE) {
      await pair.query(`insert into ${WATER} (time, sensor_id, level_cm)
        select timestamptz '2020-01-01T00:00Z' + n * interval '1 day', 'S', 1 from generate_series(${first}, ${first + AT_ONCE - 1}) as n`);
    }
  });

  after(() => close());

  it('has too many for one statement, and the advice says which setting that is', async () => {
    const client = await pair.here.connect();
    const error = await client.query(`select count(*) from ${WATER}`).catch((reason: unknown) => reason);
    // The server tells the error before it gives the locks back; by its next answer it has.
    await client.query('select');
    client.release();
    expect(error).to.have.property('code', '53200');
    expect(adviseOn({ code: 'locks-used-up' })).to.match(/max_locks_per_transaction/);
  });

  it('is compared whole, and what differs is copied, in ranges of few chunks', async () => {
    expect((await pair.compare()).verdict).to.equal('identical');
    const chunks = await pair.there.query<{ name: string }>(`select c::text as name from show_chunks('${WATER}') as c`);
    for (const place of [1, 800, 1_599]) await pair.there.query(`delete from ${chunks.rows[place]!.name}`);
    const { tables } = await pair.compare();
    expect(tables.find(({ table }) => table === WATER)).to.deep.include({ missingOnEc2: 3 });
    expect(await pair.backfill()).to.include({ rowsInserted: 3, rowsRefused: 0 });
    expect((await pair.compare()).verdict).to.equal('identical');
  });
});
