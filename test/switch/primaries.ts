import { setTimeout as sleep } from 'node:timers/promises';
import { closeDatabase, type Database } from '../../src/lib/db/database.js';
import { withTransaction } from '../../src/lib/db/transaction.js';
import type { Side } from '../../src/lib/domain/side.js';
import { assertPrimary } from '../../src/lib/repository/phase/fence.js';
import { readRecordedState } from '../../src/lib/repository/phase/state.js';

const PAUSE_MS = 25;

/** A side took a batch as primary under its own record; when it was asked and when it answered, in ms. */
interface Taken {
  readonly side: Side;
  readonly epoch: number;
  readonly from: number;
  readonly to: number;
}

/**
 * Offers both sides a batch all the time, each under its own record. A side that took one in the same epoch before and
 * after a moment would have taken it then too: what the record of an epoch says never changes.
 */
export class Primaries {
  readonly #taken: Taken[] = [];
  readonly #over = new AbortController();
  readonly #watching: Promise<unknown>;
  #offers = 0;

  constructor(private readonly sides: Readonly<Record<Side, Database>>) {
    this.#watching = Promise.all([this.#watch(sides.local), this.#watch(sides.ec2)]);
  }

  get offers(): number {
    return this.#offers;
  }

  /** Moments at which both sides were the primary; empty where all is well. */
  async stop(): Promise<string[]> {
    this.#over.abort();
    await this.#watching;
    await Promise.all(Object.values(this.sides).map((side) => closeDatabase(side)));
    return twoAtOnce(this.#taken);
  }

  async #watch(database: Database): Promise<void> {
    while (!this.#over.signal.aborted) {
      const from = performance.now();
      const epoch = await offer(database).catch(() => null);
      if (epoch !== null) this.#taken.push({ side: database.side, epoch, from, to: performance.now() });
      this.#offers += 1;
      await sleep(PAUSE_MS, undefined, { signal: this.#over.signal }).catch(() => undefined);
    }
  }
}

/** The epoch in which the side takes a batch; throws where it does not. */
async function offer({ pool, side }: Database): Promise<number> {
  const { epoch } = await readRecordedState(pool);
  await withTransaction(pool, async (client) => {
    for (const { text, values = [] } of assertPrimary(side, epoch)) await client.query(text, [...values]);
  });
  return epoch;
}

function twoAtOnce(taken: readonly Taken[]): string[] {
  const reigns = new Map<string, Taken>();
  for (const each of taken) {
    const key = `${each.side} ${each.epoch}`;
    const known = reigns.get(key);
    // From the first answer to the last question: inside, it was the primary without a doubt.
    reigns.set(key, known === undefined ? { ...each, from: each.to, to: each.from } : { ...known, to: each.from });
  }
  const locals = [...reigns.values()].filter(({ side }) => side === 'local');
  return locals.flatMap((local) =>
    taken
      .filter(({ side, from, to }) => side === 'ec2' && from >= local.from && to <= local.to)
      .slice(0, 3)
      .map(({ epoch }) => `both were primary: local in epoch ${local.epoch}, EC2 in epoch ${epoch}`),
  );
}
