import type { Snapshot } from '../../operations/monitor/snapshot.js';
import { HELP } from './help.js';
import { createOutputPaint, printableButStyle } from '../paint.js';
import { renderScreen } from './screen.js';

const ENTER = '\u001b[?1049h\u001b[?25l';
const LEAVE = '\u001b[?25h\u001b[?1049l';
const HOME = '\u001b[H';
const CLEAR_LINE = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';
const CTRL_C = '\u0003';
const KEYS = 'q quit   p pause   ? what it means';
const PAUSED = 'PAUSED   p go on   q quit   ? what it means';
const HISTORY = 200;

/** The live picture on a terminal: redrawn in place, also when the window changes its size; keys q, p and ?. */
export class LiveScreen {
  readonly #paint = createOutputPaint();
  #history: readonly Snapshot[] = [];
  /** What is shown while it is paused. */
  #frozen: readonly Snapshot[] | null = null;
  #help = false;

  /** `onQuit` is called for q and Ctrl-C, which a raw terminal gives as a key. */
  constructor(private readonly onQuit: () => void) {}

  open(): void {
    const { stdin, stdout } = process;
    stdout.write(ENTER);
    stdout.on('resize', this.#draw);
    if (stdin.isTTY) {
      stdin.setRawMode(true).setEncoding('utf8').on('data', this.#onKey).resume();
    }
    this.#draw();
  }

  show(snapshot: Snapshot): void {
    this.#history = [...this.#history, snapshot].slice(-HISTORY);
    this.#draw();
  }

  /** Gives the terminal back as it was. */
  close(): void {
    const { stdin, stdout } = process;
    stdout.off('resize', this.#draw).write(LEAVE);
    if (stdin.isTTY) stdin.off('data', this.#onKey).setRawMode(false).pause();
  }

  readonly #draw = (): void => {
    const { columns, rows } = process.stdout;
    const footer = this.#frozen === null ? KEYS : PAUSED;
    const lines = this.#help
      ? HELP.slice(0, rows)
      : renderScreen(this.#frozen ?? this.#history, { columns, rows, paint: this.#paint, footer });
    // One write a frame, no clearing before it: nothing flickers.
    process.stdout.write(
      `${HOME}${lines.map((line) => `${printableButStyle(line)}${CLEAR_LINE}`).join('\r\n')}${CLEAR_BELOW}`,
    );
  };

  readonly #onKey = (key: string): void => {
    if (key === 'q' || key === CTRL_C) this.onQuit();
    if (key === 'p') this.#frozen = this.#frozen === null ? this.#history : null;
    if (key === '?') this.#help = !this.#help;
    this.#draw();
  };
}
