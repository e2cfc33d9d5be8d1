import type { Ora } from 'ora';
import { oneLine, writeNote } from './output.js';

export interface Progress {
  /** `share` is what is done of the whole, 0 to 1; null where the whole is not known. */
  update(text: string, share?: number | null): void;
  stop(): void;
}

const BAR_CELLS = 20;
const LINE_EVERY_MS = 10_000;
const WAIT_WORTH_TELLING_SECONDS = 3;

/** A line on stderr that changes in place, with a bar; where stderr is not a terminal, a plain line every ten seconds. */
export function createProgress(title: string): Progress {
  const { isTTY, columns } = process.stderr;
  // On a terminal that names no width (as under script(1)) ora clears lines without end.
  return isTTY && columns > 0 ? new Spinner(title) : createPlainProgress(title);
}

/** ora takes 50 ms to load, which nobody waits for: the first texts may come before it. */
class Spinner implements Progress {
  #text: string;
  #since = performance.now();
  #stopped = false;
  #spinner: Ora | undefined;
  #waiting: NodeJS.Timeout | undefined;

  constructor(private readonly title: string) {
    this.#text = title;
    void this.#start();
  }

  update(text: string, share: number | null = null): void {
    const line = share === null ? `${this.title}: ${text}` : `${this.title} ${renderBar(share)} ${text}`;
    this.#text = oneLine(line);
    this.#since = performance.now();
    this.#show();
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#waiting);
    this.#spinner?.stop();
  }

  #show(): void {
    if (this.#spinner !== undefined) this.#spinner.text = withWait(this.#text, performance.now() - this.#since);
  }

  async #start(): Promise<void> {
    const { default: ora } = await import('ora');
    if (this.#stopped) return;
    // Without `discardStdin: false` ora swallows Ctrl-C.
    this.#spinner = ora({ text: this.#text, stream: process.stderr, discardStdin: false }).start();
    this.#waiting = setInterval(() => this.#show(), 1000).unref();
  }
}

/** `text (12 s)`: how long nothing has come after it, once that is worth telling. */
export function withWait(text: string, ms: number): string {
  const seconds = Math.floor(ms / 1000);
  return seconds < WAIT_WORTH_TELLING_SECONDS ? text : `${text} (${seconds} s)`;
}

function createPlainProgress(title: string): Progress {
  let writtenAt = performance.now();
  return {
    update: (text) => {
      if (performance.now() - writtenAt < LINE_EVERY_MS) return;
      writtenAt = performance.now();
      writeNote(`${title}: ${text}`);
    },
    stop: () => undefined,
  };
}

/** `████████░░░░░░░░░░░░  40 %`. */
export function renderBar(share: number): string {
  const done = Math.min(1, Math.max(0, share));
  const cells = Math.floor(done * BAR_CELLS);
  const percent = Math.floor(done * 100)
    .toString()
    .padStart(3);
  return `${'█'.repeat(cells)}${'░'.repeat(BAR_CELLS - cells)} ${percent} %`;
}
