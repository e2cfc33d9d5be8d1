// What EC2 takes from ingestion when it is slow or silent. A pace is the matter: nothing else runs meanwhile.
import { expect } from 'chai';
import { countUnsettled, account, Observer } from '../chaos/invariants.js';
import { eventually } from '../support/cli.js';
import { begun, logged, play, settled, telemetry } from '../support/scenarios.js';
import { shareServers } from '../support/shared-servers.js';

describe('the pace of the dual write', function () {
  this.timeout(180_000);
  this.slow(30_000);
  const servers = shareServers();

  it('EC2 slowed by 200 ms each way keeps up with ingestion', () =>
    play(async (stage) => {
      const bodies = telemetry(1_500);
      stage.network.ec2.delay(200);
      const consumer = await stage.consume(['--dual-write'], { EC2_WRITE_TIMEOUT: '10000' });
      await begun(consumer);
      await stage.send(bodies, 300);
      await eventually('all is committed locally', () => stage.isQueueEmpty());
      const pending = await stage.local.query<{ seconds: string }>(
        'select coalesce(extract(epoch from clock_timestamp() - min(committed_at)), 0) as seconds from sensorctl.ledger',
      );
      expect(Number(pending.rows[0]?.seconds), 'lag in seconds').to.be.below(8);
      await settled(stage);
      consumer.kill('SIGTERM');
      const { code, stderr } = await consumer.wait();
      expect(code).to.equal(0);
      expect(stderr).not.to.include('EC2 write failed');
      expect(await account(stage, bodies)).to.deep.equal([]);
    }, servers()));

  it('EC2 frozen: ingestion goes on, batches go to the ledger, and after the thaw the gap closes by itself', () =>
    play(async (stage) => {
      const bodies = telemetry(300);
      await stage.send(bodies.slice(0, 50));
      const consumer = await stage.consume();
      await settled(stage);
      await stage.servers.ec2.freeze();
      const frozenAt = performance.now();
      await stage.send(bodies.slice(50), 150);
      await eventually('all is committed locally', () => stage.isQueueEmpty());
      expect(performance.now() - frozenAt, 'ms to ingest beside a frozen EC2').to.be.below(10_000);
      await logged(consumer, 'EC2 is left out until it answers again');
      expect(await countUnsettled(stage)).to.be.above(0);
      stage.servers.ec2.thaw();
      expect(await new Observer(stage).look()).to.deep.equal([]);
      await settled(stage);
      consumer.kill('SIGTERM');
      expect((await consumer.wait()).code).to.equal(0);
      expect(await account(stage, bodies)).to.deep.equal([]);
    }, servers()));
});
