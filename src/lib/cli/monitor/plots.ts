import type { SampleFigures } from '../../repository/monitor/samples.js';
import { formatCount } from '../quantities.js';
import { renderPlot, type PlotOptions, type Point } from './plot.js';
import { formatMs, formatRate, formatSeconds } from './wording.js';

export interface PlotsOptions {
  readonly stretch: Pick<PlotOptions, 'fromMs' | 'toMs' | 'bands'>;
  /** The values of one figure over the stretch. */
  readonly points: (read: (figures: SampleFigures) => number | null) => Point[];
  /** How the series of confirmed readings and of the lag are named. */
  readonly confirmed: string;
  readonly lag: string;
}

/** The plots of a stretch of time, as the live page and the report show them. */
export function renderPlots({ stretch, points, confirmed, lag }: PlotsOptions): string {
  return [
    renderPlot({
      ...{ ...stretch, title: 'Readings a second', format: (value) => formatRate(value), atLeast: 1 },
      series: [
        { name: 'in', points: points(({ inPerSecond }) => inPerSecond) },
        { name: confirmed, points: points(({ toSecondaryPerSecond }) => toSecondaryPerSecond) },
      ],
    }),
    renderPlot({
      ...{ ...stretch, title: 'Lag', format: (value) => formatSeconds(value), atLeast: 1 },
      series: [{ name: lag, points: points(({ lagSeconds }) => lagSeconds) }],
    }),
    renderPlot({
      ...{ ...stretch, title: 'Write latency', format: (value) => formatMs(value), atLeast: 10 },
      series: [
        { name: 'local p50', points: points(({ localP50Ms }) => localP50Ms) },
        { name: 'EC2 p50', points: points(({ ec2P50Ms }) => ec2P50Ms) },
        { name: 'local p99', points: points(({ localP99Ms }) => localP99Ms) },
        { name: 'EC2 p99', points: points(({ ec2P99Ms }) => ec2P99Ms) },
      ],
    }),
    renderPlot({
      ...{ ...stretch, title: 'Readings that the secondary lacks', format: formatCount, atLeast: 10 },
      series: [{ name: 'readings', points: points(({ gapReadings }) => gapReadings) }],
    }),
  ].join('');
}
