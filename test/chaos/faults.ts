import { setTimeout as sleep } from 'node:timers/promises';

import type pg from 'pg';

import { eventually } from '../support/cli.js';
import { COMMITTED, READY_FOR_QUERY, type TcpProxy } from '../support/proxy.js';
import type { Fleet } from './fleet.js';
import type { ChaosStage } from './stage.js';

/** What a fault may touch; two faults never touch the same at once. */
export type Target = 'consumer' | 'ec2' | 'local' | 'queue';

export interface Scene {
  readonly stage: ChaosStage;
  readonly fleet: Fleet;
  /** Numbers in [0, 1), by seed. */
  readonly random: () => number;
  /** Waits for a share of the fault's longest duration that the seed chose; cut short when the run ends. */
  readonly last: (longestMs: number) => Promise<void>;
}

export interface Fault {
  readonly kind: string;
  readonly target: Target;
  /** Begins the fault, lets it last, and ends it. */
  strike(scene: Scene): Promise<void>;
}

const PRIMARY_BATCH = 'sensorctl primary';
const SECONDARY_BATCH = 'sensorctl secondary';
const TRAP_WAITS_MS = 3_000;

const oneOf = ({ fleet, random }: Scene): number => Math.floor(random() * fleet.size);

export const FAULTS: readonly Fault[] = [
  { kind: 'consumer killed with -9', target: 'consumer', strike: (scene) => scene.fleet.kill(oneOf(scene)) },
  { kind: 'consumer asked to stop', target: 'consumer', strike: (scene) => scene.fleet.replace(oneOf(scene)) },
  {
    kind: 'consumer without a password',
    target: 'consumer',
    strike: async ({ fleet, random, last }) => {
      const variable = random() < 0.5 ? 'TIMESCALE_PASSWORD' : 'EC2_DB_PASSWORD';
      const { stderr } = await fleet.withGuest({ [variable]: '' }, () => last(8_000));
      // A pooler may ask for none, and one that is away for nothing at all.
      if (!stderr.includes(variable)) throw new NotStruckError();
    },
  },
  restart('ec2', 'fast'),
  restart('ec2', 'immediate'),
  restart('local', 'fast'),
  restart('local', 'immediate'),
  {
    kind: 'EC2 frozen and thawed',
    target: 'ec2',
    strike: async ({ stage, last }) => {
      await stage.servers.ec2.freeze();
      await last(5_000);
      stage.servers.ec2.thaw();
    },
  },
  { kind: 'EC2 connections cut', target: 'ec2', strike: ({ stage }) => cut(stage.network.ec2) },
  { kind: 'local connections cut', target: 'local', strike: ({ stage }) => cut(stage.network.local) },
  { kind: 'queue connections cut', target: 'queue', strike: ({ stage }) => cut(stage.network.queue) },
  network('EC2 refuses connections', 'ec2', 4_000, (proxy) => proxy.refuse()),
  network('EC2 black-holed', 'ec2', 4_000, (proxy) => proxy.blackHole()),
  network('EC2 slowed by 200 ms each way', 'ec2', 4_000, (proxy) => proxy.delay(200)),
  network('EC2 slower than the timeout', 'ec2', 3_000, (proxy) => proxy.delay(600)),
  network('local black-holed', 'local', 2_000, (proxy) => proxy.blackHole()),
  network('local refuses connections', 'local', 2_000, (proxy) => proxy.refuse()),
  network('local slowed by 50 ms each way', 'local', 3_000, (proxy) => proxy.delay(50)),
  restoring('ec2'),
  restoring('local'),
  {
    kind: 'token of the queue expired',
    target: 'queue',
    strike: async ({ stage, last }) => {
      stage.token.expired = true;
      await last(5_000);
      stage.token.expired = false;
    },
  },
  network('queue refuses connections', 'queue', 3_000, (proxy) => proxy.refuse()),
  network('queue black-holed', 'queue', 3_000, (proxy) => proxy.blackHole()),
  trap('EC2 statement cut in the middle', 'ec2', (proxy) => proxy.cutRequest(SECONDARY_BATCH)),
  trap('local statement cut in the middle', 'local', (proxy) => proxy.cutRequest(PRIMARY_BATCH)),
  trap('answer to an EC2 commit lost', 'ec2', (proxy) =>
    proxy.swallowAnswer(SECONDARY_BATCH, READY_FOR_QUERY, 'reset'),
  ),
  trap('answer to an EC2 commit never comes', 'ec2', (proxy) =>
    proxy.swallowAnswer(SECONDARY_BATCH, READY_FOR_QUERY, 'silence'),
  ),
  trap('answer to a local commit lost', 'local', (proxy) => proxy.swallowAnswer(PRIMARY_BATCH, COMMITTED, 'reset')),
  trap('answer to an acknowledgement lost', 'queue', (proxy) =>
    proxy.swallowAnswer('DeleteMessageBatch', Buffer.from('Successful'), 'reset'),
  ),
];

