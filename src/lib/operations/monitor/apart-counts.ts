import type { Apart } from './monitor-snapshot.js';
import type { SideLook } from './side-watch.js';

interface Since {
  readonly rows: number;
  /** When the counts were apart in this direction first, and last. */
  readonly from: number;
  readonly to: number;
}

/** Remembers from count to count since when those of both sides are apart in the same direction. */
export class ApartCounts {
  readonly #since = new Map<string, Since>();

  isApart(table: string): boolean {
    return this.#since.has(table);
  }

  /**
   * By table; `now` in ms of a clock that only grows. Where a table was not counted, or rows are to be counted again, nothing
   * is known anew, and no time has passed.
   */
  take(local: SideLook, ec2: SideLook | null, now: number): ReadonlyMap<string, Apart> {
    for (const [table, { settled }] of local.tables) {
      const other = ec2?.tables.get(table)?.settled ?? null;
      if (settled === null || settled.from !== other?.from || settled.to !== other.to) continue;
      if (!wasCounted(local, table) || !wasCounted(ec2, table)) continue;
      this.#learn(table, settled.rows - other.rows, now);
    }
    if (ec2?.answers !== true || !local.answers) this.#since.clear();
    return new Map(
      [...this.#since].map(([table, { rows, from, to }]) => [table, { rows, seconds: (to - from) / 1000 }]),
    );
  }

  #learn(table: string, rows: number, now: number): void {
    const before = this.#since.get(table);
    if (rows === 0) this.#since.delete(table);
    else {
      const goesOn = Math.sign(before?.rows ?? 0) === Math.sign(rows);
      this.#since.set(table, { rows, from: goesOn ? (before?.from ?? now) : now, to: now });
    }
  }
}

function wasCounted(look: SideLook | null, table: string): boolean {
  return look?.counted.some((each) => each.table === table && each.kind === 'recent' && !each.isRefused) === true;
}
