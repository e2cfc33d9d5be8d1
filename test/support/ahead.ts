const SIDE_BY_SIDE = 2;

interface Run {
  readonly title: string;
  readonly run: () => Promise<void>;
  outcome?: Promise<void>;
}

/** Scenarios wait more than they work: some run side by side, each on databases, a queue and networks of its own. */
export class Ahead {
  readonly #runs: Run[] = [];
  #active = 0;

  /** Declares a test that may start while others before it still run. */
  it(title: string, run: () => Promise<void>): void {
    this.#runs.push({ title, run });
    it(title, async () => {
      const asked = this.#runs.find((each) => each.title === title);
      if (asked !== undefined) this.#start(asked);
      this.#fill();
      await asked?.outcome;
    });
  }

  /** Resolves when nothing runs any more. */
  async end(): Promise<void> {
    await Promise.allSettled(this.#runs.flatMap((each) => each.outcome ?? []));
  }

  /** Nothing but what was asked for, where mocha was asked for some tests alone. */
  #fill(): void {
    if (process.argv.some((argument) => /^(-g|-f|--grep|--fgrep)/.test(argument))) return;
    for (const each of this.#runs) if (this.#active < SIDE_BY_SIDE) this.#start(each);
  }

  #start(each: Run): void {
    if (each.outcome !== undefined) return;
    this.#active += 1;
    each.outcome = each.run().finally(() => {
      this.#active -= 1;
      this.#fill();
    });
    each.outcome.catch(() => undefined);
  }
}