/** Where PgBouncer stands before EC2. */
export const POOLER_FAULTS: readonly Fault[] = [
  {
    kind: 'pooler killed and started',
    target: 'ec2',
    strike: ({ stage, last }) => stage.restartPooler(() => last(3_000)),
  },
];

/** As a power cut: for servers that are durable. */
export const POWER_CUTS: readonly Fault[] = (['ec2', 'local'] as const).map((target) => ({
  kind: `${target === 'ec2' ? 'EC2' : 'local'} killed with -9`,
  target,
  strike: async ({ stage, last }) => {
    await stage.servers[target].kill();
    await last(3_000);
    await stage.servers[target].start();
  },
}));

function restart(target: 'ec2' | 'local', mode: 'fast' | 'immediate'): Fault {
  return {
    kind: `${target === 'ec2' ? 'EC2' : 'local'} stopped (${mode}) and started`,
    target,
    strike: async ({ stage, last }) => {
      await stage.servers[target].stop(mode);
      await last(3_000);
      await stage.servers[target].start();
    },
  };
}

/** As `timescaledb_pre_restore()` does it, for every new session; those that are open are cut, as a restore may want it. */
function restoring(target: 'ec2' | 'local'): Fault {
  return {
    kind: `${target === 'ec2' ? 'EC2' : 'local'} in restoring mode`,
    target,
    strike: async ({ stage, last }) => {
      await setForDatabase(stage[target], 'set timescaledb.restoring = on');
      stage.network[target].cut();
      await last(4_000);
      await setForDatabase(stage[target], 'reset timescaledb.restoring');
    },
  };
}

/** The pool may hold sessions that a fault before has broken. */
async function setForDatabase(pool: pg.Pool, setting: string): Promise<void> {
  const sql = `do $do$ begin execute format('alter database %I ${setting}', current_database()); end $do$`;
  await eventually(setting, () =>
    pool.query(sql).then(
      () => true,
      () => false,
    ),
  );
}

function network(
  kind: string,
  target: 'ec2' | 'local' | 'queue',
  longestMs: number,
  begin: (proxy: TcpProxy) => void,
): Fault {
  return {
    kind,
    target,
    strike: async ({ stage, last }) => {
      begin(stage.network[target]);
      await last(longestMs);
      await stage.network[target].pass();
    },
  };
}

/** Counts as survived only if it was sprung; otherwise it is taken away. */
function trap(kind: string, target: 'ec2' | 'local' | 'queue', set: (proxy: TcpProxy) => Promise<void>): Fault {
  return {
    kind,
    target,
    strike: async ({ stage }) => {
      const sprung = set(stage.network[target]).then(() => true);
      const inTime = await Promise.race([sprung, sleep(TRAP_WAITS_MS, false)]);
      await stage.network[target].pass();
      if (!inTime) throw new NotStruckError();
    },
  };
}

function cut(proxy: TcpProxy): Promise<void> {
  proxy.cut();
  return Promise.resolve();
}

/** The fault found nothing to strike. */
export class NotStruckError extends Error {}
