import { counted } from '../../domain/words.js';
import type { TableRows } from '../../repository/monitor/ledger-figures.js';
import { APART_OF_CONCERN_SECONDS, type Snapshot, type Trouble } from './monitor-snapshot.js';

export type Figures = Omit<Snapshot, 'health' | 'troubles'>;
/** A trouble that is about no rows names no tables. */
export type Found = Omit<Trouble, 'tables'> & Partial<Pick<Trouble, 'tables'>>;

/** What is wrong with tables: counts that stay apart, what nobody can move, and what may be written unseen. */
export function findTableTroubles(figures: Figures): Found[] {
  return [...apartTroubles(figures), ...notHandledTroubles(figures), ...trackingTroubles(figures)];
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
    ({ table, apart }) => apart !== null && apart.seconds < APART_OF_CONCERN_SECONDS && !explainsApart(snapshot, table),
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
  const text = `${counted(found.length, 'table')} cannot be moved: ${first.table} ${first.note ?? ''}`;
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
