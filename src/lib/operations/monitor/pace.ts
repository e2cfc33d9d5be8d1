/** The share of one processor core of a server that any one question may take: 1 ms of work a second. */
const SHARE = 0.001;
const LONGEST_PAUSE_MS = 600_000;

/** Says when a question may be asked again: the more it costs the server, the more seldom, whatever the data's size. */
export class Pace {
  readonly #freeAt = new Map<string, number>();

  constructor(private readonly now: () => number = () => performance.now()) {}

  isDue(name: string): boolean {
    return this.now() >= (this.#freeAt.get(name) ?? 0);
  }

  spent(name: string, costMs: number): void {
    this.#freeAt.set(name, this.now() + Math.min(costMs / SHARE, LONGEST_PAUSE_MS));
  }
}
