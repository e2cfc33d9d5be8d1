import { LiveScreen } from './live-screen.js';
import { renderScreen } from './screen.js';
import { formatFigure, formatRate, formatSeconds, UNKNOWN } from './wording.js';
import { createOutputPaint } from '../output.js';
import { terminalWidth } from '../text-layout.js';
import { mapTexts, oneLine } from '../../domain/printable.js';
import { leavesSecondaryOut, type Snapshot } from '../../operations/monitor/monitor-snapshot.js';

export interface PresenterOptions {
  /** `once`: the picture as text; `json`: a document a line; `live`: on a terminal the live picture, elsewhere lines. */
  readonly style: 'once' | 'json' | 'live';
  /** Takes text with colours of ours. */
  readonly print: (text: string) => void;
  readonly printJson: (value: Snapshot) => void;
  /** The person at the terminal, or whoever reads stdout, has seen enough. */
  readonly onQuit: () => void;
}

/** Shows each look. */
export interface Presenter {
  show(snapshot: Snapshot): void;
  /** Keeps what hinders the monitor itself, for when the terminal is free again. */
  note(problem: string): void;
  readonly notes: readonly string[];
  close(): void;
}

export function monitorPresenter({ style, print, printJson, onQuit }: PresenterOptions): Presenter {
  const notes: string[] = [];
  const note = (problem: string): void => void notes.push(problem);
  // `monitor | head`: nobody reads any more.
  process.stdout.on('error', onQuit);
  if (style === 'json') return { show: printJson, note, notes, close: () => undefined };
  const plain = (render: (snapshot: Snapshot) => string): Presenter => {
    return { show: (snapshot) => print(render(snapshot)), note, notes, close: () => undefined };
  };
  if (style === 'once') return plain(renderText);
  if (!process.stdout.isTTY) return plain(renderLine);
  const screen = new LiveScreen(onQuit);
  screen.open();
  return { show: (snapshot) => screen.show(snapshot), note, notes, close: () => screen.close() };
}

/** Where stdout is no terminal. */
const COLUMNS = 80;

function renderText(snapshot: Snapshot): string {
  const options = {
    columns: process.stdout.isTTY ? terminalWidth(process.stdout) : COLUMNS,
    rows: Infinity,
    paint: createOutputPaint(),
    footer: null,
  };
  return renderScreen([snapshot], options).join('\n');
}

/** One look as a line of a log: figures as `name=value`, then what is wrong. */
export function renderLine(look: Snapshot): string {
  const snapshot = mapTexts(look, oneLine);
  const {
    at,
    health,
    phase,
    writeMode,
    epoch,
    primary,
    lagSeconds,
    gaps,
    leftBehind,
    rates,
    queue,
    consumers,
    troubles,
    soak,
    backfill,
    tables,
    writers,
  } = snapshot;
  const open = consumers?.filter(leavesSecondaryOut);
  const figures = {
    phase: phase ?? 'none',
    mode: writeMode ?? 'none',
    epoch,
    primary,
    ...(leftBehind === null
      ? { lag: formatSeconds(lagSeconds).replace(' ', ''), gaps: gaps === null ? UNKNOWN : gaps.ranges }
      : { 'way-back': leftBehind.readings }),
    in: formatRate(rates.in),
    out: formatRate(rates.toSecondary),
    queue: queue === null ? '-' : formatFigure(queue.visible),
    consumers: consumers === null ? UNKNOWN : consumers.filter(({ state }) => state !== 'lost').length,
    breakers: open === undefined ? UNKNOWN : open.length,
    tables: tables.length,
    writers: writers === null ? UNKNOWN : writers.reduce((sum, { pending, missed }) => sum + pending + missed, 0),
    ...(soak === null ? {} : { soak: `${Math.floor(soak.seconds / 360) / 10}/${soak.wantedSeconds / 3600}h` }),
    ...(backfill === null ? {} : { backfill: `${backfill.unitsDone}/${backfill.units}` }),
  };
  const pairs = Object.entries(figures).map(([name, value]) => `${name}=${value}`);
  const wrong = troubles.map(({ text }) => text).join('; ');
  return `${at.slice(0, 19)}Z ${health.padEnd(10)} ${pairs.join(' ')}${wrong === '' ? '' : `: ${wrong}`}`;
}
