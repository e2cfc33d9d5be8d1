// What the scenarios of the dual write under faults share: a stage, telemetry, and what they wait for.
import { generateTelemetry } from '../../src/lib/decoders/generate.js';
import { countUnsettled } from '../chaos/invariants.js';
import { SPACING_MS } from '../chaos/load.js';
import { ChaosStage, startServers, stopServers, type Servers } from '../chaos/stage.js';
import { eventually, type RunningCli } from './cli.js';
import { seedOf } from './seed.js';

export const SEED = seedOf(20250701);
const HEALED_WITHIN_MS = 120_000;

/** Runs it on databases of its own; on servers of its own, where none are given. */
export async function play(run: (stage: ChaosStage) => Promise<void>, shared?: Servers): Promise<void> {
  const servers = shared ?? (await startServers({ durable: false }));
  const stage = await ChaosStage.open(servers);
  try {
    await run(stage);
  } catch (error) {
    (error as Error).message += `\n${stage.readLogs()}`;
    throw error;
  } finally {
    await stage.close();
    if (shared === undefined) await stopServers(servers);
  }
}

/** So far apart in time that each reading is a range of its own in the ledger. */
export function telemetry(count: number, spacingMs = SPACING_MS): string[] {
  return [...generateTelemetry({ seed: SEED, count, spacingMs })];
}

/** Waits until nothing is left in the queue. */
export async function consumed(stage: ChaosStage): Promise<void> {
  await eventually('the queue is empty', () => stage.isQueueEmpty(), HEALED_WITHIN_MS);
}

/** Waits until queue and ledger are empty. */
export async function settled(stage: ChaosStage): Promise<void> {
  const isSettled = async () => (await stage.isQueueEmpty()) && (await countUnsettled(stage)) === 0;
  await eventually('queue and ledger are empty', isSettled, HEALED_WITHIN_MS);
}

/** Waits until a consumer has its roles; asking an EC2 that is slow or silent for its record takes seconds by itself. */
export async function begun(consumer: RunningCli): Promise<void> {
  const hasRoles = (): Promise<boolean> => Promise.resolve(consumer.stderr.includes('is the primary'));
  await eventually('the consumer has its roles', hasRoles, HEALED_WITHIN_MS);
}

export async function logged(consumer: RunningCli, text: string): Promise<void> {
  const isLogged = (): Promise<boolean> => Promise.resolve(consumer.stderr.includes(text));
  await eventually(`"${text}" is logged`, isLogged, HEALED_WITHIN_MS);
}
