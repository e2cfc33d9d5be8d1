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

  /** `sharers`: so many questions have the share of one among them. */
  spent(name: string, costMs: number, sharers = 1): void {
    this.#freeAt.set(name, this.now() + sharers * Math.min(costMs / SHARE, LONGEST_PAUSE_MS));
  }

  /** It may be asked at once. */
  free(name: string): void {
    this.#freeAt.delete(name);
  }
}
