import type { Ora } from 'ora';

export interface Progress {
  update(text: string): void;
  stop(): void;
}

/** A line on stderr that changes in place; silent where stderr is not a terminal. */
export function createProgress(title: string): Progress {
  const { isTTY, columns } = process.stderr;
  // On a terminal that names no width (as under script(1)) ora clears lines without end.
  return isTTY && columns > 0 ? new Spinner(title) : { update: () => undefined, stop: () => undefined };
}

/** ora takes 50 ms to load, which nobody waits for: the first texts may come before it. */
class Spinner implements Progress {
  #text: string;
  #stopped = false;
  #spinner: Ora | undefined;

  constructor(private readonly title: string) {
    this.#text = title;
    void this.#start();
  }

  update(text: string): void {
    this.#text = `${this.title}: ${text}`;
    if (this.#spinner !== undefined) this.#spinner.text = this.#text;
  }

  stop(): void {
    this.#stopped = true;
    this.#spinner?.stop();
  }

  async #start(): Promise<void> {
    const { default: ora } = await import('ora');
    if (this.#stopped) return;
    // Without `discardStdin: false` ora swallows Ctrl-C.
    this.#spinner = ora({ text: this.#text, stream: process.stderr, discardStdin: false }).start();
  }
}
