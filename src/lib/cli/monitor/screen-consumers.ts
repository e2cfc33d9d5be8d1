import { formatRate, UNKNOWN } from './wording.js';
import type { Paint } from '../output.js';
import { formatCount, formatDuration } from '../quantities.js';
import { padEnd, shorten, widthOf, wrap } from '../text-layout.js';
import { counted } from '../../domain/words.js';
import { type ConsumerSnapshot, leavesSecondaryOut, type Snapshot } from '../../operations/monitor/monitor-snapshot.js';

export interface ConsumersOptions {
  /** Lines to fill at most, but for the title. */
  readonly room: number;
  readonly columns: number;
  readonly paint: Paint;
}

/** Columns in front of the last error. */
const BEFORE_ERROR = 56;
const INDENT = '    ';

/** The consumers, each with its last error in full where the lines are enough for that; else a line each. */
export function renderConsumers(
  consumers: Snapshot['consumers'],
  { room, columns, paint }: ConsumersOptions,
): string[] {
  if (consumers === null) return [`consumers  ${UNKNOWN}`];
  if (consumers.length === 0) return ['consumers  none'];
  const title = paint(consumerLine(['consumer', 'rate', 'breaker', 'in hand', 'last error']), 'dim');
  const full = consumers.flatMap((consumer) => inFull(consumer, columns).map((line) => paintAs(consumer, line, paint)));
  if (full.length <= room) return [title, ...full];
  const short = consumers.map((consumer) => paintAs(consumer, inOneLine(consumer, columns), paint));
  if (short.length <= room) return [title, ...short];
  return [title, ...short.slice(0, room - 1), `and ${counted(short.length - room + 1, 'consumer')} more`];
}

/** An error that does not fit beside the figures stands below them. */
function inFull(consumer: ConsumerSnapshot, columns: number): string[] {
  const error = describeError(consumer);
  if (widthOf(error) <= columns - BEFORE_ERROR) return [lineOf(consumer, error)];
  return [lineOf(consumer, '↓'), ...wrap(error, columns - INDENT.length).map((line) => INDENT + line)];
}

function inOneLine(consumer: ConsumerSnapshot, columns: number): string {
  return lineOf(consumer, shorten(describeError(consumer), Math.max(1, columns - BEFORE_ERROR)));
}

function describeError({ lastError }: ConsumerSnapshot): string {
  return lastError === null ? '-' : `${formatDuration(lastError.agoSeconds * 1000)} ago: ${lastError.text}`;
}

function lineOf({ host, pid, state, rate, breaker, messagesInHand }: ConsumerSnapshot, error: string): string {
  return consumerLine([
    `${shorten(host, 20)} ${pid}`,
    state === 'running' ? formatRate(rate) : state,
    breaker ?? '-',
    messagesInHand === null ? '-' : formatCount(messagesInHand),
    error,
  ]);
}

function consumerLine([name = '', rate = '', breaker = '', inHand = '', error = '']: readonly string[]): string {
  return `${padEnd(name, 28)}${rate.padStart(9)}  ${breaker.padEnd(8)}${inHand.padStart(7)}  ${error}`;
}

function paintAs(consumer: ConsumerSnapshot, line: string, paint: Paint): string {
  if (consumer.state === 'lost') return paint(line, 'red');
  return leavesSecondaryOut(consumer) ? paint(line, 'yellow') : line;
}
