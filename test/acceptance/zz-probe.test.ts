import { Stage } from '../support/cli.js';
import { writeDecoder } from '../support/decoders.js';
import { timesOf } from '../support/times.js';

const say = (title: string, r: { code: number | null; stdout: string; stderr: string }): void =>
  console.log(`--- ${title}: ${r.code}\n${r.stdout.slice(0, 700)}\n${r.stderr.split('\n').slice(-12).join('\n').slice(0, 1800)}`);

describe('probe', function () {
  this.timeout(200_000);
  for (const [title, text] of [
    ['async that throws', "export default { async decode(b) { if (b.includes('bad')) throw new Error('async boo'); return []; } };"],
    ['stray timer', "export default { decode(b) { if (b.includes('bad')) setTimeout(() => { throw new Error('stray'); }, 50); return []; } };"],
    ['stray rejection', "export default { decode(b) { if (b.includes('bad')) void Promise.reject(new Error('stray rejection')); return []; } };"],
    ['exit', "export default { decode(b) { if (b.includes('bad')) process.exit(0); return []; } };"],
    ['emptied prototype', "export default { decode(b) { if (b.includes('bad')) return new Proxy([], { get() { throw new Error('trap'); } }); return []; } };"],
    ['prints', "export default { decode(b) { console.log('hello'); return []; } };"],
    ['endless generator', "export default { decode(b) { if (b.includes('bad')) return [{ table: 't', values: new Proxy({}, { ownKeys() { for (;;); } }) }]; return []; } };"],
  ] as const) {
    it(title, async () => {
      const stage = await Stage.open('probe');
      await stage.runJson(['init']);
      await stage.send(['bad', 'good 1', 'good 2']);
      const decoder = await writeDecoder(text);
      const r = await stage.run(['consume', '--no-dual-write', '--drain', '--json', '--decoder', decoder], timesOf({ decodeMs: 500 })).catch((e: unknown) => ({ code: null, stdout: '', stderr: String(e) }));
      say(title, r);
      console.log(JSON.stringify((await stage.local.query('select left(body, 20) as body, reason from sensorctl.quarantine')).rows), await stage.queue.readState());
      await stage.close();
    });
  }
  for (const [column, type] of [] as [string, string][]) {
    for (const side of ['local', 'ec2'] as const)
    it(`B10 ${column} ${type} on ${side}`, async () => {
      const stage = await Stage.open('b10');
      await stage.runJson(['init']);
      const using = column === 'time' ? (type === 'bigint' ? 'using 1' : 'using time::date') : type === 'uuid' ? 'using gen_random_uuid()' : 'using 1';
      await stage[side].query(`alter table water_level_readings alter ${column} type ${type} ${using}`);
      say('verify', await stage.run(['verify-schema']));
      await stage.send([JSON.stringify({ timestamp: '2025-07-01T00:00:05.000Z', sensorType: 'water-level', sensorId: '12', data: { level: 5 } })]);
      say('consume', await stage.run(['consume', '--dual-write', '--drain', '--json']).catch((e: unknown) => ({ code: null, stdout: '', stderr: String(e).slice(-1500) })));
      await stage.close();
    });
  }
});
