/** Closed while the primary does not take batches, so that nothing is received that could not be stored. */
export class PrimaryGate {
  #failing = 0;
  #waiting: (() => void)[] = [];

  /** Lends a failing state for the length of `work`. */
  async whileFailing<Result>(work: () => Promise<Result>): Promise<Result> {
    this.#failing += 1;
    try {
      return await work();
    } finally {
      this.#failing -= 1;
      if (this.#failing === 0) for (const resume of this.#waiting.splice(0)) resume();
    }
  }

  get isOpen(): boolean {
    return this.#failing === 0;
  }

  async untilOpen(): Promise<void> {
    while (this.#failing > 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }
}
