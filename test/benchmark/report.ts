import { formatCount } from '../../src/lib/cli/quantities.js';
import { renderTable } from '../../src/lib/cli/table.js';
import { median, pairedRatios } from './statistics.js';

/** One figure beside its peer or limit, repetition by repetition. */
export interface Comparison {
  readonly what: string;
  readonly unit: string;
  readonly figures: readonly number[];
  readonly against: string;
  readonly peers: readonly number[];
  /** Of the ratio figure / peer; null where nobody set one. */
  readonly target: { readonly atLeast: number } | { readonly atMost: number } | null;
}

/** A comparison in one line: medians, and the lowest and highest ratio of a repetition. */
export interface Result {
  readonly what: string;
  readonly unit: string;
  readonly figure: number;
  readonly against: string;
  readonly peer: number;
  readonly ratio: number;
  readonly spread: readonly [number, number];
  readonly target: Comparison['target'];
  readonly met: boolean;
}

export function conclude(comparison: Comparison): Result {
  const { what, unit, against, target } = comparison;
  const ratios = pairedRatios(comparison.figures, comparison.peers);
  const ratio = median(ratios);
  return {
    what,
    unit,
    figure: median(comparison.figures),
    against,
    peer: median(comparison.peers),
    ratio,
    spread: [Math.min(...ratios), Math.max(...ratios)],
    target,
    met: isMet(ratio, target),
  };
}

export function renderResults(results: readonly Result[]): string {
  return renderTable(
    ['measure', 'figure', 'against', 'figure', 'ratio', 'spread', 'target', 'met'],
    results.map((result) => [
      result.what,
      `${formatCount(Math.round(result.figure))} ${result.unit}`,
      result.against,
      `${formatCount(Math.round(result.peer))} ${result.unit}`,
      result.ratio.toFixed(2),
      result.spread.map((ratio) => ratio.toFixed(2)).join(' to '),
      describeTarget(result.target),
      result.target === null ? '' : result.met ? 'yes' : 'NO',
    ]),
  );
}

function isMet(ratio: number, target: Comparison['target']): boolean {
  if (target === null) return true;
  return 'atLeast' in target ? ratio >= target.atLeast : ratio <= target.atMost;
}

function describeTarget(target: Comparison['target']): string {
  if (target === null) return '';
  return 'atLeast' in target ? `≥ ${target.atLeast}` : `≤ ${target.atMost}`;
}
