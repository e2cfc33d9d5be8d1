import { counted } from '../../domain/words.js';
import { otherSide, sideTitle, sideTitleCapitalized, type Side } from '../../domain/side.js';
import {
  APART_OF_CONCERN_SECONDS,
  leavesSecondaryOut,
  receivesNothing,
  type ConsumerSnapshot,
  type Health,
  type Snapshot,
  type Trouble,
  type TroubleKind,
} from './monitor-snapshot.js';
import type { TableRows } from '../../repository/monitor/ledger-figures.js';

/** Two heartbeats of a consumer and a retry of each write lie within this. */
export const LAG_OF_CONCERN_SECONDS = 30;

/** What the ledger accounts for: the outage itself is on record, and repair brings what was missed. */
const EXPLAINED: ReadonlySet<TroubleKind> = new Set(['secondary-silent', 'breaker-open', 'gaps', 'lag']);
/** What passes by itself while everything answers. */
const PASSING: ReadonlySet<TroubleKind> = new Set(['gaps', 'lag']);

/** Trouble that no outage of the secondary explains. */
export function unexplainedOf(troubles: readonly Trouble[]): TroubleKind[] {
  return troubles.map(({ kind }) => kind).filter((kind) => !EXPLAINED.has(kind));
}

export function healthOf(troubles: readonly Trouble[]): Health {
  if (troubles.length === 0) return 'healthy';
  return troubles.every(({ kind }) => PASSING.has(kind)) ? 'recovering' : 'trouble';
}

type Figures = Omit<Snapshot, 'health' | 'troubles'>;
/** A trouble that is about no rows names no tables. */
type Found = Omit<Trouble, 'tables'> & Partial<Pick<Trouble, 'tables'>>;

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
    ...apartTroubles(figures),
    ...notHandledTroubles(figures),
    ...trackingTroubles(figures),
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

/** What local keeps for itself, and what some writer has entered and the secondary has yet to get, is apart for a reason. */
export function explainsApart({ gaps, writers, writeMode }: Explaining, table: string): boolean {
  if (writeMode !== 'dual-write' || gaps === null) return true;
  return [...gaps.tables, ...(writers ?? [])].some((entered) => entered.table === table);
}

type Explaining = Pick<Figures, 'gaps' | 'writers' | 'writeMode'>;

/** A table is apart, and only another look tells whether it stays so. */
export function isUnsettled(snapshot: Snapshot): boolean {
  return snapshot.tables.some(
    ({ table, apart }) =>
      apart !== null && apart.seconds < APART_OF_CONCERN_SECONDS && !explainsApart(snapshot, table),
  );
}

/** The rows that stay apart and that nothing explains, the table with the most first. */
export function findStayingApart(figures: Figures): (TableRows & { readonly isMoreOnLocal: boolean })[] {
  const found = figures.tables.flatMap(({ table, apart }) => {
    if (apart === null || apart.seconds < APART_OF_CONCERN_SECONDS || explainsApart(figures, table)) return [];
    return { table, rows: Math.abs(apart.rows), isMoreOnLocal: apart.rows > 0 };
  });
  return found.toSorted((one, other) => other.rows - one.rows);
}

/** So many tables are trouble each; of more the worst is named. */
const NAMED_APART = 3;

function apartTroubles(figures: Figures): Found[] {
  const found = findStayingApart(figures);
  const tables = found.map(({ table, rows }) => ({ table, rows }));
  const [worst] = found;
  if (worst !== undefined && found.length > NAMED_APART) {
    const most = `most of all ${worst.table} (${counted(worst.rows, 'row')})`;
    const text = `${counted(found.length, 'table')} hold other counts on local than on EC2, ${most}, and the ledger knows nothing of it: another program writes there`;
    return [{ kind: 'apart', text, tables }];
  }
  return found.map(({ table, rows, isMoreOnLocal }) => {
    const [more, less] = isMoreOnLocal ? ['Local', 'EC2'] : ['EC2', 'local'];
    const what = `${counted(rows, 'row')} of ${table}`;
    const text = `${more} holds ${what} more than ${less}, and the ledger knows nothing of it: another program writes there`;
    return { kind: 'apart', text, tables: [{ table, rows }] };
  });
}

/** Tables that nobody can move as they are. */
function notHandledTroubles({ tables }: Figures): Found[] {
  const found = tables.filter((each) => each.counted === null);
  const [first] = found;
  if (first === undefined) return [];
  const others = found.length === 1 ? '' : `, and ${counted(found.length - 1, 'table')} more`;
  const text = `${first.table} cannot be moved: ${first.note ?? ''}${others}`;
  return [{ kind: 'not-handled', text, tables: found.map(({ table }) => ({ table, rows: 0 })) }];
}

/** What other programs write to such a table may pass unseen. */
function trackingTroubles({ tables }: Figures): Found[] {
  const found = tables.filter(({ tracking }) => tracking === 'partly tracked');
  const [first] = found;
  if (first === undefined) return [];
  const others = found.length === 1 ? '' : `, and of ${counted(found.length - 1, 'table')} more`;
  const text = `The triggers of ${first.table}${others} are not whole: ${first.note ?? ''}; other programs may write unseen`;
  return [{ kind: 'partly-tracked', text, tables: found.map(({ table }) => ({ table, rows: 0 })) }];
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
