import { fileURLToPath } from 'node:url';

import type { BlackHole } from './black-hole.js';
import { measureDrain, type Contestant, type Drain } from './drain.js';
import type { Comparison } from './report.js';
import { SENSORCTL, type Stage } from './stage.js';
import { median } from './statistics.js';

export type ContestantName = 'dual' | 'localOnly' | 'far' | 'blackHoled' | 'bare' | 'straightforward';
export type Drains = Readonly<Record<ContestantName, readonly Drain[]>>;

const POLLERS = 8;
const WARM_UP_MESSAGES = 2_000;
/** A round trip to an EC2 that is far away. */
export const FAR_MS = 200;

export interface ConsumeMeasure {
  readonly stage: Stage;
  readonly blackHole: BlackHole;
  /** Leads to EC2 over a network that takes its time. */
  readonly far: { readonly port: number };
  readonly messages: number;
  readonly repetitions: number;
  readonly onStep: (text: string) => void;
}

/** Lets every contestant drain the same messages, those compared next to each other, in reversed order every other time. */
export async function measureConsume(measure: ConsumeMeasure): Promise<Drains> {
  const contestants = createContestants(measure);
  const names = Object.keys(contestants) as ContestantName[];
  const drains: Record<ContestantName, Drain[]> = {
    dual: [],
    localOnly: [],
    far: [],
    blackHoled: [],
    bare: [],
    straightforward: [],
  };
  await measureDrain(measure.stage, contestants.dual, WARM_UP_MESSAGES);
  for (let repetition = 1; repetition <= measure.repetitions; repetition += 1) {
    for (const name of repetition % 2 === 1 ? names : names.toReversed()) {
      const { share = 1, name: title } = contestants[name];
      const drain = await measureDrain(measure.stage, contestants[name], Math.round(measure.messages * share));
      measure.onStep(`${repetition}/${measure.repetitions} ${title}: ${Math.round(rateOf(drain))} messages/s`);
      drains[name].push(drain);
    }
    for (const name of names) assertComplete(contestants[name], drains[name].at(-1)!, drains.localOnly.at(-1)!);
  }
  return drains;
}

/** The comparisons that the targets are about. */
export function compareConsume(drains: Drains): Comparison[] {
  const rates = (name: ContestantName): number[] => drains[name].map(rateOf);
  const peaks = (name: ContestantName): number[] => drains[name].map((drain) => drain.peakMib);
  const unit = 'messages/s';
  const localOnly = { against: 'local only', peers: rates('localOnly') };
  return [
    {
      what: 'consume --dual-write, until EC2 has all',
      unit,
      figures: drains.dual.map((drain) => drain.messages / drain.secondsToEc2),
      against: 'one INSERT a reading and side',
      peers: drains.straightforward.map((drain) => drain.messages / drain.secondsToEc2),
      target: { atLeast: 4 },
    },
    {
      what: 'consume --dual-write',
      unit,
      figures: rates('dual'),
      against: `receive and delete only, ${POLLERS} pollers`,
      peers: rates('bare'),
      target: { atLeast: 0.65 },
    },
    { what: 'consume --dual-write', unit, figures: rates('dual'), ...localOnly, target: { atLeast: 0.9 } },
    {
      what: `EC2 ${FAR_MS} ms away`,
      ...{ unit, figures: rates('far'), ...localOnly, target: { atLeast: 0.9 } },
    },
    { what: 'EC2 black-holed', unit, figures: rates('blackHoled'), ...localOnly, target: { atLeast: 0.9 } },
    ...(['dual', 'blackHoled'] as const).map((name) => ({
      what: name === 'dual' ? 'peak memory, dual write' : 'peak memory, EC2 black-holed',
      unit: 'MiB',
      figures: peaks(name),
      against: 'local only',
      peers: peaks('localOnly'),
      target: null,
    })),
  ];
}

/** How busy each contestant kept the queue, itself and the machine: whatever is near its number of cores is the limit. */
export function describeLoad(drains: Drains): string[][] {
  return Object.entries(drains).map(([name, runs]) => [
    TITLES[name as ContestantName],
    ...(['queue', 'consumer', 'machine'] as const).map((part) => median(runs.map((run) => run.cores[part])).toFixed(2)),
    median(runs.map(cpuMicrosOf)).toFixed(0),
    median(runs.map((run) => run.seconds)).toFixed(1),
  ]);
}

const TITLES: Readonly<Record<ContestantName, string>> = {
  dual: 'consume --dual-write',
  localOnly: 'consume --no-dual-write',
  far: `consume --dual-write, EC2 ${FAR_MS} ms away`,
  blackHoled: 'consume --dual-write, EC2 black-holed',
  bare: 'receive and delete only',
  straightforward: 'one INSERT a reading and side',
};

function createContestants({ blackHole, far }: ConsumeMeasure): Record<ContestantName, Contestant> {
  const consume = [SENSORCTL, 'consume', '--drain', '--json', '--pollers', String(POLLERS)];
  const peer = (file: string): string[] => ['--import', import.meta.resolve('tsx'), pathOf(file)];
  const away = { EC2_DB_PORT: String(blackHole.port) };
  return {
    straightforward: {
      name: TITLES.straightforward,
      args: peer('straightforward-consumer.ts'),
      share: 0.25,
      end: 'when told',
      fills: ['local', 'ec2'],
    },
    dual: { name: TITLES.dual, args: [...consume, '--dual-write'], end: 'by itself', fills: ['local', 'ec2'] },
    bare: { name: TITLES.bare, args: [...peer('bare-consumer.ts'), String(POLLERS)], end: 'when told', fills: [] },
    localOnly: { name: TITLES.localOnly, args: [...consume, '--no-dual-write'], end: 'by itself', fills: ['local'] },
    far: {
      name: TITLES.far,
      args: [...consume, '--dual-write'],
      environment: { EC2_DB_PORT: String(far.port) },
      end: 'by itself',
      fills: ['local', 'ec2'],
    },
    blackHoled: {
      name: TITLES.blackHoled,
      args: [...consume, '--dual-write'],
      environment: away,
      end: 'by itself',
      fills: ['local'],
    },
  };
}

function pathOf(file: string): string {
  return fileURLToPath(new URL(file, import.meta.url));
}

function rateOf({ messages, seconds }: Drain): number {
  return messages / seconds;
}

/** CPU time of the consumer's process a message, in µs; other programs on the machine disturb it less than the rate. */
function cpuMicrosOf({ cores, seconds, messages }: Drain): number {
  return (cores.consumer * seconds * 1e6) / messages;
}

/** A rate counts only if the work was done. */
function assertComplete({ name, fills, share }: Contestant, { readings }: Drain, reference: Drain): void {
  const expected = share === undefined ? reference.readings.local : readings.local;
  const lacking = fills.find((side) => readings[side] !== expected || expected === 0);
  if (lacking !== undefined)
    throw new Error(`${name}: ${lacking} holds ${readings[lacking]} readings, not ${expected}`);
}
