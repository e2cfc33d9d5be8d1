import { expect } from 'chai';
import { bookkeepingScript } from '../../src/lib/repository/ledger/bookkeeping-schema.js';
import { Stage } from '../support/cli.js';

/** The script of the bookkeeping as it was before a message stood in the quarantine once. */
function scriptBefore(): string {
  const [head = '', ...steps] = bookkeepingScript().split('\n  if (');
  const known = steps.slice(
    0,
    steps.findIndex((step) => step.includes('further_faults')),
  );
  return `${[head, ...known].join('\n  if (')}\nend $sensorctl$;`;
}

describe('the quarantine of an earlier version', () => {
  it('is upgraded: one record a message with all of its faults, open where one was open, rows as they were', async () => {
    const stage = await Stage.open('quarantine upgrade');
    try {
      await stage.local.query(scriptBefore());
      await stage.local.query(`
        insert into sensorctl.quarantine
          (digest, side, reason, sqlstate, table_name, sensor_id, reading_time, message_id, body, resolution, resolved_at)
        values ('1', 'local', 'first', null, null, 'A', null, 'm1', 'body', 'retried', now()),
          ('2', 'local', 'second', '22003', 't', 'B', '2025', 'm2', 'body', null, null),
          ('3', 'local', 'closed', null, null, null, null, 'm3', 'other', 'discarded', now()),
          ('4', 'local', 'replaced', null, 't', 'C', '2026', null, 'body', null, null)`);
      await stage.runJson(['init', '--side', 'local']);
      const { rows } = await stage.local.query(
        `select quarantine_id::int as id, message_id, body, faults, further_faults, resolution, reason, sensor_id
         from sensorctl.quarantine order by 1`,
      );
      const fault = (reason: string, about: object = {}): object => ({
        ...{ reason, sqlstate: null, table: null, sensorId: null, time: null, ...about },
      });
      expect(rows).to.deep.equal([
        {
          ...{
            id: 1,
            message_id: 'm1',
            body: 'body',
            further_faults: 0,
            resolution: null,
            reason: 'first',
            sensor_id: 'A',
          },
          faults: [
            fault('first', { sensorId: 'A' }),
            fault('second', { sqlstate: '22003', table: 't', sensorId: 'B', time: '2025' }),
          ],
        },
        {
          ...{ id: 3, message_id: 'm3', body: 'other', further_faults: 0, resolution: 'discarded', reason: 'closed' },
          ...{ sensor_id: null, faults: [fault('closed')] },
        },
        {
          ...{ id: 4, message_id: null, body: 'body', further_faults: 0, resolution: null, reason: 'replaced' },
          ...{ sensor_id: 'C', faults: [fault('replaced', { table: 't', sensorId: 'C', time: '2026' })] },
        },
      ]);
    } finally {
      await stage.close();
    }
  });
});
