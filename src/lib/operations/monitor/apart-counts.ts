import type { Apart } from './monitor-snapshot.js';
import type { SideLook } from './side-watch.js';

interface Since {
  readonly rows: number;
  readonly at: number;
}

/** Remembers from look to look since when the counts of both sides are apart in the same direction. */
export class ApartCounts {
  readonly #since = new Map<string, Since>();

  /** By table; `now` in ms of a clock that only grows. While rows are to be counted again nothing is known anew. */
  take(local: SideLook, ec2: SideLook | null, now: number): ReadonlyMap<string, Apart> {
    for (const [table, { settled }] of local.tables) {
      const other = ec2?.tables.get(table)?.settled ?? null;
      if (settled === null || settled.from !== other?.from || settled.to !== other.to) continue;
      const rows = settled.rows - other.rows;
      const before = this.#since.get(table);
      if (rows === 0) this.#since.delete(table);
      else
        this.#since.set(table, {
          rows,
          at: Math.sign(before?.rows ?? 0) === Math.sign(rows) ? (before?.at ?? now) : now,
        });
    }
    if (ec2?.answers !== true || !local.answers) this.#since.clear();
    return new Map([...this.#since].map(([table, { rows, at }]) => [table, { rows, seconds: (now - at) / 1000 }]));
  }
}
