// A consumer whose sends come when they like: at once, late, twice, or long after they were given up.
import type { Database } from '../../src/lib/db/database.js';
import { faultKind } from '../../src/lib/db/sqlstate.js';
import type { DualWriteRepository } from '../../src/lib/repository/dual-write-repository.js';
import type { CommittedBatch } from '../../src/lib/repository/write/batch.js';
import { SecondaryWriter, type SecondaryBatch } from '../../src/lib/repository/write/send-batch.js';
import type { SendOutcome } from '../../src/lib/repository/write/settle.js';
import { openRepository } from './tracked.js';

export class LateConsumer {
  /** Sends that are still on their way, some of which have been answered for. */
  readonly #held: CommittedBatch[] = [];
  readonly #writer: SecondaryWriter;
  landed = 0;
  left = 0;

  private constructor(
    private readonly repository: DualWriteRepository,
    secondary: Database,
    private readonly random: () => number,
  ) {
    this.#writer = new SecondaryWriter(secondary);
  }

  static async open(
    { primary, secondary }: { readonly primary: Database; readonly secondary: Database },
    random: () => number,
  ): Promise<LateConsumer> {
    const consumer = { host: 'test', pid: Math.floor(random() * 1_000_000) };
    const repository = await openRepository({ primary, secondary }, { consumer, healing: null });
    return new LateConsumer(repository, secondary, random);
  }

  /** Commits a batch of readings of a few sensors, of which others write and delete the same keys. */
  async commit(): Promise<void> {
    const number = (below: number): number => Math.floor(this.random() * below);
    const rows = Array.from({ length: 1 + number(3) }, () => {
      const minute = String(number(12)).padStart(2, '0');
      const time = `2025-07-0${1 + number(4)}T00:${minute}:00Z`;
      return { table: 'public.readings', values: { time, sensor: String(number(12)), value: '0' } };
    });
    const units = rows.map((row) => ({ rows: [row] }));
    this.#held.push(...(await this.repository.primary.write({ units, rejects: [] })));
  }

  /** Something happens to one of the sends. */
  async moveOn(): Promise<void> {
    const place = Math.floor(this.random() * this.#held.length);
    const batch = this.#held[place];
    if (batch === undefined) return;
    const draw = this.random();
    if (draw < 0.3) this.#settle(batch, { confirmed: false, reason: 'given up' });
    else await this.#land(batch, true);
    if (draw > 0.7) this.#held.splice(place, 1);
  }

  /** All that is on its way arrives, though its entries may be settled since; nobody hears of it. */
  async landAll(): Promise<void> {
    for (const batch of this.#held.splice(0)) await this.#land(batch, false);
  }

  async close(): Promise<void> {
    for (const batch of this.#held) this.#settle(batch, { confirmed: false, reason: 'the end' });
    await this.repository.settlement.idle();
    await this.repository.close();
  }

  /** The rest is settled, and late sends go on. */
  async settleAll(): Promise<void> {
    for (const batch of this.#held) this.#settle(batch, { confirmed: false, reason: 'given up' });
    await this.repository.settlement.idle();
  }

  #settle(batch: CommittedBatch, outcome: SendOutcome): void {
    this.repository.settlement.settle(batch, outcome);
  }

  async #land(batch: CommittedBatch, heard: boolean): Promise<void> {
    if (batch.batchId === null) return;
    try {
      const result = await this.#writer.write(batch as SecondaryBatch);
      const isLeft = 'left' in result;
      if (isLeft) this.left += 1;
      else this.landed += 1;
      if (heard)
        this.#settle(
          batch,
          isLeft ? { confirmed: false, reason: result.left } : { confirmed: true, refused: result.refused },
        );
    } catch (error) {
      if (!['collision', 'unavailable'].includes(faultKind(error))) throw error;
      if (heard) this.#settle(batch, { confirmed: false, reason: 'it failed' });
    }
  }
}
