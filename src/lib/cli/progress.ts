import ora from 'ora';

export interface Progress {
  /** `share` is what is done of the whole, 0 to 1; null where the whole is not known. */
  update(text: string, share?: number | null): void;
  stop(): void;
}

const BAR_CELLS = 20;
const LINE_EVERY_MS = 10_000;

/** A line on stderr that changes in place, with a bar; where stderr is not a terminal, a plain line every ten seconds. */
export function createProgress(title: string): Progress {
  if (!process.stderr.isTTY) return createPlainProgress(title);
  // Without `discardStdin: false` ora swallows Ctrl-C.
  const spinner = ora({ text: title, stream: process.stderr, discardStdin: false }).start();
  return {
    update: (text, share = null) => {
      spinner.text = share === null ? `${title}: ${text}` : `${title} ${renderBar(share)} ${text}`;
    },
    stop: () => spinner.stop(),
  };
}

function createPlainProgress(title: string): Progress {
  let writtenAt = performance.now();
  return {
    update: (text) => {
      if (performance.now() - writtenAt < LINE_EVERY_MS) return;
      writtenAt = performance.now();
      process.stderr.write(`${title}: ${text}\n`);
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
