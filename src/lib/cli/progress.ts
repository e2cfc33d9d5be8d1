import ora from 'ora';

export interface Progress {
  update(text: string): void;
  stop(): void;
}

/** A line on stderr that changes in place; silent where stderr is not a terminal. */
export function createProgress(title: string): Progress {
  if (!process.stderr.isTTY) return { update: () => undefined, stop: () => undefined };
  // Without `discardStdin: false` ora swallows Ctrl-C.
  const spinner = ora({ text: title, stream: process.stderr, discardStdin: false }).start();
  return {
    update: (text) => {
      spinner.text = `${title}: ${text}`;
    },
    stop: () => spinner.stop(),
  };
}
