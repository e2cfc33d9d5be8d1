import { counted } from '../../domain/words.js';
import { otherSide, sideTitle, sideTitleCapitalized, type Side } from '../../domain/side.js';
import {
  leavesSecondaryOut,
  receivesNothing,
  type ConsumerSnapshot,
  type Health,
  type Trouble,
  type TroubleKind,
} from './monitor-snapshot.js';
import { findTableTroubles, type Figures, type Found } from './table-troubles.js';

/** Two heartbeats of a consumer and a retry of each write lie within this. */
export const LAG_OF_CONCERN_SECONDS = 30;

/** Trouble that the ledger accounts for: the outage itself is on record, and repair brings whatever was missed. */
const EXPLAINED: ReadonlySet<TroubleKind> = new Set(['secondary-silent', 'breaker-open', 'gaps', 'lag']);
/** Trouble that passes by itself while everything answers. */
const PASSING: ReadonlySet<TroubleKind> = new Set(['gaps', 'lag']);

/** Trouble that no outage of the secondary explains. */
export function unexplainedOf(troubles: readonly Trouble[]): TroubleKind[] {
  return troubles.map(({ kind }) => kind).filter((kind) => !EXPLAINED.has(kind));
}

export function healthOf(troubles: readonly Trouble[]): Health {
  if (troubles.length === 0) return 'healthy';
  return troubles.every(({ kind }) => PASSING.has(kind)) ? 'recovering' : 'trouble';
}

/** Everything that is wrong, the worst first. */
export function findTroubles(figures: Figures): Trouble[] {
  const secondary = otherSide(figures.primary);
  const found: Found[] = [
    ...silence(figures, figures.primary, 'primary-silent', 'messages wait in the queue'),
    ...silence(figures, secondary, 'secondary-silent', 'what it misses goes to the ledger'),
    ...unreadable(figures),
    ...overdue(figures),
    ...consumerTroubles(figures),
    ...ledgerTroubles(figures, secondary),
    ...queueTroubles(figures),
    ...comparisonTroubles(figures),
    ...findTableTroubles(figures),
  ];
  return found.map((each) => ({ tables: [], ...each }));
}

function silence({ sides }: Figures, side: Side, kind: TroubleKind, consequence: string): Found[] {
  const { answers, problem } = sides[side];
  if (answers !== false) return [];
  return [{ kind, text: `${sideTitleCapitalized(side)} does not answer: ${consequence} (${problem ?? ''})` }];
}

function unreadable({ sides }: Figures): Found[] {
  return (['local', 'ec2'] as const).flatMap((side) => {
    const { answers, problem } = sides[side];
    if (answers !== true || problem === null) return [];
    return [
      { kind: 'not-readable' as const, text: `${sideTitleCapitalized(side)} can be read only in part: ${problem}` },
    ];
  });
}

function overdue({ change }: Figures): Found[] {
  if (change?.overdue !== true) return [];
  const text = `A change to phase ${change.targetPhase} should have ended at ${change.deadline}; writes may be waiting for it`;
  return [{ kind: 'change-overdue', text }];
}

function consumerTroubles({ consumers, primary, queue }: Figures): Found[] {
  if (consumers === null) return [];
  const other = sideTitle(otherSide(primary));
  const living = consumers.filter(({ state }) => state !== 'lost');
  const open = living.filter(leavesSecondaryOut);
  const waiting = queue?.visible ?? null;
  return [
    ...(living.length > 0
      ? []
      : [
          {
            kind: 'no-consumer' as const,
            text:
              waiting === null
                ? 'No consumer runs'
                : `No consumer runs; ${counted(waiting, 'message waits', 'messages wait')} in the queue`,
          },
        ]),
    ...notReceiving(living, waiting),
    ...(open.length === 0
      ? []
      : [
          {
            kind: 'breaker-open' as const,
            text: `${open.length} of ${counted(living.length, 'consumer')} ${open.length === 1 ? 'leaves' : 'leave'} ${other} out`,
          },
        ]),
  ];
}

function notReceiving(living: readonly ConsumerSnapshot[], waiting: number | null): Found[] {
  const silent = living.filter(receivesNothing);
  if (silent.length === 0) return [];
  const who = `${silent.length} of ${counted(living.length, 'consumer')} ${silent.length === 1 ? 'receives' : 'receive'} nothing`;
  const why = silent.find(({ pollFailure }) => pollFailure !== null)?.pollFailure ?? null;
  const queue = waiting === null || waiting === 0 ? '' : `; ${counted(waiting, 'message waits', 'messages wait')}`;
  return [{ kind: 'not-receiving', text: `${who}${queue}${why === null ? '' : ` (${why})`}` }];
}

function ledgerTroubles({ gaps, lagSeconds }: Figures, secondary: Side): Found[] {
  const title = sideTitle(secondary);
  const lacking = gaps !== null && gaps.ranges > 0;
  const late = lagSeconds !== null && lagSeconds > LAG_OF_CONCERN_SECONDS;
  return [
    ...(lacking
      ? [
          {
            kind: 'gaps' as const,
            text: `${title} lacks ${counted(gaps.readings, 'reading')} in ${counted(gaps.ranges, 'time range')}`,
            tables: gaps.tables,
          },
        ]
      : []),
    ...(late ? [{ kind: 'lag' as const, text: `${title} is ${Math.round(lagSeconds)} s behind` }] : []),
  ];
}

function queueTroubles({ queue }: Figures): Found[] {
  if (queue === null) return [];
  if (!queue.answers) return [{ kind: 'queue-silent', text: `The queue does not answer (${queue.problem ?? ''})` }];
  if ((queue.deadLetters ?? 0) === 0) return [];
  return [{ kind: 'dead-letters', text: `${counted(queue.deadLetters ?? 0, 'message')} in the dead-letter queue` }];
}

function comparisonTroubles({ comparison }: Figures): Found[] {
  if (comparison === null || comparison.verdict === 'identical' || comparison.unexplained === 0) return [];
  return [
    {
      kind: 'different',
      text: `The last compare found ${counted(comparison.unexplained, 'row')} that nothing explains`,
      tables: comparison.tables
        .filter(({ unexplained }) => unexplained > 0)
        .map(({ table, unexplained }) => ({ table, rows: unexplained })),
    },
  ];
}
