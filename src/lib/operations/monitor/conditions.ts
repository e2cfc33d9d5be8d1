import { parseDuration, didYouMean } from '../../domain/words.js';
import { UsageError } from '../../errors.js';
import { countWriters, leavesSecondaryOut, receivesNothing, type Snapshot } from './monitor-snapshot.js';
import { findStayingApart } from './table-troubles.js';

/** A condition of `--fail-on`, such as `lag>60s`. */
export interface Condition {
  readonly text: string;
  /** True where it holds, and where what it asks for is not known. */
  readonly holds: (snapshot: Snapshot) => boolean;
}

interface Figure {
  /** In ms where true; else a plain number. */
  readonly isDuration: boolean;
  /** Null where it is not known. */
  readonly read: (snapshot: Snapshot) => number | null;
}

const seconds = (read: (snapshot: Snapshot) => number | null): Figure => ({
  isDuration: true,
  read: (snapshot) => {
    const value = read(snapshot);
    return value === null ? null : value * 1000;
  },
});
const milliseconds = (read: (snapshot: Snapshot) => number | null): Figure => ({ isDuration: true, read });
const number = (read: (snapshot: Snapshot) => number | null): Figure => ({ isDuration: false, read });

/** No write was timed: nothing was slow. */
const latency = (side: 'local' | 'ec2', name: 'writeP50Ms' | 'writeP99Ms'): Figure =>
  milliseconds(({ sides }) => sides[side][name] ?? 0);

const FIGURES: Readonly<Record<string, Figure>> = {
  lag: seconds(({ lagSeconds }) => lagSeconds),
  gaps: number(({ gaps }) => gaps?.ranges ?? null),
  'gap-readings': number(({ gaps }) => gaps?.readings ?? null),
  pending: number(({ ledger }) => ledger?.pending ?? null),
  missed: number(({ ledger }) => ledger?.missed ?? null),
  refused: number(({ ledger }) => ledger?.refused ?? null),
  in: number(({ rates }) => rates.in),
  out: number(({ rates }) => rates.toSecondary),
  queue: number(({ queue }) => queue?.visible ?? null),
  'in-flight': number(({ queue }) => queue?.inFlight ?? null),
  // Without a message nothing waits.
  wait: seconds(({ queue, consumers }) => queue?.longestWaitSeconds ?? (consumers === null ? null : 0)),
  'dead-letters': number(({ queue }) => queue?.deadLetters ?? null),
  consumers: number(({ consumers }) => consumers?.filter(({ state }) => state !== 'lost').length ?? null),
  'not-receiving': number(({ consumers }) => consumers?.filter(receivesNothing).length ?? null),
  breakers: number(({ consumers }) => consumers?.filter(leavesSecondaryOut).length ?? null),
  quarantine: number(({ sides }) =>
    addOrNull(sides.local.quarantine, sides.ec2.answers === null ? 0 : sides.ec2.quarantine),
  ),
  'local-p50': latency('local', 'writeP50Ms'),
  'local-p99': latency('local', 'writeP99Ms'),
  'ec2-p50': latency('ec2', 'writeP50Ms'),
  'ec2-p99': latency('ec2', 'writeP99Ms'),
  apart: number(rowsApart),
  'writers-pending': number(({ writers }) => countWriters(writers, 'pending')),
  'writers-missed': number(({ writers }) => countWriters(writers, 'missed')),
  'partly-tracked': number(countPartlyTracked),
  'not-handled': number(({ tables }) =>
    tables.length === 0 ? null : tables.filter(({ counted }) => counted === null).length,
  ),
  silent: number(({ sides }) => Object.values(sides).filter(({ answers }) => answers === false).length),
  troubles: number(({ troubles }) => troubles.length),
};

/** Of the table where they are the most; null where the ledger is not known, which might explain it. */
function rowsApart(snapshot: Snapshot): number | null {
  return snapshot.gaps === null ? null : Math.max(0, ...findStayingApart(snapshot).map(({ rows }) => rows));
}

/** Null where it is not known of some table. */
function countPartlyTracked({ tables, sides }: Snapshot): number | null {
  if (sides.ec2.answers === null) return 0;
  const handled = tables.filter(({ counted }) => counted !== null);
  if (handled.length === 0 || handled.some(({ tracking }) => tracking === null)) return null;
  return handled.filter(({ tracking }) => tracking === 'partly tracked').length;
}

const COMPARISONS: Readonly<Record<string, (one: number, other: number) => boolean>> = {
  '>': (one, other) => one > other,
  '>=': (one, other) => one >= other,
  '<': (one, other) => one < other,
  '<=': (one, other) => one <= other,
  '=': (one, other) => one === other,
  '!=': (one, other) => one !== other,
};

const CONDITION = /^([a-z0-9-]+)\s*(>=|<=|!=|>|<|=)\s*(\S+)$/;

/** Reads `lag>60s,gaps>0`. Throws a UsageError that names what it may be. */
export function parseConditions(text: string): Condition[] {
  return text.split(',').map((part) => parseCondition(part.trim()));
}

function parseCondition(text: string): Condition {
  const [, name = '', operator = '', limitText = ''] = CONDITION.exec(text) ?? [];
  const [figure, compare] = [FIGURES[name], COMPARISONS[operator]];
  if (name !== '' && figure === undefined) throw unknownFigure(name);
  if (figure === undefined || compare === undefined) throw notACondition(text);
  const limit = parseLimit(limitText, figure);
  if (limit === null) throw wrongLimit(name, operator, limitText);
  const holds = (snapshot: Snapshot): boolean => {
    const value = figure.read(snapshot);
    return value === null || compare(value, limit);
  };
  return { text, holds };
}

function parseLimit(text: string, { isDuration }: Figure): number | null {
  if (!isDuration) return /^\d+(\.\d+)?$/.test(text) ? Number(text) : null;
  const micros = parseDuration(text);
  return micros === null ? null : micros / 1000;
}

function unknownFigure(name: string): UsageError {
  const names = Object.keys(FIGURES);
  return new UsageError(`--fail-on knows no figure "${name}"${didYouMean(name, names)}`, {
    code: 'figure-unknown',
    facts: { names },
  });
}

function notACondition(text: string): UsageError {
  return new UsageError(`--fail-on cannot be "${text}"`, {
    code: 'condition-malformed',
    facts: { operators: Object.keys(COMPARISONS) },
  });
}

function wrongLimit(name: string, operator: string, limit: string): UsageError {
  const isDuration = FIGURES[name]?.isDuration === true;
  return new UsageError(`${name} in --fail-on is a ${isDuration ? 'duration' : 'number'}, not "${limit}"`, {
    code: 'limit-malformed',
    facts: { figure: name, operator, isDuration },
  });
}

function addOrNull(one: number | null, other: number | null): number | null {
  return one === null || other === null ? null : one + other;
}
