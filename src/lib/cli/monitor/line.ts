import { mapTexts, oneLine } from '../../domain/printable.js';
import { leavesSecondaryOut, type Snapshot } from '../../operations/monitor/snapshot.js';
import { formatFigure, formatRate, formatSeconds, UNKNOWN } from './wording.js';

/** One look as a line of a log: figures as `name=value`, then what is wrong. */
export function renderLine(look: Snapshot): string {
  const snapshot = mapTexts(look, oneLine);
  const { at, health, phase, writeMode, epoch, primary, lagSeconds, gaps, rates, queue, consumers, troubles } =
    snapshot;
  const open = consumers?.filter(leavesSecondaryOut);
  const figures = {
    phase: phase ?? 'none',
    mode: writeMode ?? 'none',
    epoch,
    primary,
    lag: formatSeconds(lagSeconds).replace(' ', ''),
    gaps: gaps === null ? UNKNOWN : gaps.ranges,
    in: formatRate(rates.in),
    out: formatRate(rates.toSecondary),
    queue: queue === null ? '-' : formatFigure(queue.visible),
    consumers: consumers === null ? UNKNOWN : consumers.filter(({ state }) => state !== 'lost').length,
    breakers: open === undefined ? UNKNOWN : open.length,
  };
  const pairs = Object.entries(figures).map(([name, value]) => `${name}=${value}`);
  const wrong = troubles.map(({ text }) => text).join('; ');
  return `${at.slice(0, 19)}Z ${health.padEnd(10)} ${pairs.join(' ')}${wrong === '' ? '' : `: ${wrong}`}`;
}
