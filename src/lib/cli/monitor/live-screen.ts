import { renderScreen } from './screen.js';
import { createOutputPaint, printableButStyle } from '../output.js';
import type { Snapshot } from '../../operations/monitor/monitor-snapshot.js';

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
  /** The looks that are shown while the picture is paused. */
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

/** The explanation that the key ? shows. */
export const HELP: readonly string[] = [
  'What it means                                                  ? back   q quit',
  '',
  'HEALTHY     everything answers, and EC2 holds what local holds or has it coming',
  'RECOVERING  everything answers, and what EC2 lacks is being brought there',
  'TROUBLE     something needs you; the lines below the title say what',
  '',
  'soak        how long phase 2 has lasted, of what phase 3 wants by default',
  'rows        of the window, by the time of the readings; apart: local less EC2',
  '            (of many the worst, and all as one line; ~: of all times, estimated)',
  'in          readings a second that the primary accepts; sparkline: the last looks',
  'to EC2      readings a second that EC2 confirms, repairs included',
  'lag         since the commit on the primary of the oldest batch not yet on EC2',
  'way back    in phase 3, local kept as it was: what a rollback would bring there',
  'ledger      batches on their way (pending), missed, or refused by EC2 for good',
  'gaps        time ranges that EC2 lacks; consumers mend them, backfill at once',
  'writers     what other programs wrote to tracked tables, and EC2 has yet to get',
  'tables      tracked: such writes enter the ledger; untracked: compare finds them',
  'queue       by SQS itself; longest wait: of messages received in the last minute',
  'quarantine  open records: sensorctl quarantine list',
  'compare     the last verdict on record: sensorctl compare --window 1h',
  'breaker     closed: EC2 answers; open: left out; probing: tried with one batch',
  '',
  'p           holds the picture still; what happens meanwhile is not lost',
  '?           is what is not known, for a side or the queue does not answer',
];
